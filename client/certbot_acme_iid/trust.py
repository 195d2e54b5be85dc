"""Trust in the CA: certbot is brought to trust its roots, and the plugin checks that the server is the CA.

certbot has no option for it. It verifies servers with what the requests library trusts, and that is a file which the
environment names, or else one that came with it. certbot does not remember the variable for renewals (certbot issue
7170).
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from requests import RequestException
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.transport.trust import PinnedSession, request_error
from acme_iid_client.x509.certificates import load_certificates

VARIABLE = "REQUESTS_CA_BUNDLE"
MAX_BYTES = 1024 * 1024
"""More than the root certificates of a private CA take."""
_SECONDS = 30.0
"""The longest time for the CA's answer to the plugin."""


def add(bundle: Path, env: MutableMapping[str, str]) -> None:
    """Have this process, and what it starts, trust a CA besides those that it trusts already.

    Besides, and not instead: one 'certbot renew' may see to certificates of several CAs, and nothing tells a plugin
    that its certificate's turn is over. Hooks inherit the variable, too.

    :param bundle: the CA's root certificates, PEM.
    :param env: the environment, which is changed: it names a file that is there until this process ends.
    :raises ClientError: if a file cannot be used.
    """
    content = _read(bundle)
    before = Path(env.get(VARIABLE) or env.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)
    if before.is_dir():
        raise ClientError(f"{VARIABLE} names the directory {before}; with the acme-iid plugin it has to name a file.")
    # Debian without its package ca-certificates has no such file.
    trusted = before.read_bytes() if before.exists() else b""
    if content in trusted:
        return
    with tempfile.NamedTemporaryFile(prefix="acme-iid-ca-bundle-", suffix=".pem", delete=False) as file:
        together = Path(file.name)
        atexit.register(together.unlink, missing_ok=True)
        file.write(trusted.rstrip() + b"\n" + content)
        # Hooks may run as somebody else, and the certificates are public.
        os.fchmod(file.fileno(), 0o644)
    env[VARIABLE] = str(together)


def copy(bundle: Path, target: Path) -> None:
    """Have a file hold the CA's roots, for other programs: whole or not at all, and only where they are others.

    :raises ClientError, OSError: if it cannot be written.
    """
    content = _read(bundle)
    if not target.exists() or target.read_bytes() != content:
        directories.write_file(target, content, public=True)


def require_ca(server: str, known: KnownCA | None, env: Mapping[str, str]) -> None:
    """See, over a connection of our own, that what answers at the address that certbot uses is the CA.

    certbot's own connections are certbot's: it verifies names and roots, and knows nothing of the mark in the
    certificate of a CA's server. So this finds another machine that answers under the CA's name; one that tells the two
    connections apart and passes this one on it does not find.

    :param server: the directory's URL.
    :param known: the CA as the bootstrap has left it; without it, what certbot trusts decides.
    :param env: the environment.
    :raises ClientError: if it is not, or cannot be reached.
    """
    bundle = Path(env.get(VARIABLE) or env.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)
    deadline = Deadline(_SECONDS)
    try:
        with PinnedSession(bundle, deadline) if known is None else known.session(deadline) as session:
            session.get(server)
    except RequestException as error:
        raise request_error(error, server) from error


def _read(bundle: Path) -> bytes:
    try:
        with bundle.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ClientError(
            f"The CA's root certificate {bundle} cannot be read ({error.strerror}). The CA's operator has it as "
            "certs/root_ca.crt in the CA's home."
        ) from error
    try:
        readable = len(content) <= MAX_BYTES and b"-----BEGIN" in content and bool(load_certificates(content))
    except ClientError:
        readable = False
    if not readable:
        raise ClientError(f"{bundle} is not a file with root certificates in PEM.")
    return content.strip() + b"\n"
