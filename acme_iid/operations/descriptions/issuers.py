"""The CA's own certificates and lists, as operators are shown them: from the issuers up to the roots."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict

from cryptography import x509

from acme_iid.issuance import home
from acme_iid.issuance.issuer import SHORT_ID_LENGTH, key_id
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.operations.overview import Line, overview
from acme_iid.protocol.standing import State
from acme_iid.store import roots as stored_roots
from acme_iid.store.writes import Reader

_DAY = 86400


class IssuerRow(TypedDict):
    """An issuer in the home.

    :ivar id: the beginning of its id.
    :ivar subject: its distinguished name.
    :ivar signed_by: that of its own issuer.
    :ivar ends: a time.
    :ivar key: the place of its key.
    """

    id: str
    subject: str
    signed_by: str
    ends: str
    key: str


class CARow(TypedDict):
    """A certificate of the CA's, or a revocation list.

    :ivar role: what it is, such as issuer, root or responder.
    :ivar id: the beginning of an issuer's id, or of a root's fingerprint; None for others.
    :ivar subject: its distinguished name, or what it is of.
    :ivar state: an issuer's: prepared, signing, former, retired or compromised; None for others.
    :ivar ends: a time.
    :ivar days_left: whole days until then.
    :ivar warning: 25 or 10 once no more percent of its life are left; None before.
    :ivar key: the place of its key; None for a list.
    :ivar fault: why its key gives no signature, or why clients would refuse a responder's answers; None without one.
    """

    role: str
    id: str | None
    subject: str
    state: State | None
    ends: str
    days_left: int
    warning: int | None
    key: str | None
    fault: str | None


class IssuerStatusRow(TypedDict):
    """A certificate of the CA's with who holds its key and what it permits, or a revocation list.

    :ivar answers: whether a key in a token or behind a program gave a signature just now; None for keys not asked.
    :ivar servers: the ids of the servers that run and hold an issuer's key; None for others.
    :ivar constraints: the names that the certificate permits, in words.
    """

    role: str
    id: str | None
    subject: str
    state: State | None
    key: str | None
    answers: bool | None
    servers: list[str] | None
    ends: str
    days_left: int
    warning: int | None
    fault: str | None
    constraints: list[str]


class RootRow(TypedDict):
    """A root of the CA.

    :ivar fingerprint: the SHA-256 of its certificate, in hex.
    :ivar subject: its distinguished name.
    :ivar state: ``in use`` for the first that clients trust.
    :ivar link: whether the root before it has signed it.
    :ivar added: the time at which it was announced.
    :ivar used: the time at which it came into use.
    :ivar dropped: the time from which on clients trust it no more.
    :ivar ends: a time.
    """

    fingerprint: str
    subject: str
    state: Literal["in use", "trusted", "dropped"]
    link: bool
    added: str
    used: str | None
    dropped: str | None
    ends: str


def listed(folder: Path) -> list[IssuerRow]:
    """The issuers in a home.

    :raises CAFileError: if its certificates cannot be read.
    """
    return [
        {
            "id": (issuer_id := key_id(certificate.public_key()))[:SHORT_ID_LENGTH],
            "subject": home.shown(certificate.subject),
            "signed_by": home.shown(certificate.issuer),
            "ends": _end(certificate),
            "key": str(home.key_place(folder, issuer_id)),
        }
        for certificate in home.issuing_certificates(folder)
    ]


def _end(certificate: x509.Certificate) -> str:
    return timestamp(int(certificate.not_valid_after_utc.timestamp()))


def row(line: Line, now: int) -> CARow:
    """A certificate of the CA's, or a list.

    :param now: seconds.
    """
    return {
        "role": line.lifetime.role,
        "id": line.id,
        "subject": line.lifetime.name,
        "state": line.state,
        "ends": timestamp(line.lifetime.ends),
        "days_left": max(0, (line.lifetime.ends - now) // _DAY),
        "warning": line.warning,
        "key": line.key,
        "fault": line.fault,
    }


def statuses(folder: Path, reader: Reader | None, now: int, *, without_keys: bool = False) -> list[IssuerStatusRow]:
    """Every certificate in a home, each issuer followed by those above it, and then the lists.

    :param reader: the CA's store; None if there is none yet.
    :param now: seconds.
    :param without_keys: whether no key may be asked, and no file with one opened.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    return [
        {
            "role": line.lifetime.role,
            "id": line.id,
            "subject": line.lifetime.name,
            "state": line.state,
            "key": line.key,
            "answers": line.answers,
            "servers": None if line.servers is None else list(line.servers),
            "ends": timestamp(line.lifetime.ends),
            "days_left": max(0, (line.lifetime.ends - now) // _DAY),
            "warning": line.warning,
            "fault": line.fault,
            "constraints": list(line.constraints),
        }
        for line in overview(folder, reader, now, without_keys=without_keys)
    ]


def roots(reader: Reader) -> list[RootRow]:
    """The roots of the CA, the one in use first."""
    rows: list[RootRow] = []
    for root in stored_roots.every(reader):
        certificate = x509.load_der_x509_certificate(root.certificate)
        rows.append(
            {
                "fingerprint": root.id,
                "subject": home.shown(certificate.subject),
                "state": "dropped" if root.dropped_at is not None else "trusted" if rows else "in use",
                "link": root.link is not None,
                "added": timestamp(root.added_at),
                "used": timestamp(root.used_at),
                "dropped": timestamp(root.dropped_at),
                "ends": _end(certificate),
            }
        )
    return rows
