"""The number of an account's orders that can still lead to something."""

from __future__ import annotations

from collections.abc import Mapping

from acme_iid.store.writes import Question, Reader, ask

OPEN = "account_id = :account_id AND issued_at IS NULL AND ended_at IS NULL AND expires_at > :now"
WAITING = "account_id = :account_id AND ahead = 1 AND taken_at IS NULL AND ended_at IS NULL AND expires_at > :now"
"""No order has taken it, and it has not been deactivated; it may have failed."""


def count_open(reader: Reader, account_id: str, now: int, most: int) -> int:
    """The number of an account's orders, and authorizations ahead of them, that are still open, up to ``most``."""
    return count(reader, question_of_open(account_id, now, most))


def count_waiting(reader: Reader, account_id: str, now: int, most: int) -> int:
    """The number of an account's authorizations that no order has taken, up to ``most``.

    One that failed counts until it runs out or is deactivated: so their number is bounded.
    """
    return count(reader, question_of_waiting(account_id, now, most))


def count(reader: Reader, question: Question) -> int:
    """The number that answers one of the following questions."""
    number: int = ask(reader, question)[0]["number"]
    return number


def question_of_open(account_id: str, now: int, most: int) -> Question:
    """The question of :func:`count_open`."""
    return _counted(f"{OPEN} AND taken_at IS NULL", account_id, now, most)


def question_of_waiting(account_id: str, now: int, most: int = 1) -> Question:
    """The question of :func:`count_waiting`; with ``most`` left out, whether there is any."""
    return _counted(WAITING, account_id, now, most)


def _counted(where: str, account_id: str, now: int, most: int) -> Question:
    limited = f"SELECT 1 FROM orders WHERE {where} LIMIT :most"  # noqa: S608 - constants
    values = {"account_id": account_id, "now": now, "most": most}
    return Question(f"SELECT count(*) AS number FROM ({limited}) AS o", values)  # noqa: S608 - as above


def count_open_of(reader: Reader, account_id: str, now: int, instance: Mapping[str, object] | None = None) -> int:
    """The number of an account's orders, without authorizations ahead, that can still lead to a certificate.

    :param instance: only those that an instance has proven in its present generation: ``instance_id``, ``generation``.
    """
    proven = "" if instance is None else "AND instance_id = :instance_id AND generation = :generation"
    rows = reader.rows(
        f"SELECT count(*) AS open FROM orders WHERE {OPEN} AND ahead = 0 {proven}",  # noqa: S608 - constants
        account_id=account_id,
        now=now,
        **(instance or {}),
    )
    count: int = rows[0]["open"]
    return count
