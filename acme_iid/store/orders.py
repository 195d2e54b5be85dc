"""Orders, with their authorizations and challenges (RFC 8555 sections 7.1.3 to 7.1.5): a row each.

An order is read whole, and each change of it has in its condition the version that was read: of two that race one
happens, and the other is decided again. An authorization that newAuthz made is a row of the same kind, until it is
taken into an order, which then refers to it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from acme_iid.errors import Fault
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Authorization, Challenge, Order
from acme_iid.protocol.status import Status, of_authorization
from acme_iid.store import documents, order_counts, serials
from acme_iid.store.serials import OrderId
from acme_iid.store.writes import Question, Reader, Row, Statement, Verdict, again, ask

_TAG_BYTES = 12
SELECT = """
    SELECT o.*, a.thumbprint, a.key_since, a.earlier_keys, i.generation AS generation_now, i.raised_at, i.raised_for,
           e.ended_at AS enrolment_ended_at, e.reason AS enrolment_reason
    FROM orders o JOIN accounts a ON a.id = o.account_id
    LEFT JOIN instances i ON i.id = o.instance_id
    LEFT JOIN enrolments e ON e.id = a.enrolment_id
"""
_ATTEMPTS = """
    SELECT o.version AS order_version, t.* FROM orders o LEFT JOIN attempts t ON t.n = o.n WHERE o.n = :n
"""
"""The attempts at an order's challenges, with the version of the order at that moment."""
_UNCHANGED = "n = :n AND tag = :tag AND version = :version"
"""It is the order that was read: a number may be another's by now."""
_MOST_READ = 1000
ALL = 1 << 62
"""More than any number of an order."""


class LocatedChallenge(NamedTuple):
    """A challenge, the authorization that it is of, and their order; its numbers in the document."""

    order: Order
    authorization: Authorization
    challenge: Challenge
    i: int
    k: int


def new_id() -> str:
    """The random part of an order's id, which it has besides its number."""
    return secrets.token_urlsafe(_TAG_BYTES)


def number(order: Order) -> int:
    """An order's number."""
    return _id(order).n


def _id(order: Order) -> OrderId:
    order_id = OrderId.read(order.id)
    assert order_id is not None  # it was read from a row
    return order_id


def numbered(order: Order, n: int, tag: str) -> Order:
    """A new order with its id, and those of all that is its own."""
    order_id = f"{n}.{tag}"
    entries = tuple(
        entry
        if entry.id
        else replace(
            entry,
            id=f"{order_id}.{i}",
            challenges=tuple(
                replace(challenge, id=f"{order_id}.{i}.{k}") for k, challenge in enumerate(entry.challenges)
            ),
        )
        for i, entry in enumerate(order.authorizations)
    )
    return replace(order, id=order_id, authorizations=entries)


def get(reader: Reader, order_id: str) -> Order | None:
    """The order with this id, be it an authorization that was made ahead."""
    id_ = OrderId.read(order_id)
    return None if id_ is None else _get(reader, id_)


def _get(reader: Reader, id_: OrderId) -> Order | None:
    rows = ask(reader, question(id_.n))
    # A number is used again after the latest order was deleted, or a backup restored; a tag is not.
    if not rows or rows[0]["tag"] != id_.tag:
        return None
    return of_row(reader, rows[0])


def question(n: int) -> Question:
    """The first question of :func:`get`."""
    return Question(f"{SELECT} WHERE o.n = :n", {"n": n})


def by_number(reader: Reader, n: int) -> Order | None:
    """The order with a number that the store itself gave."""
    rows = ask(reader, question(n))
    return of_row(reader, rows[0]) if rows else None


def of_row(reader: Reader, row: Row) -> Order:
    """The order in a row of :data:`SELECT`."""
    body = documents.parse(row)
    attempts: list[Row] = []
    if documents.may_have_attempts(body):
        attempts = reader.rows(_ATTEMPTS, n=row["n"])
        if attempts and attempts[0]["order_version"] != row["version"]:
            # An outcome was recorded after the row was read: its challenge would seem never to have been answered.
            newer = reader.rows(f"{SELECT} WHERE o.n = :n AND o.tag = :tag", n=row["n"], tag=row["tag"])
            if newer and newer[0]["version"] != row["version"]:
                return of_row(reader, newer[0])
        attempts = [attempt for attempt in attempts if attempt["i"] is not None]
    made = (_get(reader, order_id) for order_id in documents.ahead_of(body))
    ahead = {entry.id: entry for order in made if order is not None for entry in order.authorizations}
    return documents.order_of(row, body, attempts, ahead)


