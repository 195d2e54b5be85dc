"""Connections of the requests library whose answers are read within a budget.

Apart from :mod:`.reading`, because commands that fetch nothing need not load that library.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Sequence
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection

from acme_iid.bounded import reading
from acme_iid.bounded.reading import Budget

_DER = 2
"""The format of a certificate in the TLS library's words (``_ssl.ENCODING_DER``)."""

PeerCheck = Callable[[Sequence[bytes]], None]
"""Looks at the certificates of a server before anything is sent to it, and raises an error to end the connection.

They are in DER, the server's own first and the root under which it was verified last; none where there is no TLS.
"""


class _Connection(HTTPConnection):
    """A connection under a budget; goes before the library's own class for a scheme and a kind of proxy."""

    budget: Budget
    check: PeerCheck | None

    def connect(self) -> None:
        """Connect, through a proxy's tunnel too, and look at the server's certificates before anything is sent."""
        super().connect()
        if self.check is None or self.sock is None:
            return
        try:
            self.check(_verified_chain(self.sock))
        except BaseException:
            self.close()
            raise

    def _new_conn(self) -> socket.socket:
        # The time-out of the connection is that of the TLS handshake after it, which counts as one step.
        connection = super()._new_conn()
        connection.settimeout(self.budget.seconds())
        return connection

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """An answer, a proxy's to CONNECT too."""
        return reading.response(sock, self.budget, *args, **kwargs)


def _verified_chain(connection: Any) -> list[bytes]:
    # Through a proxy that has TLS itself, the connection is an object of urllib3's around the library's.
    tls = getattr(connection, "sslobj", connection)
    if hasattr(tls, "get_verified_chain"):
        return list(tls.get_verified_chain())
    # Before Python 3.13 only the object inside has it, since 3.10.
    inner = getattr(tls, "_sslobj", None)
    return [] if inner is None else [entry.public_bytes(_DER) for entry in inner.get_verified_chain() or ()]


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """Makes connections of the library's classes with :class:`_Connection` before each.

    :param budget: of the answers that come through it.
    :param check: looks at the certificates of the server at the end of each new TLS connection.
    """

    def __init__(self, budget: Budget, check: PeerCheck | None = None) -> None:
        self._budget = budget
        self._check = check
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """The pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self._bind(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        """The pools of connections through a proxy."""
        known = proxy in self.proxy_manager
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            self._bind(manager)
        return manager

    def _bind(self, manager: urllib3.PoolManager) -> None:
        pools: dict[str, Any] = {}
        known: dict[str, Any] = dict(manager.pool_classes_by_scheme)
        check = None if self._check is None else staticmethod(self._check)
        for scheme, pool in known.items():
            members = {"budget": self._budget, "check": check if scheme == "https" else None}
            connection = type("Connection", (_Connection, pool.ConnectionCls), members)
            pools[scheme] = type("Pool", (pool,), {"ConnectionCls": connection})
        manager.pool_classes_by_scheme = pools
