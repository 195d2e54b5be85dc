"""Connections to the admin API, whose answers are read within a budget of time and octets."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import Any

from acme_iid.admin_client.places import Identity, Place
from acme_iid.bounded import reading
from acme_iid.bounded.reading import Budget


class _Bounded(http.client.HTTPConnection):
    """A connection that takes a new budget for each answer."""

    budget: Budget

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """An answer within the budget."""
        return reading.response(sock, self.budget, *args, **kwargs)


class _Unix(_Bounded):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.budget.seconds())
        self.sock.connect(str(self._path))


class _TLS(_Bounded):
    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        super().__init__(place.host, place.port)
        self._context = context

    def connect(self) -> None:
        """Connect, and have the server prove who it is before anything is sent."""
        self.timeout = self.budget.seconds()
        super().connect()
        self.sock.settimeout(self.budget.seconds())
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def connection(place: Place, identity: Identity | None) -> _Bounded:
    """A connection, not made yet.

    :param identity: over TLS.
    :raises AdminError: if a file of the identity cannot be used.
    """
    if place.socket is not None:
        return _Unix(place.socket)
    assert identity is not None
    return _TLS(place, identity.context())
