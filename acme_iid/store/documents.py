"""The JSON in an order's row, and the order that is derived from the row and the facts of now.

The document has each name, each challenge and each proof once: that evidence proved a hundred names does not make a
hundred copies of what it says; a proof that was made in another order names that one; a challenge that failed with the
error of its order does not repeat it. Its members are ``names``, ``before`` and ``after`` (the validity that was
asked for), ``profile``, ``error``, ``authorizations`` and ``proofs``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import Fault, Problem, Remedy
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Authorization, Challenge, Order, Proof
from acme_iid.store.serials import OrderId
from acme_iid.store.writes import Row

KEY_CHANGED = Fault(
    Problem.UNAUTHORIZED, "the account's key was changed, and the challenge was bound to the old one; order again"
)
RUN_OUT = Fault(Problem.UNAUTHORIZED, "an authorization of this order has run out; order again")
_MAX_DETAIL = 700
"""Characters of a sentence that is stored."""

Body = Mapping[str, Any]
"""A document, parsed."""
Held = tuple[Proof, tuple[Identifier, ...], str | None, str | None]
"""A proof, the names that the instance may hold, its identity, and the order in which it was made, if another."""


def bounded(error: Fault) -> Fault:
    """A fault as it is stored; a sentence that is too long ends with dots."""
    if len(error.detail) <= _MAX_DETAIL:
        return error
    return replace(error, detail=f"{error.detail[:_MAX_DETAIL]}...")


def fault_as_list(error: Fault | None) -> list[str] | None:
    """A fault as it stands in a document."""
    if error is None:
        return None
    error = bounded(error)
    return [error.problem.name, error.detail, *(() if error.remedy is None else (error.remedy.name,))]


def fault_of_list(stored: Sequence[str] | None) -> Fault | None:
    """The fault that :func:`fault_as_list` made a list of."""
    if stored is None:
        return None
    name, detail, *remedy = stored
    return Fault(Problem[name], detail, remedy=Remedy[remedy[0]] if remedy else None)


def document(order: Order) -> str:
    """The document of an order, as JSON; of authorizations that were made ahead it has the ids alone."""
    proofs: list[Held] = []
    body: dict[str, object] = {
        "names": order.identifiers,
        "before": order.not_before,
        "after": order.not_after,
        "profile": order.profile,
        "error": fault_as_list(order.error),
        "authorizations": [_entry(order, entry, proofs) for entry in order.authorizations],
        "proofs": list(map(_as_list, proofs)),
    }
    return json.dumps({name: value for name, value in body.items() if value}, separators=(",", ":"))


def _as_list(held: Held) -> list[object]:
    proof, names, identity, proven_in = held
    stored: list[object] = [(proof.instance, proof.cloud, proof.provisioner, proof.credential_id), names, identity]
    return stored if proven_in is None else [*stored, proven_in]


def _entry(order: Order, entry: Authorization, proofs: list[Held]) -> object:
    if entry.id and not entry.id.startswith(f"{order.id}."):
        return entry.id
    stored: dict[str, object] = {"challenges": _challenges(order, entry, proofs)}
    if entry.deactivated_at is not None:
        stored["deactivated"] = entry.deactivated_at
    if entry.expires_at != order.expires_at:
        stored["until"] = entry.expires_at
    return stored


def _challenges(order: Order, entry: Authorization, proofs: list[Held]) -> list[object]:
    """An authorization's challenges, each in the place that its id has; one that was taken back leaves it empty."""
    stored: list[object] = []
    for challenge in entry.challenges:
        place = int(challenge.id.rpartition(".")[2]) if challenge.id else len(stored)
        stored += [None] * (place - len(stored))
        stored.append(_challenge(order, challenge, proofs))
    return stored


def _challenge(order: Order, challenge: Challenge, proofs: list[Held]) -> list[object]:
    stored: list[object] = [challenge.type, challenge.token]
    if challenge.validated_at is not None and challenge.proof is not None:
        held = (challenge.proof, challenge.names, challenge.identity, challenge.proven_in)
        if held not in proofs:
            proofs.append(held)
        return [*stored, challenge.validated_at, proofs.index(held)]
    if challenge.failed_at is not None:
        failed = [*stored, challenge.failed_at, None]
        return failed if challenge.error == order.error else [*failed, fault_as_list(challenge.error)]
    return stored


