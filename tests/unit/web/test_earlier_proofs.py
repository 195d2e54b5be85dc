"""Renewal in three requests (rfc-notes/iid-01.md): a provisioner's proof_lifetime, what counts, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from enrolling import delegate, enrol, whole_id
from relying import DAY, age, finalize, first, proven_events, ready, refused, renew, status
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, problem

from acme_iid.simulator import aws
from acme_iid.store.database import Database, open_store

OTHER = "Other provisioner"


@pytest.fixture
def account(lasting: CA) -> Account:
    """The account of an instance."""
    return lasting.account()


@pytest.fixture
def store(lasting: CA) -> Iterator[Database]:
    """The store, behind the server's back."""
    opened = open_store(lasting.store_url)
    yield opened
    opened.close()


# What counts


def test_a_renewal_takes_three_requests_and_no_evidence(lasting: CA, account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local", "bar.local")
    renewed = renew(account, "bar.local", "foo.local")
    assert renewed.leaf.serial_number != proven.leaf.serial_number
    order = account.post(renewed.order).json()
    entry = account.post(order["authorizations"][0]).json()
    assert entry["status"] == "valid"
    assert [(one["type"], one["status"]) for one in entry["challenges"]] == [("iid-01", "valid")]
    events = lasting.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    (event,) = proven_events(events)
    assert event["proofs"] == [proven.order.rpartition("/")[2]]
    assert 0 <= event["proof_age"] < 600
    assert event["names"] == ["bar.local", "foo.local"]
    assert (event["provisioner"], event["account"]) == (PROVISIONER, account.url.rpartition("/")[2])
    assert event["thumbprint"] == account.key.thumbprint


def test_without_a_proof_lifetime_each_order_is_proven_anew(shared_ca: CA, instance: aws.Instance) -> None:
    account = shared_ca.account()
    first(account, instance, "foo.local")
    assert status(account, "foo.local") == "pending"


def test_an_order_that_is_not_finalized_proves_as_well(account: Account, instance: aws.Instance) -> None:
    account.prove("foo.local", answer=answer(instance))
    assert status(account, "foo.local") == "ready"


def test_names_of_several_orders_are_ordered_together(lasting: CA, account: Account, instance: aws.Instance) -> None:
    orders = [first(account, instance, name).order for name in ("foo.local", "bar.local")]
    renew(account, "bar.local", "foo.local")
    events = lasting.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    assert sorted(proven_events(events)[0]["proofs"]) == sorted(order.rpartition("/")[2] for order in orders)


@pytest.mark.parametrize("names", [("bar.local",), ("foo.local", "bar.local"), ("sub.foo.local",)])
def test_a_name_that_was_not_proven_is_pending(account: Account, instance: aws.Instance, names: tuple[str]) -> None:
    first(account, instance, "foo.local")
    assert status(account, *names) == "pending"


def test_another_accounts_proof_counts_for_nobody_else(lasting: CA, account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local")
    assert status(lasting.account(), "foo.local") == "pending"


def test_with_two_instances_that_fit_the_order_is_pending(account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local", "bar.local")
    first(account, aws.Instance(account=ACCOUNT), "foo.local", "sub.local")
    assert status(account, "foo.local") == "pending"
    # Only one of them has proven both.
    assert status(account, "foo.local", "bar.local") == "ready"


def test_names_that_two_instances_have_proven_are_not_put_together(account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local")
    first(account, aws.Instance(account=ACCOUNT), "bar.local")
    assert status(account, "foo.local", "bar.local") == "pending"


def test_with_two_provisioners_that_fit_the_order_is_pending(own_ca: CA, instance: aws.Instance) -> None:
    options = ("--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", own_ca.home / "test-roots.pem")
    own_ca.cli("provisioner", "add", OTHER, *options, "--proof-lifetime", "24h")
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    account = own_ca.account()
    account.obtain("foo.local", answer=answer(instance) | {"provisioner": PROVISIONER})
    assert status(account, "foo.local") == "ready"
    account.obtain("bar.local", answer=answer(instance) | {"provisioner": OTHER})
    assert status(account, "foo.local", "bar.local") == "pending"
    ordered = account.order("sub.foo.local").json()
    account.post(account.challenge(ordered)["url"], answer(instance) | {"provisioner": OTHER})
    assert status(account, "sub.foo.local") == "ready"
    again = account.order("foo.local", "sub.foo.local").json()
    for index in range(2):
        account.post(account.challenge(again, index)["url"], answer(instance) | {"provisioner": OTHER})
    assert status(account, "foo.local") == "pending"


def test_what_newauthz_proved_ahead_serves_one_order(account: Account, instance: aws.Instance) -> None:
    made = account.post(
        account.wire.directory["newAuthz"], {"identifier": {"type": "dns", "value": "foo.local"}}
    ).json()
    account.post(made["challenges"][0]["url"], answer(instance))
    assert status(account, "foo.local") == "ready"
    assert status(account, "foo.local") == "pending"


# How long


def test_a_proof_serves_for_its_lifetime(store: Database, account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local")
    age(store, proven.order, DAY - 1800)
    ordered = ready(account, "foo.local")
    # It lasts no longer than the proof, which has half an hour left.
    expires = account.post(ordered.json()["authorizations"][0]).json()["expires"]
    assert ordered.json()["expires"] == expires
    left = store.rows("SELECT expires_at - created_at AS seconds FROM orders ORDER BY n DESC LIMIT 1")[0]["seconds"]
    assert 1500 < left <= 1800
    age(store, proven.order, 1800)
    assert status(account, "foo.local") == "pending"
    assert "has run out" in refused(account, ordered, "foo.local")


def test_it_counts_from_the_time_in_the_evidence(store: Database, account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local")
    age(store, proven.order, 0, dated=DAY - 600)
    assert status(account, "foo.local") == "ready"
    age(store, proven.order, 0, dated=DAY)
    assert status(account, "foo.local") == "pending"


def test_a_date_in_the_future_makes_no_proof_last_longer(
    store: Database, account: Account, instance: aws.Instance
) -> None:
    proven = first(account, instance, "foo.local")
    # Half a minute is too short for an order to be finalized.
    age(store, proven.order, DAY - 30, dated=-7200)
    assert status(account, "foo.local") == "pending"


def test_use_never_prolongs_a_proof(store: Database, account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local")
    age(store, proven.order, DAY - 3600)
    renew(account, "foo.local")
    renew(account, "foo.local")
    age(store, proven.order, 3600)
    assert status(account, "foo.local") == "pending"


def test_what_relies_on_a_proof_shows_when_it_was_made(
    store: Database, account: Account, instance: aws.Instance
) -> None:
    proven = first(account, instance, "foo.local")
    made = account.post(account.post(proven.order).json()["authorizations"][0]).json()["challenges"][0]["validated"]
    age(store, proven.order, 7200)
    ordered = ready(account, "foo.local")
    shown = account.post(ordered.json()["authorizations"][0]).json()["challenges"][0]["validated"]
    assert datetime.fromisoformat(made) - datetime.fromisoformat(shown) == timedelta(hours=2)


def test_an_order_that_is_older_than_one_of_two_lifetimes_never_counts(own_ca: CA, instance: aws.Instance) -> None:
    options = ("--type", "AWS", "--aws-account", "888888888888", "--proof-lifetime", "7d")
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.cli("provisioner", "add", OTHER, *options)
    own_ca.start()
    account = own_ca.account()
    proven = first(account, instance, "foo.local")
    store = open_store(own_ca.store_url)
    try:
        with store.transaction() as transaction:
            changed = transaction.run(
                "UPDATE orders SET created_at = created_at - :day WHERE n = :n",
                day=DAY,
                n=int(proven.order.rpartition("/")[2].split(".")[0]),
            )
    finally:
        store.close()
    assert changed == 1
    assert status(account, "foo.local") == "pending"


# Profiles


def test_a_profile_that_the_provisioner_does_not_give_is_pending(own_ca: CA, instance: aws.Instance) -> None:
    file = own_ca.home / "ca.toml"
    profiles = '[profile.short]\ndescription = "One"\n[profile.long]\ndescription = "Two"\n'
    file.write_text(f"{file.read_text()}\n{profiles}")
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h", "--profile", "short")
    own_ca.cli("provisioner", "add", OTHER, "--type", "AWS", "--aws-account", ACCOUNT, "--proof-lifetime", "24h")
    own_ca.start()
    account = own_ca.account()
    first(account, instance, "foo.local")
    assert status(account, "foo.local", profile="short") == "ready"
    assert status(account, "foo.local", profile="long") == "pending"


# Delegates and enrolment


def test_a_delegates_order_is_no_proof_and_uses_none(lasting: CA, account: Account, instance: aws.Instance) -> None:
    other = delegate(lasting, account, instance, "foo.local")
    assert finalize(other, ready(other, "foo.local"), "foo.local").status_code == 200
    events = lasting.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    assert proven_events(events) == []
    assert account.post(account.url, {"status": "deactivated"}).status_code == 200
    assert problem(other.order("foo.local")) == "unauthorized"


def test_a_deactivated_account_orders_nothing(account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    assert account.post(account.url, {"status": "deactivated"}).status_code == 200
    assert problem(account.order("foo.local")) == "unauthorized"
    assert problem(finalize(account, ordered, "foo.local")) == "unauthorized"


def test_an_order_that_relies_on_a_proof_enrols_nobody(account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    response = enrol(account, ordered.headers["Location"])
    assert problem(response) == "unauthorized"
    assert "was proven in an earlier order, which enrols nobody" in response.json()["detail"]
