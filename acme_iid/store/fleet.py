"""The fleet's certificates by what they wait for: renewals that are due, overdue, or came too late.

A certificate has a successor when a later one, not revoked, has the same names for the same holder (its instance; of a
host, its account), or was issued for an order that replaces it (RFC 9773). One with a successor waits for nothing.
Of the others that were not revoked, one is

- *due* in its renewal window,
- *overdue* after its window, as long as it is valid,
- *lapsed* for a day after its end.

Nothing here is stored: all follows from certificates and the time. The windows are those that clients are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from cryptography import x509

from acme_iid.protocol.renewal import PARTS, PARTS_BEFORE, CertificateId, Hurry, hurry_of, window
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, issuers
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Reader, Row

HOUR = 3600
LAPSED_SECONDS = 24 * 3600
"""The seconds after its end that a certificate without a successor counts as lapsed."""
_AT_ONCE = 500

OTHERS = "others"
"""In place of a cloud: all owners beside the largest, as one."""

State = Literal["due", "overdue", "lapsed"]

_NOT_ENDED = "FROM certificates WHERE not_after > :since AND revoked_at IS NULL"
# A holder's certificates for the same names, the latest first. What has ended within a day counts as a successor, too:
# it is what lapsed.
_LATEST = f"""WITH latest AS MATERIALIZED (
    SELECT n, serial, issuer_id, not_before, not_after, renew_from, renew_until,
           row_number() OVER (PARTITION BY coalesce(instance_id, account_id), names ORDER BY issued_at DESC, n DESC)
               AS place
    {_NOT_ENDED})
"""
_BEGUN = f"coalesce(renew_from, not_before + (not_after - not_before) * {PARTS_BEFORE} / {PARTS}) <= :now"


class Counts(NamedTuple):
    """Numbers of certificates.

    :ivar valid: those that have not ended and were not revoked.
    :ivar replaced: those among the valid that have a successor; the others are in use.
    """

    valid: int
    replaced: int
    due: int
    overdue: int
    lapsed: int

    @property
    def used(self) -> int:
        """The number of valid certificates without a successor: of these, some are due and some overdue."""
        return self.valid - self.replaced


class Owned(NamedTuple):
    """The certificates in force of one owner.

    :ivar cloud: None for hosts, which have no owner either; :data:`OTHERS`, without an owner, for several owners.
    :ivar instances: the number of instances that have them.
    """

    cloud: str | None
    owner: str | None
    instances: int
    certificates: int


class Ending(NamedTuple):
    """The certificates in force that end within one hour.

    :ivar hour: its beginning, seconds.
    :ivar replaced: those among them that have a successor of the same names.
    """

    hour: int
    certificates: int
    replaced: int


class Waiting(NamedTuple):
    """A certificate that waits for a successor.

    :ivar n: its number.
    """

    n: int
    state: State


class _Latest(NamedTuple):
    """The latest of a holder's certificates for the same names: a row, with the facts of :class:`Term`."""

    n: int
    serial: str
    issuer_id: str
    not_before: int
    not_after: int
    renew_from: int | None
    renew_until: int | None
    revoked_at: int | None = None

    def state(self, hurry: Hurry | None, now: int) -> State | None:
        """What it waits for, if it has no successor; None if its renewal is not due yet."""
        if self.not_after <= now:
            return "lapsed"
        own = window(self, hurry)
        if now < own.start:
            return None
        return "due" if now < own.end else "overdue"


def count(reader: Reader, now: int) -> Counts:
    """The fleet in numbers. It reads every certificate in force: ask for it now and then, not at each request.

    :param now: seconds.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    (row,) = reader.rows(
        f"""{_LATEST} SELECT coalesce(sum(CASE WHEN not_after > :now THEN 1 ELSE 0 END), 0) AS valid,
               coalesce(sum(CASE WHEN not_after > :now AND place > 1 THEN 1 ELSE 0 END), 0) AS replaced
            FROM latest""",  # noqa: S608 - our own words
        since=now - LAPSED_SECONDS,
        now=now,
    )
    states = dict.fromkeys(("due", "overdue", "lapsed"), 0)
    otherwise = 0
    for entry, state, succeeded in _looked_at(reader, now):
        if not succeeded:
            states[state] += 1
        elif entry.not_after > now:
            otherwise += 1
    return Counts(int(row["valid"]), int(row["replaced"]) + otherwise, **states)


def owned(reader: Reader, now: int, most: int) -> list[Owned]:
    """The certificates in force by owner, those with the most first. It reads all of them, as :func:`count` does.

    :param now: seconds.
    :param most: the largest number of owners; all further ones are the last entry, together.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    rows = reader.rows(
        f"""WITH counted AS (
                SELECT cloud, owner, count(*) AS certificates, count(DISTINCT instance_id) AS instances
                {_NOT_ENDED} GROUP BY cloud, owner),
            placed AS (
                SELECT cloud, owner, certificates, instances,
                       row_number() OVER (ORDER BY certificates DESC, coalesce(cloud, ''), coalesce(owner, '')) AS place
                FROM counted)
            SELECT CASE WHEN place > :most THEN :most + 1 ELSE place END AS own, min(cloud) AS cloud,
                   min(owner) AS owner, sum(instances) AS instances, sum(certificates) AS certificates
            FROM placed GROUP BY 1 ORDER BY 1 LIMIT :most + 1""",  # noqa: S608 - our own words
        since=now,
        most=most,
    )
    found = [Owned(row["cloud"], row["owner"], int(row["instances"]), int(row["certificates"])) for row in rows]
    return [*found[:most], *(entry._replace(cloud=OTHERS, owner=None) for entry in found[most:])]


