"""Say whether the CA of this container is ready: the HEALTHCHECK of its image. If not, it says why, and ends with 1."""

from __future__ import annotations

import ssl
import sys
from http.client import HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

from acme_iid.config import ca_toml
from acme_iid.config.table import ConfigError
from acme_iid.issuance.home import ROOT_CERTIFICATE

SECONDS = 8
"""The longest that an answer may take; the image waits for two seconds more."""


def main(home: Path) -> str:
    """Ask the server, as a client that trusts the CA.

    :returns: what it says is wrong; "" if it is ready.
    :raises ConfigError: if there is no CA in the home.
    :raises OSError: if nothing answers at its address, or with no certificate of the CA's.
    """
    server = ca_toml.load(home).server
    host = urlsplit(server.url).hostname or ""
    trusting = ssl.create_default_context(cafile=str(home / ROOT_CERTIFICATE))
    connection = HTTPSConnection(host, timeout=SECONDS)
    with create_connection((_reached(server.listen.host), server.listen.port), SECONDS) as stream:
        connection.sock = trusting.wrap_socket(stream, server_hostname=host)
        connection.request("GET", "/readyz")
        with connection.getresponse() as answer:
            said = answer.read(1024).decode("ascii", "replace")
            return "" if answer.status == 200 else f"{answer.status}: {' '.join(said.split())}"


def _reached(listening: str) -> str:
    """The address at which a server is reached from inside that listens at an address, maybe at all of them."""
    try:
        address = ip_address(listening)
    except ValueError:
        return listening
    if not address.is_unspecified:
        return listening
    return "127.0.0.1" if address.version == 4 else "::1"


if __name__ == "__main__":
    try:
        trouble = main(Path(sys.argv[1]))
    except (ConfigError, OSError, HTTPException) as error:
        trouble = str(error)
    sys.exit(trouble or 0)
