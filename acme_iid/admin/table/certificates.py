"""Acts on certificates: listed, shown, revoked, and renewed before their time."""

from __future__ import annotations

from dataclasses import dataclass, field

from acme_iid.admin import kinds, problems
from acme_iid.admin.acts import Act, Context
from acme_iid.admin.filters import AHEAD, DURATION, Filters, timeless, wanted, without
from acme_iid.admin.kinds import FLAG
from acme_iid.admin.parameters import group, taken
from acme_iid.admin.roles import Role
from acme_iid.authority import reading, revocation
from acme_iid.errors import RequestError
from acme_iid.operations import bulk, criteria
from acme_iid.operations.descriptions import certificates
from acme_iid.operations.descriptions.certificates import CertificateDescription, CertificateRow, RenewalsAsked
from acme_iid.operations.descriptions.pages import Page
from acme_iid.store.certificates import Status

_SERIAL = kinds.parsed(
    "a serial number: decimal, or hexadecimal after 0x", timeless(criteria.serial_number), longest=100
)
STATUS = kinds.choice(("valid", "expired", "revoked"))


def _code(text: str) -> int:
    try:
        return revocation.reason_of_text(text)
    except RequestError as error:
        raise ValueError(str(error)) from error


REASON = kinds.parsed(f"one of {', '.join(revocation.REASONS.values())}", timeless(_code), longest=32)
"""A reason for a revocation, by its name or its code."""
CLOSING = "The reason of RFC 5280, by name such as keyCompromise or by code. superseded closes no names."
MOST_RENEWED = 1000
"""The certificates of one act that answers when it is done."""
OVER = taken(DURATION, "The time to spread the renewals over.", default="1h")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of certificates takes."""

    status: Status | None = field(default=None, metadata=taken(STATUS, "Only these."))
    expires_before: int | None = field(
        default=None, metadata=taken(AHEAD, "Only valid ones that end before that time.")
    )
    overdue: bool = field(
        default=False,
        metadata=taken(FLAG, "Only valid ones whose time for renewal has passed, and that have no successor."),
    )
    filters: Filters = field(default_factory=Filters, metadata=group(without("kind", "remote", "bulk")))


@dataclass(frozen=True, slots=True)
class One:
    """One certificate."""

    serial: int = field(metadata=taken(_SERIAL, "Its serial number, decimal, or hexadecimal after 0x."))


@dataclass(frozen=True, slots=True)
class Revocation(One):
    """What a revocation takes."""

    reason: int = field(metadata=taken(REASON, CLOSING, default="unspecified"))


@dataclass(frozen=True, slots=True)
class Renewal:
    """What asking for renewals takes."""

    over: int = field(metadata=OVER)
    filters: Filters = field(
        default_factory=Filters,
        metadata=group(without("instance", "limit", "before", "since", "until", "kind", "remote", "bulk")),
    )


def _list(context: Context, asked: Listing) -> Page[CertificateRow]:
    criteria_ = wanted(context, asked.filters, numbered=True)
    try:
        return certificates.listed(
            context.database, criteria_, context.now,
            of_status=asked.status, ends_before=asked.expires_before, overdue=asked.overdue,
        )  # fmt: skip
    except ValueError as error:
        raise problems.of_parameter("status", str(error), "valid, or left out") from None


def _show(context: Context, asked: One) -> CertificateDescription:
    return certificates.whole(criteria.certificate(context.database, asked.serial), context.now)


def _pem(context: Context, asked: One) -> str:
    return reading.with_chain(context.database, criteria.certificate(context.database, asked.serial))


def _revoke(context: Context, asked: Revocation) -> CertificateRow:
    found = criteria.certificate(context.database, asked.serial)
    revocation.revoke_by_operator(context.database, found, asked.reason, context.now)
    return certificates.row(criteria.certificate(context.database, asked.serial), context.now)


def _renew_now(context: Context, asked: Renewal) -> RenewalsAsked:
    found = wanted(context, asked.filters)
    count = bulk.count_certificates(context.database, found, context.now)
    if context.is_bounded and count > MOST_RENEWED:
        raise RequestError(
            f"these are {count} certificates; more than {MOST_RENEWED} are asked for by /bulk/renew-now, which is "
            "acme-iid-ca bulk renew-now"
        )
    steps = bulk.renew_now(context.database, found, asked.over, bulk.Task.new(), context.now)
    return {"certificates": sum(step.done for step in steps), "seconds": asked.over}


ACTS = (
    Act(
        "certificate.list", "GET", "/certificates", Role.VIEWER, "The certificates that were issued last.", _list,
        Page[CertificateRow], Listing, "The latest is the first; since and until are about when they were issued.",
    ),
    Act(
        "certificate.show", "GET", "/certificates/{serial}", Role.VIEWER, "One certificate in full.", _show,
        CertificateDescription, One,
    ),
    Act(
        "certificate.pem", "GET", "/certificates/{serial}/pem", Role.VIEWER, "A certificate and its chain.", _pem,
        str, One, media="application/pem-certificate-chain",
    ),
    Act(
        "certificate.revoke", "POST", "/certificates/{serial}/revoke", Role.OPERATOR, "Revoke a certificate.", _revoke,
        CertificateRow, Revocation, "Its names are closed to its instance.",
        why="note",
    ),
    Act(
        "certificate.renew_now", "POST", "/certificates/renew-now", Role.OPERATOR,
        "Have clients renew certificates, one after another.", _renew_now, RenewalsAsked, Renewal,
        "Clients that ask the CA when to renew (RFC 9773) see it within minutes; each valid certificate gets a moment "
        "of its own. It is for 1000 certificates at most: bulk.renew_now is for more.",
    ),
)  # fmt: skip