def parse(row: Row) -> Body:
    """The document in an order's row."""
    body: Body = json.loads(row["doc"])
    return body


def ahead_of(body: Body) -> list[OrderId]:
    """The authorizations, made ahead, that an order's document refers to."""
    ids = (entry for entry in body["authorizations"] if isinstance(entry, str))
    return [order_id for text in ids if (order_id := OrderId.read(text.rpartition(".")[0])) is not None]


def may_have_attempts(body: Body) -> bool:
    """Whether a challenge in an order's document can be one that a look at the network is due for."""
    return any(
        challenge is not None and len(challenge) == 2 and challenge[0] != CHALLENGE_TYPE
        for entry in body["authorizations"]
        if not isinstance(entry, str)
        for challenge in entry["challenges"]
    )


def order_of(
    row: Row, body: Body, attempts: Sequence[Row] = (), ahead: Mapping[str, Authorization] | None = None
) -> Order:
    """The order in a row of :data:`acme_iid.store.orders.SELECT`.

    Later changes of its account's key, its instance or its enrolment stand in their rows; from them follows here which
    names are no longer proven, and that an order has ended.

    :param body: its document.
    :param attempts: the rows of its challenges' attempts.
    :param ahead: by their ids, the authorizations that were made ahead of it, as they are.
    """
    names = tuple(Identifier(*pair) for pair in body["names"])
    order_id = f"{row['n']}.{row['tag']}"
    proofs = [
        (Proof(*proof), tuple(Identifier(*pair) for pair in held), identity, *(proven_in or (None,)))
        for proof, held, identity, *proven_in in body.get("proofs", ())
    ]
    pending = {(attempt["i"], attempt["k"]): attempt for attempt in attempts}
    authorizations: list[Authorization] = []
    gone = False
    for number, entry in enumerate(body["authorizations"]):
        if isinstance(entry, str):
            if ahead is not None and (made := ahead.get(entry)) is not None:
                authorizations.append(made)
            else:
                gone = True
            continue
        name = names[number]
        authorizations.append(
            Authorization(
                id=f"{order_id}.{number}",
                account_id=row["account_id"],
                identifier=name.base,
                wildcard=name.wildcard,
                created_at=row["created_at"],
                expires_at=entry.get("until", row["expires_at"]),
                challenges=tuple(
                    _read_challenge(f"{order_id}.{number}.{k}", stored, body, proofs, pending.get((number, k)))
                    for k, stored in enumerate(entry["challenges"])
                    if stored is not None
                ),
                deactivated_at=entry.get("deactivated"),
            )
        )
    order = Order(
        id=order_id,
        account_id=row["account_id"],
        identifiers=names,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        key=row["key"],
        version=row["version"],
        ahead=bool(row["ahead"]),
        taken_at=row["taken_at"],
        instance_id=row["instance_id"],
        generation=row["generation"],
        not_before=body.get("before"),
        not_after=body.get("after"),
        profile=body.get("profile"),
        replaces=row["replaces"],
        ended_at=row["ended_at"],
        error=fault_of_list(body.get("error")),
        issued_at=row["issued_at"],
        authorizations=tuple(authorizations),
    )
    if gone:
        # One that has gone from the store has run out: no order does without it.
        order = _ended(order, order.created_at, RUN_OUT)
    return _as_of_now(order, row)


def _read_challenge(
    challenge_id: str, stored: Sequence[Any], body: Body, proofs: Sequence[Held], attempt: Row | None
) -> Challenge:
    kind, token, *outcome = stored
    challenge = Challenge(challenge_id, kind, token)
    if not outcome:
        return challenge if attempt is None else _with_attempt(challenge, attempt)
    at, number, *error = outcome
    if number is None:
        return replace(challenge, failed_at=at, error=fault_of_list(error[0] if error else body.get("error")))
    proof, names, identity, proven_in = proofs[number]
    return replace(challenge, validated_at=at, proof=proof, names=names, identity=identity, proven_in=proven_in)


