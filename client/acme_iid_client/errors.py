"""The error that ends a command."""

from __future__ import annotations


class ClientError(Exception):
    """A sentence for the person at the terminal: what happened, and what to try. The command exits with 1."""
