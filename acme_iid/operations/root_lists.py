"""Taking up the revocation list of a root, which somebody with the root's key has signed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from cryptography import x509

from acme_iid.config import ca_toml
from acme_iid.config.locations import Location
from acme_iid.errors import RequestError
from acme_iid.issuance import home, root_crl
from acme_iid.issuance.root_crl import CheckedList
from acme_iid.issuance.roots import fingerprint
from acme_iid.store import root_lists
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.root_lists import RootList
from acme_iid.store.writes import Reader, Write, perform


def take_up(
    database: Database, roots: Sequence[x509.Certificate], found: x509.CertificateRevocationList, now: int
) -> RootList:
    """Check a list and keep it, in the place of the one before; it is handed out from then on.

    :param roots: the CA's.
    :param now: seconds.
    :raises CAFileError: if it is no list that clients of these roots rely on now.
    :raises RequestError: if the list that is kept is a later one.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    return perform(database, partial(_take_up, checked=root_crl.check(found, roots, now), now=now))


def url_of(root: x509.Certificate, template: str | None, location: Location) -> str | None:
    """Return where the revocation list of a root is, for certificates that it signs; None if they do not say it.

    :param template: the URL that the operator gives, with {root} for the root's id or without; None for the one that
        the configuration of a CA says. A root that is none of that CA's has no list there.
    :param location: the CA's, which need not exist.
    :raises ConfigError: if the configuration is needed and cannot be used.
    :raises CAFileError: if the CA's roots are needed and cannot be read.
    """
    folder = location.home
    if template is None and (folder / home.ROOT_CERTIFICATE).exists() and root in home.load_roots(folder):
        template = ca_toml.load(folder, location.file).root_crl_url
    return None if template is None else root_crl.url_of(template, root)


def _take_up(reader: Reader, checked: CheckedList, now: int) -> RootList | Write[RootList]:
    root_id = fingerprint(checked.root)
    known = root_lists.newest(reader, root_id)
    if known is not None and known.der == checked.der:
        return known
    if known is not None and checked.number <= known.number:
        raise RequestError(
            f"the list has the CRL number {checked.number}, and the one that is handed out now {known.number}: it is "
            "not a later one. Sign it again, with the one of now as the former list"
        )
    entry = RootList(root_id, checked.number, checked.der, checked.this_update, checked.next_update, now)
    detail = {
        "root": root_id,
        "number": checked.number,
        "revoked": [f"{serial:x}" for serial in sorted(checked.serials)],
        "next_update": checked.next_update,
    }
    return Write([root_lists.put(entry)], lambda _rows: entry, [Event("root_list.imported", now, detail=detail)])