def _with_attempt(challenge: Challenge, attempt: Row) -> Challenge:
    return replace(
        challenge,
        answered_at=attempt["answered_at"],
        answered_from=attempt["remote"],
        attempts=attempt["attempts"],
        due_at=attempt["due_at"],
        error=None if attempt["error"] is None else fault_of_list(json.loads(attempt["error"])),
    )


def _as_of_now(order: Order, row: Row) -> Order:
    """An order as it is by what has happened to others: its account's key, its instance, its enrolment."""
    if _has_another_key(order, row):
        order = _after_key_change(order, row["key_since"])
    if order.instance_id is not None and order.generation != (row["generation_now"] or 0):
        order = _without_proofs(order, row["raised_at"], Fault(Problem.UNAUTHORIZED, row["raised_for"] or ""))
    elif row["enrolment_ended_at"] is not None:
        fault = Fault(Problem.UNAUTHORIZED, f"the enrolment has ended: {row['enrolment_reason']}")
        order = _without_proofs(order, row["enrolment_ended_at"], fault)
    for entry in order.authorizations:
        # One that was made ahead is deactivated in its own row.
        if entry.deactivated_at is not None:
            order = _ended(order, entry.deactivated_at, deactivated(entry))
    return order


def _has_another_key(order: Order, row: Row) -> bool:
    """Whether an order's account has got another key since it was made, be it that it went back to the former one."""
    if order.key != row["thumbprint"]:
        return True
    # Clocks of several machines differ: times count for an account alone that went back.
    return order.created_at < row["key_since"] and row["thumbprint"] in json.loads(row["earlier_keys"])


def deactivated(entry: Authorization) -> Fault:
    """Why an order has ended one of whose authorizations was deactivated."""
    return Fault(Problem.UNAUTHORIZED, f"the authorization for {entry.identifier} was deactivated")


def _ended(order: Order, at: int, fault: Fault) -> Order:
    if order.ahead or order.issued_at is not None or order.ended_at is not None:
        return order
    return replace(order, ended_at=at, error=fault)


def _without_proofs(order: Order, at: int, fault: Fault) -> Order:
    """An order whose instance has lost what it had proven; what hosts have proven stays."""
    entries = tuple(
        replace(entry, revoked_at=at)
        if any(challenge.proof is not None and challenge.proof.instance for challenge in entry.challenges)
        else entry
        for entry in order.authorizations
    )
    return _ended(replace(order, authorizations=entries), at, fault)


def _after_key_change(order: Order, at: int) -> Order:
    """An order whose account has another key than when it was made: iid-01 challenges were bound to the former one.

    Its reliance on an earlier order is bound to the former key, too, and ends; names that it has proven itself stay.
    Where a name can be proven by another type as well, the challenge is taken back: a failed one would make the
    authorization invalid, which the other type has nothing to do with.
    """
    if order.issued_at is not None or order.ended_at is not None:
        return order
    entries, failed = [], False
    for entry in order.authorizations:
        decided = any(challenge.validated_at or challenge.failed_at for challenge in entry.challenges)
        bound = [challenge for challenge in entry.challenges if challenge.type == CHALLENGE_TYPE]
        if any(challenge.proven_in is not None for challenge in entry.challenges):
            failed = True
            entries.append(replace(entry, revoked_at=at))
        elif decided or not bound or entry.deactivated_at is not None:
            entries.append(entry)
        elif len(bound) < len(entry.challenges):
            others = tuple(challenge for challenge in entry.challenges if challenge.type != CHALLENGE_TYPE)
            entries.append(replace(entry, challenges=others))
        else:
            failed = True
            lost = tuple(replace(challenge, failed_at=at, error=KEY_CHANGED) for challenge in entry.challenges)
            entries.append(replace(entry, challenges=lost))
    order = replace(order, authorizations=tuple(entries))
    return _ended(order, at, KEY_CHANGED) if failed else order
