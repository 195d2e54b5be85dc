"""Revocation lists under many revocations: signed for those who ask, however many were revoked before."""

from __future__ import annotations

from typing import Any

from issued import issue
from meanwhile import Meanwhile
from writing import put

from acme_iid.authority import Authority, certificate_status, revocation
from acme_iid.operations import bulk
from acme_iid.operations.bulk import Task
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, certificates, revocation_lists
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Outcome, Row, Statement, Write

NOW, DAY = 1_800_000_000, 86400
OLD, MORE = 300, 250


def fill(authority: Authority) -> None:
    """Certificates of the CA's issuer: many that are revoked, and some that are not."""
    database, issuer = authority.database, authority.ca.current.id
    put(database, accounts.add(Account("a", "{}", "t", (), NOW)))
    for number in range(OLD + MORE):
        issue(database, f"n{number}.local", at=NOW - number, provisioner="old" if number < OLD else "new", life=5 * DAY)
    put(
        database,
        Statement("UPDATE certificates SET issuer_id = :issuer", {"issuer": issuer}),
        Statement(
            """UPDATE certificates SET revoked_at = :at, revocation_reason = 0, revoked_by = 'operator'
               WHERE provisioner = 'old'""",
            {"at": NOW},
        ),
    )


def revoked(authority: Authority) -> int:
    return revocation_lists.count(authority.database, authority.ca.current.id, NOW)


def test_a_list_is_signed_for_those_who_ask_once_for_each_transaction(authority: Authority) -> None:
    fill(authority)
    issuer = authority.ca.current
    first = certificate_status.current_list(authority, issuer, NOW)
    seen = {first.number}
    for _ in bulk.revoke(authority.database, Filter(provisioner="new"), 0, Task("b"), NOW):
        for _ in range(3):
            seen.add(certificate_status.current_list(authority, issuer, NOW).number)
    assert revoked(authority) == OLD + MORE
    # One before, and one for each hundred, however often somebody asked.
    assert len(seen) == 1 + 3
    assert certificate_status.current_list(authority, issuer, NOW).revoked == OLD + MORE


def test_an_act_signs_no_list_by_itself(authority: Authority) -> None:
    fill(authority)
    issuer = authority.ca.current
    first = certificate_status.current_list(authority, issuer, NOW)
    list(bulk.revoke(authority.database, Filter(provisioner="new"), 0, Task("b"), NOW))
    assert revocation_lists.latest(authority.database, issuer.id) == first


class Watched(Meanwhile):
    """A store that counts the rows that are read, and keeps the statements that are run."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda _: None)
        self.read = 0
        self.run: list[str] = []

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        found = super().rows(statement, **parameters)
        self.read += len(found)
        self.run.append(statement)
        return found

    def commit(self, write: Write[Any]) -> Outcome:
        self.run += [statement.text for statement in write.statements]
        return super().commit(write)


def test_one_revocation_costs_the_same_however_many_were_revoked_before(authority: Authority) -> None:
    fill(authority)
    costs = []
    for number in range(2):
        watched = Watched(authority.database)
        (one,) = certificates.page(watched, Filter(limit=1), "valid", NOW)
        watched.read, watched.run = 0, []
        revocation.revoke_by_operator(watched, one, 0, NOW)
        costs.append((watched.read, watched.run))
        assert not any("revocation_lists" in text or "count(" in text.lower() for text in watched.run), number
        older = Filter(provisioner="new", until=NOW - OLD - 9)
        list(bulk.revoke(authority.database, older, 0, Task("b"), NOW))
    assert costs[0] == costs[1]
    assert costs[0][0] < 10
