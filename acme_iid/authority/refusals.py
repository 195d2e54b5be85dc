"""The record of what was refused: few events, and small ones, however often an account asks and for whatever names.

Each grant, and each act of an operator, is an event. A refusal is one when it is new; the same again within an hour
is only counted, and the next event of the kind says how many there were (rfc-notes/decisions/0019).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from acme_iid.authority import Authority, limits
from acme_iid.authority.context import RequestContext
from acme_iid.errors import AcmeError
from acme_iid.policy.clouds import instance_key
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Proof
from acme_iid.store import refusals
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement, Write, refuse

_DIGITS = 32
"""Of the digest by which refusals are the same: 128 bits tell those of one account apart."""
_MAX_REASON = 400
_MAX_NAMES = 256
"""Characters of names, all in all, that an event shows and is found by: the one that it is about first."""


class Recorded(NamedTuple):
    """The record of a refusal: how it is counted, and its event: one that is due, or one that is only reported."""

    statements: list[Statement]
    events: list[Event]
    repeated: list[Event]


def refused(
    authority: Authority,
    context: RequestContext,
    reader: Reader,
    kind: str,
    account: Account,
    names: Sequence[Identifier],
    error: AcmeError,
    proof: Proof | None = None,
) -> Write[Any]:
    """A refusal outside a challenge, which is recorded, and counts as an order; its answer is the error.

    :param kind: the event's: ``order.refused`` or ``finalize.refused``.
    :param names: the names that the request was for.
    :param proof: the proof behind the names, where there is one for all of them.
    """
    recorded = record(
        reader,
        kind,
        account.id,
        names,
        context.now,
        {
            "provisioner": None if proof is None else proof.provisioner,
            "thumbprint": account.thumbprint,
            "remote": context.remote,
        },
        reason=error.detail,
        instance_id=None if proof is None else proof.instance,
    )
    asked = limits.order_asked(authority.config.limits, account, context.now)
    return refuse([*asked, *recorded.statements], error, recorded.events, recorded.repeated)


def record(
    reader: Reader,
    kind: str,
    account_id: str,
    names: Sequence[Identifier],
    now: int,
    detail: Mapping[str, object],
    *,
    reason: str,
    instance_id: str | None = None,
    cloud: str | None = None,
    name: str | None = None,
) -> Recorded:
    """Count a refusal, with an event if one is due.

    The same refusal is one of the same kind at the same step, under the same provisioner, of the same account, instance
    and names. The event has the names; of many the first ones, how many there are and the SHA-256 of all: of their
    sorted values as a JSON list without blanks. The one name that a refusal is about stands once where it is long.

    :param names: all that the request was for; ``name`` is the one that the refusal is about, if it is about one.
    :param detail: further facts, each short; ``step`` and ``provisioner`` among them.
    :param reason: a sentence; what is too long of it stands in the answer to the client alone.
    """
    values = [identifier.value for identifier in names]
    names_sha256 = _digest(sorted(values))
    what = _digest([kind, detail.get("step"), detail.get("provisioner"), instance_id, name, names_sha256])
    counted = refusals.count(reader, account_id, what[:_DIGITS], now)
    shown = _first(values, _MAX_NAMES - len(name or ""))
    whole = len(shown) == len(values) or values == [name]
    event = Event(
        kind,
        now,
        account_id=account_id,
        instance=instance_key(instance_id),
        cloud=cloud,
        name=name,
        detail={
            "identifiers": shown,
            "identifiers_count": None if whole else len(values),
            "identifiers_sha256": None if whole else names_sha256,
            "reason": reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}...",
            "refused": counted.refused if counted.refused > 1 else None,
            "various": True if counted.various else None,
            **detail,
        },
    )
    if counted.event:
        return Recorded([counted.statement], [event], [])
    return Recorded([counted.statement], [], [event])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _first(values: Sequence[str], most: int) -> list[str]:
    """As many of the first names as have ``most`` characters in all."""
    shown: list[str] = []
    for value in values:
        if sum(map(len, shown)) + len(value) > most:
            break
        shown.append(value)
    return shown
