"""The document of a CA's roots, /roots.json, as clients take it up (rfc-notes/roots.md)."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.operations import roots as operations
from acme_iid.store import root_lists, roots
from acme_iid.store.roots import StoredRoot
from acme_iid.store.writes import Reader

CLIENTS_LOOK_SECONDS = 24 * 3600
"""Seconds between two looks of our client at the document, for what operators are told (the client has its own)."""
MAX_LIST_BYTES = 64 * 1024
"""The size of a root's list of revoked issuers, up to which it is in the document: more than a thousand of them."""


def document(reader: Reader, now: int) -> tuple[int, str]:
    """Return the version of the list of roots, and the document in JSON.

    :param now: seconds.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    listed = operations.listed(reader, now)
    version = roots.version(roots.every(reader))
    content = {"version": version, "roots": [_entry(root) for root in listed], "crl": _lists(reader, listed)}
    return version, json.dumps(content)


def _entry(root: StoredRoot) -> dict[str, str | None]:
    return {
        "pem": ssl.DER_cert_to_PEM_cert(root.certificate),
        "link": None if root.link is None else ssl.DER_cert_to_PEM_cert(root.link),
        "from": _time(root.added_at),
        "until": None if root.dropped_at is None else _time(root.dropped_at),
    }


def _lists(reader: Reader, listed: Sequence[StoredRoot]) -> str | None:
    """The newest lists of the roots that are trusted, in PEM; None without any."""
    found = [root_lists.newest(reader, root.id) for root in listed if root.dropped_at is None]
    pem = [
        x509.load_der_x509_crl(one.der).public_bytes(Encoding.PEM).decode()
        for one in found
        if one is not None and len(one.der) <= MAX_LIST_BYTES
    ]
    return "".join(pem) or None


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
