"""From one root to the next: announced, used, and dropped when nothing rests on it any more.

The store says which roots clients trust, and every server follows it within seconds. ``certs/root_ca.crt`` in each home
is written after it, for people and for whoever bootstraps.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import home, links
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import Roots, fingerprint, is_signed_by, subject_of
from acme_iid.operations import issuers
from acme_iid.store import certificates, roots
from acme_iid.store import issuers as issuer_rows
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.issuers import retired
from acme_iid.store.roots import StoredRoot
from acme_iid.store.writes import Reader, Write, perform

MAX_LISTED = 16
"""The largest number of roots that are listed at a time: those that are trusted, and those that were dropped."""
LEAST_DIGITS = 8
"""Of a fingerprint, to name a root by."""

_log = logging.getLogger(__name__)


def load(config: Config, database: Database, password: str | None, now: int) -> CertificateAuthority:
    """Return the CA of a server that starts: its files as they are, its roots and its issuer as the store says.

    The first server of a CA notes the roots of its home, and activates its issuer.

    :param now: seconds.
    :raises CAFileError: if the files cannot be used.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    # First: a home without an issuer has no root either while its request waits for an answer.
    home.issuing_certificates(config.home)
    in_home = home.load_roots(config.home)
    perform(database, partial(_note_first, found=in_home, now=now))
    stored = roots.every(database)
    _require_known(in_home, stored)
    ca = home.load(config.home, password, retired(database), _trusted(stored))
    issuers.begin(database, ca, now)
    _write_file(config.home, ca.roots)
    return ca


def follow(database: Reader, ca: CertificateAuthority, folder: Path) -> None:
    """Trust the roots that the store says, and write them to the home of a server that runs.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    by_store = trusted(database)
    if by_store != ca.trusted:
        ca.trust(by_store)
        _write_file(folder, ca.roots)


def _note_first(reader: Reader, found: Sequence[x509.Certificate], now: int) -> Write[None] | None:
    if roots.every(reader):
        return None
    first, *others = (_stored(root, None, now) for root in found)
    first = StoredRoot(first.id, first.certificate, None, now, now, None)
    return Write([roots.note(root) for root in (first, *others)], lambda _rows: None)


def _stored(root: x509.Certificate, link: x509.Certificate | None, at: int) -> StoredRoot:
    der = None if link is None else link.public_bytes(Encoding.DER)
    return StoredRoot(fingerprint(root), root.public_bytes(Encoding.DER), der, at, None, None)


def _require_known(found: Sequence[x509.Certificate], stored: Sequence[StoredRoot]) -> None:
    unknown = [fingerprint(root) for root in found if fingerprint(root) not in {entry.id for entry in stored}]
    if unknown:
        raise CAFileError(
            f"{home.ROOT_CERTIFICATE} holds a root that the store does not know ({unknown[0]}); announce it with "
            "'acme-iid-ca issuer roots add', or take it out of the file"
        )


def known_here(reader: Reader, folder: Path) -> Roots | None:
    """The roots that clients trust, for a home all of whose roots the store knows; None before any server has started.

    :raises CAFileError: if the home has another one.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    stored = roots.every(reader)
    if not stored:
        return None
    _require_known(home.load_roots(folder), stored)
    return _trusted(stored)


def trusted(reader: Reader) -> Roots:
    """The roots that clients trust, with the links between them; none before the first server has started.

    :raises StoreUnavailableError: if the store cannot be used now.
    """
    return _trusted(roots.every(reader))


def _trusted(stored: Sequence[StoredRoot]) -> Roots:
    kept = [entry for entry in stored if entry.dropped_at is None]
    certificates_ = [x509.load_der_x509_certificate(entry.certificate) for entry in kept]
    links_ = {
        subject_of(root): x509.load_der_x509_certificate(entry.link)
        for root, entry in zip(certificates_, kept, strict=True)
        if entry.link is not None
    }
    return Roots(tuple(certificates_), links_)


def _write_file(folder: Path, certificates_: Sequence[x509.Certificate]) -> None:
    """Write the roots to a home where they are others; one that cannot be written is no reason to stop."""
    try:
        if home.load_roots(folder) != tuple(certificates_):
            home.replace_roots(folder, *certificates_)
    except (OSError, CAFileError) as error:
        _log.warning("%s was not written anew, and holds other roots than the store: %s", home.ROOT_CERTIFICATE, error)


def listed(reader: Reader, now: int) -> list[StoredRoot]:
    """The roots that clients are told of, the one in use first: those to trust, and those that they may still trust."""
    return [
        entry
        for entry in roots.every(reader)
        if entry.dropped_at is None
        or x509.load_der_x509_certificate(entry.certificate).not_valid_after_utc.timestamp() > now
    ]


