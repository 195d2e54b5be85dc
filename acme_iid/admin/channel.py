"""Messages between the processes of one server that answer operators: small JSON objects, and open files with them.

They are all of one program's start, and whoever is at the other end is no stranger; a process that has been taken over
is what these messages are kept plain for.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 16 * 1024
MOST_FILES = 64


class Channel:
    """One end of a pair of sockets that keep messages apart."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends."""
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(first), cls(second)

    @classmethod
    def of(cls, descriptor: int) -> Channel:
        """The end that a process was started with."""
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        """Its descriptor."""
        return self._end.fileno()

    def send(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        """Send a message; it does not wait for whoever reads.

        :param files: descriptors that go along; they stay open here.
        :raises OSError: if the other end has gone, or has not read for long.
        """
        socket.send_fds(self._end, [json.dumps(message).encode()], list(files), socket.MSG_DONTWAIT)

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], list[int]] | None:
        """The next message, and the files that came along; None once the other end has gone.

        :param seconds: how long it is waited for; None for ever.
        :raises TimeoutError: if none came in time.
        :raises OSError: if it cannot be received.
        """
        self._end.settimeout(seconds)
        try:
            data, files, _, _ = socket.recv_fds(self._end, MAX_BYTES, MOST_FILES, socket.MSG_CMSG_CLOEXEC)
        finally:
            self._end.settimeout(None)
        if not data:
            return None
        try:
            message: dict[str, Any] = json.loads(data)
        except ValueError:
            for file in files:
                os.close(file)
            raise OSError("a message between the server's processes is not readable") from None
        return message, files

    def close(self) -> None:
        """Close this end."""
        self._end.close()
