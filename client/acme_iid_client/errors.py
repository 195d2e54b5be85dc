"""The error that ends a command."""

from __future__ import annotations


class ClientError(Exception):
    """A sentence for the person at the terminal: what happened, and what to try. The command exits with 1."""


def sentence(error: Exception) -> str:
    """What went wrong, for a person who did not see it happen: a file's error names the file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return str(error) if isinstance(error, ClientError | OSError) else f"{type(error).__name__}: {error}"
