"""Bootstrapping: the roots of a CA are fetched, checked by their fingerprints, and saved for every later command."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509

from acme_iid_client.acme.known_ca import (
    CONFIGURATION,
    OTHERS,
    ROOTS,
    KnownCA,
    Roots,
    SavedCA,
    configurations,
    read_roots,
    read_saved,
)
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.transport.trust import fetch_unverified
from acme_iid_client.x509.certificates import fingerprint, load_certificates, to_pem


def fetch_roots(ca_url: str, expected: Iterable[str], deadline: Deadline, notice: Callable[[str], None]) -> Roots:
    """Fetch roots over connections that are not trusted yet, check them, and then the server under them.

    :param ca_url: as :func:`~acme_iid_client.acme.known_ca.parse_url` returns it.
    :param expected: the roots' fingerprints, as :func:`~acme_iid_client.acme.known_ca.parse_fingerprint` returns them.
    :param notice: called with a sentence when the CA is waited for.
    :raises ClientError: if a root is another one, or the server does not verify under any of them.
    """
    roots = tuple(_fetch_root(ca_url, digits, deadline, notice) for digits in dict.fromkeys(expected))
    with tempfile.TemporaryDirectory() as directory:
        trial = Path(directory, "roots.pem")
        trial.write_bytes(to_pem(*roots))
        # Nothing is kept about the CA yet, so the identity does not matter.
        KnownCA(ca_url, roots, trial, fingerprint(roots[0])).check_health(deadline)
    return roots


def _fetch_root(ca_url: str, expected: str, deadline: Deadline, notice: Callable[[str], None]) -> x509.Certificate:
    content = fetch_unverified(f"{ca_url}/root/{expected}", deadline, notice)
    try:
        certificates = load_certificates(content)
    except ClientError:
        raise ClientError(f"{ca_url} did not send a certificate as its root. Is this the CA's address?") from None
    if len(certificates) != 1 or fingerprint(certificates[0]) != expected:
        raise ClientError(
            f"The root certificate that {ca_url} sent has the fingerprint {fingerprint(certificates[0])}, not "
            f"{expected}. Nothing was saved. Compare with what 'acme-iid-ca fingerprint' prints on the CA: if "
            "that is the one you gave, another server answers at this address."
        )
    return certificates[0]


def different(where: directories.Directories, ca_url: str, roots: Roots) -> list[Path]:
    """The files that :func:`save` would change of what an earlier bootstrap for the same CA wrote."""
    changed = []
    try:
        home = _home(where, ca_url, roots)
    except ClientError:
        # The first CA's configuration cannot be read, so that it may be this CA's.
        home = where.config
        changed.append(home / CONFIGURATION)
    roots_file = home / ROOTS
    if roots_file.exists() and set(_roots_in(roots_file)) != set(roots):
        changed.insert(0, roots_file)
    return changed


def save(
    where: directories.Directories, ca_url: str, roots: Roots, token_resource: str | None = None, *, first: bool = False
) -> tuple[Path, Path]:
    """Save the roots and, after them, the configuration that names their file.

    :param token_resource: the resource for which the CA takes managed identity tokens; without it, a known one stays.
    :param first: whether commands are to talk to this CA without ``--ca-url``, be another the first until now.
    :returns: the roots' file and the configuration's.
    """
    try:
        home, before = _home(where, ca_url, roots), read_saved(where.config / CONFIGURATION)
    except ClientError:
        home, before = where.config, None
    known = before if home == where.config else read_saved(home / CONFIGURATION)
    if token_resource is None and known is not None:
        token_resource = known.token_resource
    former = () if known is None else tuple(url for url in (known.ca_url, *known.former) if url != ca_url)
    identity = fingerprint(roots[0]) if known is None else known.identity_with(roots)
    # Older programs know a CA by the first root in the file.
    roots = tuple(sorted(roots, key=lambda root: fingerprint(root) != identity))
    fingerprints = tuple(fingerprint(root) for root in roots)
    # Of another CA at the same address, nothing is known yet.
    version = 0 if known is None or known.identity_with(roots) != known.identity else known.version
    saved = SavedCA(ca_url, home / ROOTS, identity, fingerprints, token_resource, tuple(dict.fromkeys(former)), version)
    files = write(home, saved, roots)
    if not first or home == where.config or before is None:
        return files
    # At each of these steps, a crash leaves a first CA that can be used.
    if roots_before := _roots_in(before.roots_file):
        write(_beside(where, before.ca_url), before, roots_before)
    directories.write_file(where.config / CONFIGURATION, saved.encode(files[0], roots), public=True)
    return write(where.config, saved, roots)


def write(home: Path, saved: SavedCA, roots: Roots) -> tuple[Path, Path]:
    """Write the files of a CA into its directory: first the roots, then the configuration that names them."""
    roots_file, configuration = home / ROOTS, home / CONFIGURATION
    # Both are public, and the programs that verify the certificates need the roots.
    for directory in (home, roots_file.parent):
        directories.make_directory(directory, public=True)
    directories.write_file(roots_file, to_pem(*roots), public=True)
    directories.write_file(configuration, saved.encode(roots_file, roots), public=True)
    return roots_file, configuration


def _home(where: directories.Directories, ca_url: str, roots: Roots) -> Path:
    """The directory of a CA's files: the first CA's are at the top.

    :param roots: a CA that this machine knows by another address is the same CA if it has one of these.
    """
    first = read_saved(where.config / CONFIGURATION)
    if first is None or first.ca_url == ca_url:
        return where.config
    homes = [file.parent for file in configurations(where)]
    with_address = [home for home in homes if (known := read_saved(home / CONFIGURATION)) and known.ca_url == ca_url]
    with_root = [home for home in homes if set(_roots_in(home / ROOTS)) & set(roots)]
    return (with_address or with_root or [_beside(where, ca_url)])[0]


def _roots_in(file: Path) -> Roots:
    """The roots in a CA's file; none if it cannot be used."""
    try:
        return read_roots(file)
    except (ClientError, OSError):
        return ()


def _beside(where: directories.Directories, ca_url: str) -> Path:
    """The directory of the files of a CA that is not the first."""
    return where.config / OTHERS / directories.safe_name(ca_url.removeprefix("https://"))
