"""Lines for acts of commands, which have no log of their own: they go to the machine's, by its socket (syslog(3)).

Where there is no such socket, or nobody takes a line, the line is left out: the event is the record of the act.
"""

from __future__ import annotations

import os
import socket

from acme_iid.telemetry import acts
from acme_iid.telemetry.log_formats import pairs, plain_facts, printable
from acme_iid.telemetry.reports import Fact

SOCKET = "/dev/log"
_IDENTIFIER = "acme-iid-ca"
_DAEMON_INFO = 3 << 3 | 6
_SECONDS = 1.0


def line(fact: Fact, process: int) -> bytes:
    """The datagram for one fact, whose facts are bounded and quoted as in the server's log."""
    text = " ".join([printable(fact.kind), *pairs(plain_facts(acts.facts_of(fact)))])
    return f"<{_DAEMON_INFO}>{_IDENTIFIER}[{process}]: {text}".encode()


class SystemLog:
    """The machine's log; once it has not taken a line, it is not asked again."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._stream: socket.socket | None = None
        self._is_gone = False

    def write(self, fact: Fact) -> None:
        """Write the line of one fact, unless it is of a step on the way to something else."""
        if fact.kind in acts.QUIET or self._is_gone:
            return
        try:
            if self._stream is None:
                self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._stream.settimeout(_SECONDS)
                self._stream.connect(self._path)
            self._stream.send(line(fact, os.getpid()))
        except OSError:
            # One that is stuck would hold up each of ten thousand acts.
            self._is_gone = True
            self.close()

    def close(self) -> None:
        """Close the socket, and have the next line open one again if the log took all until now."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