def ending(reader: Reader, now: int, hours: int) -> list[Ending]:
    """The certificates in force by the hour in which they end. It reads all of them, as :func:`count` does.

    :param now: seconds.
    :param hours: how many, beginning with the present one; those without a certificate are left out.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    rows = reader.rows(
        f"""{_LATEST} SELECT not_after / :hour AS hours, count(*) AS certificates,
                   sum(CASE WHEN place > 1 THEN 1 ELSE 0 END) AS replaced
            FROM latest WHERE not_after > :now AND not_after < :until
            GROUP BY 1 ORDER BY 1 LIMIT :hours""",  # noqa: S608 - our own words
        since=now - LAPSED_SECONDS,
        now=now,
        until=(now // HOUR + hours) * HOUR,
        hour=HOUR,
        hours=hours,
    )
    return [Ending(row["hours"] * HOUR, row["certificates"], int(row["replaced"])) for row in rows]


def waiting(reader: Reader, now: int) -> list[Waiting]:
    """The certificates that wait for a successor, in the order of their numbers.

    :param now: seconds.
    """
    return sorted(Waiting(entry.n, state) for entry, state, succeeded in _looked_at(reader, now) if not succeeded)


def overdue(reader: Reader, criteria: Filter, now: int, *, ends_before: int | None = None) -> list[Certificate]:
    """A page of the certificates that are overdue, the latest issued first.

    :param criteria: which; as far as events are followed (:mod:`acme_iid.store.lookups`).
    :param ends_before: only those that end before this time, seconds.
    """
    late = {entry.n for entry in waiting(reader, now) if entry.state == "overdue"}
    found: list[Certificate] = []
    before = criteria.before
    while late and len(found) < criteria.limit:
        several = replace(criteria, before=before, limit=_AT_ONCE)
        page = certificates.page(reader, several, "valid", now, ends_before=ends_before)
        found += [certificate for certificate in page if certificates.number(certificate) in late]
        if len(page) < _AT_ONCE:
            break
        before = certificates.position(page[-1])
    return found[: criteria.limit]


def _looked_at(reader: Reader, now: int) -> Iterator[tuple[_Latest, State, bool]]:
    """Those that wait unless they have a successor of other names, and whether they have one."""
    stored = issuers.every(reader)
    hurries = {issuer_id: hurry_of(standing) for issuer_id, standing in issuers.standings(stored).items()}
    hurried = [issuer_id for issuer_id, hurry in hurries.items() if hurry is not None]
    values = {f"issuer{place}": issuer_id for place, issuer_id in enumerate(hurried)}
    under = f" OR issuer_id IN ({', '.join(f':{name}' for name in values)})" if values else ""
    rows = reader.rows(
        f"""{_LATEST} SELECT n, serial, issuer_id, not_before, not_after, renew_from, renew_until FROM latest
            WHERE place = 1 AND ({_BEGUN}{under})""",  # noqa: S608 - our own words
        since=now - LAPSED_SECONDS,
        now=now,
        **values,
    )
    latest = [_Latest(**row) for row in rows]
    keys = {issuer.id: _key_identifier(issuer.certificate) for issuer in stored}
    for start in range(0, len(latest), _AT_ONCE):
        some = [(entry, entry.state(hurries.get(entry.issuer_id), now)) for entry in latest[start : start + _AT_ONCE]]
        late = [(entry, state) for entry, state in some if state is not None]
        replaced = _replaced(reader, [entry for entry, _ in late], keys, now)
        for entry, state in late:
            yield entry, state, entry.n in replaced


def _key_identifier(certificate: bytes) -> bytes | None:
    """An issuer's key identifier, which its certificates name; None where it has none."""
    extensions = x509.load_der_x509_certificate(certificate).extensions
    try:
        return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _replaced(reader: Reader, entries: Sequence[_Latest], keys: Mapping[str, bytes | None], now: int) -> frozenset[int]:
    """The numbers of those in whose place another certificate was issued, whatever its names are."""
    numbers = {
        str(CertificateId(key, int(entry.serial, 16))): entry.n
        for entry in entries
        if (key := keys.get(entry.issuer_id)) is not None
    }
    if not numbers:
        return frozenset()
    values = {f"id{place}": identifier for place, identifier in enumerate(numbers)}
    rows: list[Row] = reader.rows(
        f"""SELECT o.replaces FROM orders o JOIN certificates c ON c.n = o.n
            WHERE o.replaces IN ({", ".join(f":{name}" for name in values)}) AND o.ended_at IS NULL
              AND c.revoked_at IS NULL AND c.not_after > :since""",  # noqa: S608 - our own words
        since=now - LAPSED_SECONDS,
        **values,
    )
    return frozenset(numbers[row["replaces"]] for row in rows)
