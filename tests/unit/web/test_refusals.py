"""What is refused takes little of the disk, however often and for whatever names; and says who can mend it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from enrolling import whole_id
from running import ACCOUNT, CA, answer, restarted
from wire import Account, Key, problem

from acme_iid.simulator import aws
from acme_iid.store import accounts
from acme_iid.store.database import Database, open_store

LABEL = "a" * 63


@pytest.fixture
def store(shared_ca: CA) -> Iterator[Database]:
    """The store, behind the server's back."""
    opened = open_store(shared_ca.store_url)
    yield opened
    opened.close()


def long_names(first: int, count: int = 100) -> list[str]:
    """Names of 253 characters that nobody may hold, which differ at their beginning."""
    return [
        f"{number:09d}.{LABEL}.{LABEL}.{LABEL}.{'a' * 39}.example.com"[:253] for number in range(first, first + count)
    ]


def recorded(ca: CA, account: Account) -> list[dict[str, Any]]:
    """The events of what an account was refused, the latest first."""
    shown = json.loads(
        ca.cli("events", "--account", account.url.rpartition("/")[2], "--limit", "1000", "--json").stdout
    )
    return [entry for entry in shown if entry["kind"].endswith(".refused")]


def an_hour_later(store: Database, account: Account) -> None:
    """Have the account's refusals be an hour old."""
    with store.transaction() as transaction:
        assert transaction.run(
            "UPDATE refusals SET recorded_at = recorded_at - 3600 WHERE account_id = :id",
            id=account.url.rpartition("/")[2],
        )


