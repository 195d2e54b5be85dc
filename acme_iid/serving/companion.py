"""A process beside the server's own, which begins before them and ends with them; the server knows no more of it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from acme_iid.config.settings import Config


class Companion(Protocol):
    """The process, as the server's first process sees it. None of these waits for it."""

    def begin(self, config: Config, opened: Sequence[socket.socket]) -> list[str]:
        """Have it begin its work.

        :param config: the settings to begin with.
        :param opened: listening sockets for it that the starter of the server has opened.
        :returns: lines for the log that say where it listens.
        :raises ServerError: if it cannot.
        """

    def take_up(self, config: Config) -> None:
        """Have it go on with other settings, which the server has taken up; the same again are nothing new."""

    def show(self, certificate: Path) -> None:
        """Have it show a certificate of the server's from now on.

        :param certificate: a PEM file with its key and its chain.
        """

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to hear."""

    def hear(self) -> None:
        """Note that it has ended, if it has."""
