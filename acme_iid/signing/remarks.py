"""What a signer writes beside its answers, as lines of the log: few, short, and without keys."""

from __future__ import annotations

import logging
import time

from acme_iid.signing.messages import printable

MOST_LINES, PERIOD = 20, 10
"""The lines of one signer that are logged in so many seconds; the others are counted."""
MAX_PENDING = 4096
"""The octets of a line that are kept until its end comes."""

_log = logging.getLogger(__name__)


class Remarks:
    """Logs a signer's remarks.

    :param name: the signer's, for each line.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""
        self._in_pem = False
        self._since, self._logged, self._left_out = 0.0, 0, 0

    def feed(self, data: bytes) -> None:
        """Take a piece of standard error."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:MAX_PENDING]
        for line in lines:
            self.line(line)

    def line(self, line: bytes) -> None:
        """Take one line."""
        text = line.decode(errors="replace").rstrip()
        # A private key that a program prints in its trouble is not for the log.
        hidden = self._in_pem or "-----BEGIN" in text
        self._in_pem = hidden and "-----END" not in text
        if text and not hidden:
            self._write(text)

    def end(self) -> None:
        """Log what has no end of line, and how much was left out."""
        rest, self._rest = self._rest, b""
        self.line(rest)
        self._say_left_out()

    def _write(self, text: str) -> None:
        now = time.monotonic()
        if now - self._since >= PERIOD:
            self._say_left_out()
            self._since, self._logged = now, 0
        if self._logged < MOST_LINES:
            self._logged += 1
            _log.warning("%s: %s", self._name, printable(text))
        else:
            self._left_out += 1

    def _say_left_out(self) -> None:
        if self._left_out:
            _log.warning("%s: %d more lines are left out", self._name, self._left_out)
            self._left_out = 0