def of_authorization_id(reader: Reader, authorization_id: str) -> tuple[Order, Authorization] | None:
    """The authorization with this id, and the order whose row it is in; None if there is no such authorization."""
    parsed = serials.of_authorization(authorization_id)
    order = None if parsed is None else _get(reader, parsed[0])
    if order is None:
        return None
    entry = next((entry for entry in order.authorizations if entry.id == authorization_id), None)
    return None if entry is None else (order, entry)


def of_challenge_id(reader: Reader, challenge_id: str) -> LocatedChallenge | None:
    """The challenge with this id, its authorization and its order; None if there is no such challenge."""
    parsed = serials.of_challenge(challenge_id)
    order = None if parsed is None else _get(reader, parsed[0])
    return None if parsed is None or order is None else locate(order, parsed[1], parsed[2])


def locate(order: Order, i: int, k: int) -> LocatedChallenge | None:
    """The challenge with these numbers in an order; None if there is no such challenge, or it was taken back."""
    challenge_id = f"{order.id}.{i}.{k}"
    for entry in order.authorizations:
        for challenge in entry.challenges:
            if challenge.id == challenge_id:
                return LocatedChallenge(order, entry, challenge, i, k)
    return None


def changed(located: LocatedChallenge, challenge: Challenge, until: int | None = None) -> Order:
    """The order with another state of a challenge.

    :param until: when its authorization runs out at the latest.
    """
    entry = located.authorization
    challenges = tuple(challenge if one.id == challenge.id else one for one in entry.challenges)
    expires_at = entry.expires_at if until is None else min(until, entry.expires_at)
    entry = replace(entry, challenges=challenges, expires_at=expires_at)
    return replace(
        located.order,
        authorizations=tuple(entry if one.id == entry.id else one for one in located.order.authorizations),
    )


def failed(located: LocatedChallenge, fault: Fault, now: int) -> tuple[Order, Challenge]:
    """An order one of whose challenges was not met, for good, and the challenge: both have ended.

    An authorization that was made ahead has failed, and no order of it.
    """
    # Clients are told what is stored.
    fault = documents.bounded(fault)
    challenge = replace(located.challenge, failed_at=now, error=fault)
    order = changed(located, challenge)
    return (order if order.ahead else replace(order, ended_at=now, error=fault)), challenge


def waiting(reader: Reader, account_id: str, names: Collection[Identifier], now: int) -> dict[Identifier, Order]:
    """By its name, the newest valid authorization of an account that an order for the names can take.

    :param names: of the order; a wildcard takes none, since none is made ahead for one.
    """
    if not names or not order_counts.count(reader, order_counts.question_of_waiting(account_id, now)):
        return {}
    values = {f"n{place}": name.value for place, name in enumerate(names)}
    rows = reader.rows(
        f"""{SELECT} WHERE o.account_id = :account_id AND o.ahead = 1 AND o.taken_at IS NULL AND o.ended_at IS NULL
              AND o.expires_at > :now AND o.name IN ({", ".join(f":{value}" for value in values)})
            ORDER BY o.n""",
        account_id=account_id,
        now=now,
        **values,
    )
    made = [of_row(reader, row) for row in rows]
    return {
        entry.name: order
        for order in made
        for entry in order.authorizations
        if of_authorization(entry, now) is Status.VALID
    }


def replacing(reader: Reader, certificate_id: str) -> Order | None:
    """The order that replaces, or is to replace, the certificate with this RFC 9773 identifier."""
    rows = ask(reader, question_of_replacing(certificate_id))
    return of_row(reader, rows[0]) if rows else None


def question_of_replacing(certificate_id: str) -> Question:
    """The first question of :func:`replacing`."""
    return Question(f"{SELECT} WHERE o.replaces = :replaces AND o.ended_at IS NULL", {"replaces": certificate_id})


def of_account(reader: Reader, account_id: str, before: int | None, limit: int) -> list[str]:
    """An account's order ids, newest first, starting below the number ``before``."""
    rows = reader.rows(
        """SELECT n, tag FROM orders WHERE account_id = :account_id AND ahead = 0 AND n < :before
           ORDER BY n DESC LIMIT :limit""",
        account_id=account_id,
        before=before or ALL,
        limit=limit,
    )
    return [f"{row['n']}.{row['tag']}" for row in rows]


def open_of(reader: Reader, account_id: str, now: int) -> list[Order]:
    """An account's orders that can still lead to a certificate, the newest thousand at most."""
    is_open = order_counts.OPEN.replace("AND ", "AND o.")
    rows = reader.rows(
        f"{SELECT} WHERE o.{is_open} AND o.ahead = 0 ORDER BY o.n DESC LIMIT {_MOST_READ}",
        account_id=account_id,
        now=now,
    )
    return [of_row(reader, row) for row in rows]


