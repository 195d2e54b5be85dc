"""Where the admin API is answered: at a unix socket, or over TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from acme_iid.admin_client.errors import AdminError

HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Identity:
    """How a client and a server know each other over TLS.

    :ivar certificate: the client's own, PEM, with those that it takes above it.
    :ivar key: its key, PEM.
    :ivar roots: those under which the server's certificate has to be, PEM.
    """

    certificate: Path
    key: Path
    roots: Path

    def context(self) -> ssl.SSLContext:
        """The context of such a client.

        :raises AdminError: if a file cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.roots)
        except (OSError, ValueError) as error:
            raise AdminError(f"the roots of the server's certificate: {_unusable(self.roots, error)}") from error
        try:
            # Without this, OpenSSL asks for a password on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            which = f"{self.certificate} and {self.key}"
            raise AdminError(f"the client's certificate and its key: {_unusable(which, error)}") from error
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; a key without a password is needed, which only its user can read")


def _unusable(file: object, error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{file} cannot be used: {error.reason or error}"
    if isinstance(error, OSError):
        return f"{error.filename or file}: {error.strerror}"
    return f"{file}: {error}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the admin API is answered.

    :ivar socket: the path of a unix socket; None over TLS.
    :ivar host: a name or an address, which the server's certificate has to have.
    """

    socket: Path | None = None
    host: str = ""
    port: int = HTTPS_PORT

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix:{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


def place(url: str) -> Place:
    """Read a URL of the admin API.

    :raises ValueError: if it is none.
    """
    wrong = ValueError(f"{url!r} is no place of an admin API; write unix:/PATH or https://HOST:PORT")
    if not url.isprintable():
        raise wrong
    if url.startswith("unix:"):
        path = Path(url.removeprefix("unix:"))
        if not path.is_absolute():
            raise wrong
        return Place(socket=path)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    beyond = parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/")
    if parts.scheme != "https" or not host or beyond:
        raise wrong
    return Place(host=host, port=port or HTTPS_PORT)
