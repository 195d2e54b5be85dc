"""A connection as :mod:`http.client` reads an answer from it, within a budget of time and octets.

The time-out of a connection is that of one read: it never cuts off a peer that sends an octet now and then, be it in a
status line, a header, the framing of chunks or a body.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class TooLongError(ValueError):
    """The answer has more octets than are read."""


class Budget(Protocol):
    """The time and the octets that are left for an answer."""

    def seconds(self) -> float:
        """The seconds for one more step.

        :raises TimeoutError: if the time is over.
        """

    def take(self, octets: int) -> None:
        """Count octets that came.

        :raises Exception: if they are too many.
        """


class AnswerBudget:
    """The budget of one answer.

    :param seconds: the seconds for one more step; raises TimeoutError if the time is over.
    :param octets: the octets of the answer at most, its header included.
    """

    def __init__(self, seconds: Callable[[], float], octets: int) -> None:
        self._seconds = seconds
        self._left = octets

    def seconds(self) -> float:
        """The seconds for one more step."""
        return self._seconds()

    def take(self, octets: int) -> None:
        """Count octets that came.

        :raises TooLongError: if they are too many.
        """
        self._left -= octets
        if self._left < 0:
            raise TooLongError("the answer has more octets than are read")


def response(connection: socket.socket, budget: Budget, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
    """The answer that comes on a connection, of which nothing is read yet.

    :param args: as :class:`http.client.HTTPResponse` takes them.
    """
    return http.client.HTTPResponse(cast("socket.socket", _Readable(connection, budget)), *args, **kwargs)


class _Readable:
    """A connection, as far as :class:`http.client.HTTPResponse` uses it."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection = connection
        self._budget = budget

    def makefile(self, _mode: str) -> io.BufferedReader:
        """The answer, to be read."""
        return io.BufferedReader(_Stream(self._connection, self._budget))


class _Stream(io.RawIOBase):
    """The octets that come on a connection, each read within the budget."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        super().__init__()
        self._connection = connection
        # Libraries close a connection while its answer is being read, and this keeps it open as long.
        self._file = cast("io.RawIOBase", connection.makefile("rb", buffering=0))
        self._budget = budget

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what there is, at least one octet."""
        self._connection.settimeout(self._budget.seconds())
        size = self._file.readinto(buffer)
        self._budget.take(size or 0)
        return size

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        super().close()