def add(order: Order, tag: str, verdict: Verdict | None = None) -> Statement:
    """Add a new order, which gives its number ``n``; one that has none yet.

    :param verdict: if another order that has not ended replaces the same certificate.
    """
    return Statement(
        f"""INSERT INTO orders (tag, account_id, ahead, version, created_at, expires_at, instance_id, generation, key,
                               name, replaces, doc)
           VALUES (:tag, :account_id, :ahead, 0, :created_at, :expires_at, :instance_id, :generation, :key, :name,
                   :replaces, :doc){" ON CONFLICT DO NOTHING" if order.replaces is not None else ""}
           RETURNING n""",  # noqa: S608 - constants only
        {
            "tag": tag,
            "account_id": order.account_id,
            "ahead": int(order.ahead),
            "created_at": order.created_at,
            "expires_at": order.expires_at,
            "instance_id": order.instance_id,
            "generation": order.generation,
            "key": order.key,
            "name": order.identifiers[0].value if order.ahead else None,
            "replaces": order.replaces,
            "doc": documents.document(order),
        },
        verdict,
    )


def change(order: Order, now: int) -> Statement:
    """Store an order as it was changed, if nothing else has changed it and it can still lead to something."""
    return Statement(
        f"""UPDATE orders SET version = version + 1, ended_at = :ended_at, instance_id = :instance_id,
                  generation = :generation, doc = :doc
            WHERE {_UNCHANGED} AND ended_at IS NULL AND issued_at IS NULL AND expires_at > :now""",  # noqa: S608
        {
            **_version(order),
            "ended_at": order.ended_at,
            "instance_id": order.instance_id,
            "generation": order.generation,
            "doc": documents.document(order),
            "now": now,
        },
        again,
    )


def _version(order: Order) -> dict[str, object]:
    return {**_id(order)._asdict(), "version": order.version}


def deactivate(order: Order) -> Statement:
    """Store an order one of whose authorizations was deactivated, if nothing else has changed it.

    An order that has its certificate keeps it.
    """
    ended_at = None if order.issued_at is not None else order.ended_at
    return Statement(
        f"UPDATE orders SET version = version + 1, ended_at = :ended_at, doc = :doc WHERE {_UNCHANGED}",  # noqa: S608
        {**_version(order), "ended_at": ended_at, "doc": documents.document(order)},
        again,
    )


def finalize(order: Order, now: int) -> Statement:
    """Note that an order has its certificate, if nothing has changed it and it has not ended."""
    return Statement(
        f"""UPDATE orders SET version = version + 1, issued_at = :now
            WHERE {_UNCHANGED} AND ended_at IS NULL AND issued_at IS NULL AND expires_at > :now""",  # noqa: S608
        {**_version(order), "now": now},
        again,
    )


def unchanged(order: Order, now: int) -> Statement:
    """Rely on it that nothing changes an order that can still lead to something."""
    return Statement(
        f"""SELECT 1 FROM orders
            WHERE {_UNCHANGED} AND ended_at IS NULL AND issued_at IS NULL AND expires_at > :now""",  # noqa: S608
        {**_version(order), "now": now},
        again,
        shared=True,
    )


def version_unchanged(order: Order) -> Statement:
    """Rely on it that nothing changes an order, whatever it can lead to."""
    return Statement(
        f"SELECT 1 FROM orders WHERE {_UNCHANGED}",  # noqa: S608 - a constant
        _version(order),
        again,
        shared=True,
    )


def take(order: Order, now: int) -> Statement:
    """Take an authorization that was made ahead into an order, if it still waits, as it was."""
    return Statement(
        f"""UPDATE orders SET version = version + 1, taken_at = :now
            WHERE {_UNCHANGED} AND taken_at IS NULL AND ended_at IS NULL AND expires_at > :now""",  # noqa: S608
        {**_version(order), "now": now},
        again,
    )


def relied_on(order: Order) -> Statement:
    """Rely on it that nothing changes an authorization that was made ahead and has been taken."""
    return Statement(
        f"SELECT 1 FROM orders WHERE {_UNCHANGED} AND ended_at IS NULL",  # noqa: S608 - constants only
        _version(order),
        again,
        shared=True,
    )


def give_way(order: Order, now: int) -> Statement:
    """End an order that has come to nothing, so that another may replace the certificate that it was to replace."""
    return Statement(
        f"UPDATE orders SET version = version + 1, ended_at = :now WHERE {_UNCHANGED} AND issued_at IS NULL",  # noqa: S608
        {**_version(order), "now": now},
    )