def pages(file: Path) -> int:
    """The octets of a store in a file."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        numbers = [
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        ]
    return int((numbers[0] - numbers[1]) * numbers[2])


# How much, and how often


def test_an_event_of_a_refusal_takes_less_than_two_kibibytes(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    ca.start()
    try:
        asking = [ca.account() for _ in range(8)]
        before = pages(ca.home / "ca.db")
        for number, account in enumerate(asking):
            for order in range(8):
                names = long_names(1000 * (8 * number + order))
                assert problem(account.order(*names)) == "rejectedIdentifier"
        grown = pages(ca.home / "ca.db") - before
        (entry, *others) = recorded(ca, asking[0])
    finally:
        ca.stop()
    assert len(others) == 7
    assert entry["identifiers_count"] == 100
    assert grown / 64 <= 2048


def test_refused_evidence_for_a_long_name_has_the_name_once(tmp_path: Path, instance: aws.Instance) -> None:
    label = "b" * 62
    name = f"{label}.{label}.{label}.{'b' * 58}.local"
    assert len(name) == 253
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    ca.start()
    try:
        ca.account().obtain("foo.local", answer=answer(instance))
        others = [ca.account() for _ in range(120)]
        challenges = [other.challenge(other.order(name).json()) for other in others]
        ca.cli("events", "--limit", "1")
        before = pages(ca.home / "ca.db")
        for other, challenge in zip(others, challenges, strict=True):
            assert other.post(challenge["url"], answer(instance)).json()["status"] == "invalid"
        (entry,) = recorded(ca, others[0])
        grown = pages(ca.home / "ca.db") - before
    finally:
        ca.stop()
    assert (entry["name"], entry["identifiers"]) == (name, [])
    assert "identifiers_count" not in entry
    # Some 500 of them are the order's, and go with it; what stays is below 2048.
    assert grown / len(others) <= 2600


def test_an_event_has_the_first_names_and_a_digest_of_all(shared_ca: CA, account: Account) -> None:
    names = ["b.example.com", *long_names(0, 5)]
    assert problem(account.order(*names)) == "rejectedIdentifier"
    (entry,) = recorded(shared_ca, account)
    assert entry["identifiers"] == ["b.example.com"]
    assert entry["identifiers_count"] == 6
    text = json.dumps(sorted(names), separators=(",", ":"))
    assert entry["identifiers_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert len(entry["reason"]) < 410
    assert entry in json.loads(shared_ca.cli("events", "--name", "b.example.com", "--json").stdout)


def test_the_same_again_is_counted_and_told_once_an_hour(shared_ca: CA, store: Database, account: Account) -> None:
    for _ in range(7):
        assert problem(account.order("b.example.com", "a.example.com")) == "rejectedIdentifier"
        assert problem(account.order("a.example.com", "b.example.com")) == "rejectedIdentifier"
    (first,) = recorded(shared_ca, account)
    assert "refused" not in first
    an_hour_later(store, account)
    for _ in range(3):
        account.order("a.example.com", "b.example.com")
    (second, again) = recorded(shared_ca, account)
    assert again == first
    assert second["refused"] == 14
    assert "refused 14" in shared_ca.cli("events", "--account", account.url.rpartition("/")[2]).stdout
    other = shared_ca.account()
    other.order("a.example.com", "b.example.com")
    assert len(recorded(shared_ca, other)) == 1


def test_who_varies_the_names_gets_eleven_events_an_hour(shared_ca: CA, store: Database, account: Account) -> None:
    for number in range(30):
        assert problem(account.order(f"n{number}.example.com")) == "rejectedIdentifier"
    shown = recorded(shared_ca, account)
    assert [entry["identifiers"] for entry in shown] == [[f"n{number}.example.com"] for number in range(10, -1, -1)]
    assert ["various" in entry for entry in shown] == [True] + [False] * 10
    # The names do not come back one by one when the hour is over.
    an_hour_later(store, account)
    for number in range(30):
        account.order(f"m{number}.example.com")
    later = recorded(shared_ca, account)[:-11]
    assert len(later) == 11
    assert (later[0]["various"], later[0]["refused"]) == (True, 20)
    rows = store.rows(
        "SELECT count(*) AS found FROM refusals WHERE account_id = :id", id=account.url.rpartition("/")[2]
    )
    assert rows[0]["found"] == 21


def test_refused_evidence_is_counted_likewise(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    shared_ca.cli("instance", "block", whole_id(instance))
    for name in ("foo.local", "foo.local", "foo.local", "bar.local"):
        _, answers = account.prove(name, answer=answer(instance))
        assert answers[0].json()["status"] == "invalid"
    shown = recorded(shared_ca, account)
    assert [(entry["kind"], entry["name"], entry["instance"]) for entry in shown] == [
        ("challenge.refused", "bar.local", whole_id(instance)),
        ("challenge.refused", "foo.local", whole_id(instance)),
    ]
    assert shown[1]["step"] == "admission"


def test_an_authorization_ahead_is_counted_likewise(shared_ca: CA, account: Account) -> None:
    outside = {"identifier": {"type": "dns", "value": "foo.example"}}
    for _ in range(4):
        assert problem(account.post(account.wire.directory["newAuthz"], outside)) == "rejectedIdentifier"
    assert [entry["kind"] for entry in recorded(shared_ca, account)] == ["authorization.refused"]


def test_what_is_granted_is_always_an_event(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    for _ in range(13):
        account.prove("foo.local", answer=answer(instance))
    shown = json.loads(shared_ca.cli("events", "--instance", whole_id(instance), "--json").stdout)
    assert [entry["kind"] for entry in shown] == ["challenge.valid"] * 13


def test_counted_refusals_are_pruned_after_a_day(shared_ca: CA, store: Database, account: Account) -> None:
    account.order("a.example.com")
    with store.transaction() as transaction:
        transaction.run(
            "UPDATE refusals SET recorded_at = recorded_at - 86400 WHERE account_id = :id",
            id=account.url.rpartition("/")[2],
        )
    assert "1 refusals" in shared_ca.cli("prune", "--dry-run").stdout
    assert "1 refusals" in shared_ca.cli("prune").stdout
    assert store.rows("SELECT * FROM refusals WHERE account_id = :id", id=account.url.rpartition("/")[2]) == []
    assert len(recorded(shared_ca, account)) == 1


def test_the_error_that_a_challenge_keeps_is_bounded(own_ca: CA) -> None:
    for number in range(12):
        own_ca.cli(
            "provisioner", "add", f"{'Provisioner' * 4} {number}", "--type", "AWS", "--aws-account", "999999999999"
        )
    own_ca.start()
    account = own_ca.account()
    _, answers = account.prove("foo.local", answer=answer(aws.Instance(account="111111111111")))
    detail = answers[0].json()["error"]["detail"]
    assert detail.startswith("refused at step 'admission'")
    assert detail.endswith("...")
    assert len(detail) < 710


def test_former_keys_are_the_accounts(store: Database, account: Account) -> None:
    first, second = account.key.thumbprint, Key()
    url = account.wire.directory["keyChange"]
    inner = account.wire.body(url, {"account": account.url, "oldKey": account.key.jwk}, second, None, drop=("nonce",))
    assert account.post(url, inner).status_code == 200
    account_id = account.url.rpartition("/")[2]
    assert earlier_thumbprints(store, account_id) == {first}
    again = Account(account.wire, second, account.url)
    inner = account.wire.body(url, {"account": account.url, "oldKey": second.jwk}, account.key, None, drop=("nonce",))
    assert again.post(url, inner).status_code == 200
    assert earlier_thumbprints(store, account_id) == {first, second.thumbprint}


def earlier_thumbprints(store: Database, account_id: str) -> set[str]:
    found = accounts.get(store, account_id)
    assert found is not None
    return set(found.earlier_thumbprints)


# What asking again does not mend


def test_a_refused_order_says_that_only_an_operator_mends_it(account: Account) -> None:
    refused = account.order("foo.local", "foo.example")
    assert (problem(refused), refused.json()["remedy"]) == ("rejectedIdentifier", "operator")
    ahead = account.post(account.wire.directory["newAuthz"], {"identifier": {"type": "dns", "value": "foo.example"}})
    assert (problem(ahead), ahead.json()["remedy"]) == ("rejectedIdentifier", "operator")


def test_names_that_are_none_are_the_clients_to_mend(account: Account) -> None:
    assert "remedy" not in account.order("foo_bar.local").json()


@pytest.mark.parametrize(
    ("command", "given"),
    [(("instance", "block"), ACCOUNT), ((), "999999999999"), (("instance", "release", "--to", "A" * 43), ACCOUNT)],
)
def test_refused_evidence_says_that_only_an_operator_mends_it(
    shared_ca: CA, account: Account, command: tuple[str, ...], given: str
) -> None:
    instance = aws.Instance(account=given)
    if command:
        shared_ca.cli(*command[:2], whole_id(instance), *command[2:])
    ordered, answers = account.prove("foo.local", answer=answer(instance))
    assert answers[0].json()["error"]["remedy"] == "operator"
    assert account.post(ordered.headers["Location"]).json()["error"]["remedy"] == "operator"


def test_evidence_that_may_be_good_the_next_time_names_no_remedy(account: Account, instance: aws.Instance) -> None:
    account.prove("foo.local", answer=answer(restarted(instance, 10)))
    for stale in (instance, restarted(aws.Instance(account=ACCOUNT), 7200)):
        _, answers = account.prove("foo.local", answer=answer(stale))
        error = answers[0].json()["error"]
        assert error["type"].endswith(":unauthorized")
        assert "remedy" not in error
