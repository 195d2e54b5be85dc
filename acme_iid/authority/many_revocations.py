"""Revoking many certificates in one write: the effects of each, and what they have in common once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from acme_iid.authority import enrolments, revocation
from acme_iid.policy.clouds import instance_key
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, instances, issuers
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement, Write, again

_OPERATOR = "operator"


class Revoked(NamedTuple):
    """What became of certificates.

    :ivar done: the number of those that were revoked.
    :ivar retired: the number of those whose issuer has signed its last list, so that they cannot be revoked.
    """

    done: int
    retired: int


def revoke(reader: Reader, chosen: Sequence[Certificate], code: int, now: int) -> Write[Revoked]:
    """Revoke certificates on an operator's word, and close their names to their instances, as one by one would.

    Those that were revoked before are passed over, and what they have closed stays.

    :param chosen: as they were read by somebody; they are read again.
    :param code: the reason (RFC 5280 section 5.3.1).
    :returns: each revoked certificate leaves an event.
    """
    reader = reader.ahead(*(certificates.question(certificates.number(certificate)) for certificate in chosen))
    current = [certificates.get(reader, certificate.id) for certificate in chosen]
    valid = [certificate for certificate in current if certificate is not None and certificate.revoked_at is None]
    retired = issuers.retired(reader)
    revoked = [certificate for certificate in valid if certificate.issuer_id not in retired]
    closing = [] if code == revocation.SUPERSEDED else _closings(reader, revoked, now)
    ended = frozenset(id_ for effect in closing for id_ in effect.ended)
    compromised: list[revocation.Effect] = []
    if code == revocation.KEY_COMPROMISE:
        by_key = {certificate.key_id: certificate for certificate in revoked}
        compromised = [revocation.compromise(reader, one, _OPERATOR, now, ended) for one in by_key.values()]
    effects = [*compromised, *closing]
    statements = [
        *(statement for effect in effects for statement in effect.statements),
        # Who retires an issuer waits for this, and then counts them.
        *(issuers.in_service(issuer_id, again) for issuer_id in sorted({entry.issuer_id for entry in revoked})
          if issuers.get(reader, issuer_id) is not None),
        *(certificates.revoke(certificate, code, _OPERATOR, now) for certificate in revoked),
    ]  # fmt: skip
    events = [event for effect in effects for event in effect.events]
    events += [_event(certificate, code, now) for certificate in revoked]
    outcome = Revoked(len(revoked), len(valid) - len(revoked))
    return Write(statements, lambda _rows: outcome, events)


def _closings(reader: Reader, revoked: Sequence[Certificate], now: int) -> list[revocation.Effect]:
    """Close the names to each instance, and end what it has proven, once for all of its certificates."""
    by_instance: dict[str, list[Certificate]] = defaultdict(list)
    for certificate in revoked:
        if certificate.instance is not None:
            by_instance[certificate.instance].append(certificate)
    # In one order, so that no two writes wait for each other.
    return [_close(reader, instance_id, by_instance[instance_id], now) for instance_id in sorted(by_instance)]


def _close(reader: Reader, instance_id: str, several: Sequence[Certificate], now: int) -> revocation.Effect:
    names = list(dict.fromkeys(name for certificate in several for name in certificate.names))
    instance = instances.get(reader, instance_id)
    ended = enrolments.end_of_instance(
        reader, instance_id, names, "a certificate for one of its names was revoked", now
    )
    statements: list[Statement] = [
        instances.raise_generation(
            instance_key(instance_id),
            0 if instance is None else instance.generation,
            "a certificate of this instance was revoked meanwhile",
            now,
        ),
        # Whoever revokes it, the instance's next order is proven anew.
        instances.note_revocation(instance_id, now),
        *ended.statements,
        *certificates.close_names(instance_id, names, now),
    ]
    return revocation.Effect(statements, ended.events, ended.ids)


def _event(certificate: Certificate, code: int, now: int) -> Event:
    closed = certificate.instance is not None and code != revocation.SUPERSEDED
    return revocation.event(certificate, code, _OPERATOR, now, closed=closed)