def add(config: Config, database: Database, new: Path, link: Path | None, now: int) -> str:
    """Announce a new root: clients take it up by the link, and the file in the home holds it as well.

    :param new: its certificate, PEM.
    :param link: the link to it from a root that clients trust, PEM; None where the former key is lost, so that each
        client has to bootstrap the new root by its fingerprint.
    :param now: seconds.
    :returns: its fingerprint.
    :raises CAFileError: if clients would not take it.
    :raises RequestError: if it cannot be announced beside the others.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    root = links.load_root(new, now)
    perform(database, partial(_note_first, found=home.load_roots(config.home), now=now))
    added = perform(database, partial(_add, root=root, link=link, now=now))
    _write_file(config.home, trusted(database).certificates)
    return added


def _add(reader: Reader, root: x509.Certificate, link: Path | None, now: int) -> Write[str]:
    stored = roots.every(reader)
    known = {entry.id: entry for entry in stored}
    id_ = fingerprint(root)
    if id_ in known:
        raise RequestError(
            "this root is announced already"
            if known[id_].dropped_at is None
            else "this root was dropped, and clients trust it no more; make a new one"
        )
    if len(listed(reader, now)) >= MAX_LISTED:
        raise RequestError(f"{MAX_LISTED} roots are listed already, which is the limit; drop those that are not needed")
    for entry in stored:
        other = x509.load_der_x509_certificate(entry.certificate)
        if subject_of(other) == subject_of(root):
            raise RequestError(
                f"the new root has the name of another root of this CA, {home.shown(root.subject)!r}: some clients "
                "would take the link between them for a self-signed certificate. Make it with a name of its own"
            )
        if other.public_key() == root.public_key():
            raise RequestError("the new root has the key of another root of this CA; make it with a key of its own")
    linked = None if link is None else links.load_link(link, root, _trusted(stored).certificates, now)
    entry = _stored(root, linked, roots.next_moment(stored, now))
    detail: dict[str, object] = {"root": id_, "link": linked is not None}
    return Write([roots.note(entry)], lambda _rows: id_, [Event("root.added", now, detail=detail)])


def use(config: Config, database: Database, name: str, now: int) -> str:
    """Have an announced root be the one in use: what is named first, and what new machines bootstrap from.

    :param name: the beginning of its fingerprint.
    :param now: seconds.
    :returns: its fingerprint.
    :raises RequestError: if there is no such root, or it was dropped.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    used = perform(database, partial(_use, name=name, now=now))
    _write_file(config.home, trusted(database).certificates)
    return used


def _use(reader: Reader, name: str, now: int) -> Write[str]:
    stored = roots.every(reader)
    root = _named(stored, name)
    if root == stored[0]:
        raise RequestError("this root is in use already")
    event = Event("root.used", now, detail={"root": root.id, "former": stored[0].id})
    return Write([roots.use(root, roots.next_moment(stored, now))], lambda _rows: root.id, [event])


def drop(config: Config, database: Database, name: str, now: int) -> str:
    """Tell clients to trust a root no more, and hand out its links no more.

    :param name: the beginning of its fingerprint.
    :param now: seconds.
    :returns: its fingerprint.
    :raises RequestError: if there is no such root, it is in use, or something rests on it.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    dropped = perform(database, partial(_drop, name=name, now=now))
    _write_file(config.home, trusted(database).certificates)
    return dropped


def _drop(reader: Reader, name: str, now: int) -> Write[str]:
    stored = roots.every(reader)
    root = _named(stored, name)
    if root == stored[0]:
        raise RequestError("this root is in use: have another one used first, with 'acme-iid-ca issuer roots use'")
    _require_unneeded(reader, root, now)
    event = Event("root.dropped", now, detail={"root": root.id})
    return Write([roots.drop(root, roots.next_moment(stored, now))], lambda _rows: root.id, [event])


def _require_unneeded(reader: Reader, root: StoredRoot, now: int) -> None:
    """Refuse to drop a root that a certificate of the CA's leads to."""
    certificate = x509.load_der_x509_certificate(root.certificate)
    signing = issuer_rows.signing(reader)
    for issuer in issuer_rows.every(reader):
        if not is_signed_by(x509.load_pem_x509_certificates(issuer.chain.encode())[-1], certificate):
            continue
        if issuer.id == signing:
            raise RequestError(
                "an issuer under this root signs; have one under another root take its place, with 'acme-iid-ca issuer "
                "rotate activate'"
            )
        if (ends := certificates.last_end(reader, issuer.id, now)) is not None and ends > now:
            raise RequestError(
                f"certificates under this root are valid for {(ends - now) // 3600 + 1} hours more at most; drop it "
                "when they have ended"
            )


def _named(stored: Sequence[StoredRoot], name: str) -> StoredRoot:
    digits = name.replace(":", "").lower()
    found = [entry for entry in stored if entry.id.startswith(digits)] if len(digits) >= LEAST_DIGITS else []
    if len(found) != 1:
        raise RequestError(
            f"{name!r} is not the fingerprint of one root of this CA, nor its first {LEAST_DIGITS} digits or more; "
            "'acme-iid-ca issuer roots list' lists them"
        )
    if found[0].dropped_at is not None:
        raise RequestError("this root was dropped before; clients trust it no more")
    return found[0]
