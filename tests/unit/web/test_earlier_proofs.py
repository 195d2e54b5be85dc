"""Renewal in three requests (rfc-notes/iid-01.md): a provisioner's proof_lifetime, what counts, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import forge
import pytest
from cryptography import x509
from enrolling import delegate, enrol, whole_id
from relying import DAY, age, finalize, first, proven_events, ready, renew, status
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, Key, b64, problem

from acme_iid.simulator import aws
from acme_iid.store.database import Database, open_store

OTHER = "Other provisioner"


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    """A CA whose provisioner lets a proof serve for a day, which serves throughout."""
    ca = CA(tmp_path_factory.mktemp("lasting") / "ca")
    ca.init("--proof-lifetime", "24h")
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()


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


def restart(ca: CA, *arguments: str | Path) -> None:
    """Change the configuration with a command, and have the server read it."""
    ca.stop()
    ca.cli(*arguments)
    ca.start()


def refused(account: Account, ordered: object, *names: str) -> str:
    """Why the finalization of an order is refused as unauthorized."""
    response = finalize(account, ordered, *names)  # type: ignore[arg-type]
    assert problem(response) == "unauthorized", response.text
    detail: str = response.json()["detail"]
    return detail


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


# What ends it


def block(ca: CA, _account: Account, instance: aws.Instance, _der: bytes) -> None:
    ca.cli("instance", "block", whole_id(instance))


def block_and_unblock(ca: CA, account: Account, instance: aws.Instance, der: bytes) -> None:
    block(ca, account, instance, der)
    ca.cli("instance", "unblock", whole_id(instance))


def release(ca: CA, account: Account, instance: aws.Instance, _der: bytes) -> None:
    ca.cli("instance", "release", whole_id(instance), "--to", account.key.thumbprint)


def revoke(ca: CA, account: Account, _instance: aws.Instance, der: bytes) -> None:
    answered = account.post(account.wire.directory["revokeCert"], {"certificate": b64(der), "reason": 5})
    assert answered.status_code == 200, answered.text
    assert ca.process is not None


def change_key(_ca: CA, account: Account, _instance: aws.Instance, _der: bytes, key: Key | None = None) -> None:
    key, url = key or Key(), account.wire.directory["keyChange"]
    inner = account.wire.body(url, {"account": account.url, "oldKey": account.key.jwk}, key, None, drop=("nonce",))
    answered = account.post(url, inner)
    assert answered.status_code == 200, answered.text
    account.key = key


ENDS: list[Callable[[CA, Account, aws.Instance, bytes], None]] = [
    block, block_and_unblock, release, revoke, change_key,
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_what_takes_a_proof_away_takes_it_from_later_orders_too(
    lasting: CA, account: Account, instance: aws.Instance, end: Callable[[CA, Account, aws.Instance, bytes], None]
) -> None:
    proven = first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    end(lasting, account, instance, proven.der)
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"
    assert status(account, "foo.local") == "pending"
    assert problem(finalize(account, ordered, "foo.local")) == "orderNotReady"


def test_a_key_that_comes_back_brings_no_proof_back(account: Account, lasting: CA, instance: aws.Instance) -> None:
    proven, former = first(account, instance, "foo.local"), account.key
    change_key(lasting, account, instance, proven.der)
    change_key(lasting, account, instance, proven.der, former)
    assert account.key is former
    assert status(account, "foo.local") == "pending"


def test_a_former_keys_proof_counts_for_nothing_by_any_clock(
    lasting: CA, store: Database, account: Account, instance: aws.Instance
) -> None:
    proven = first(account, instance, "foo.local")
    change_key(lasting, account, instance, proven.der)
    with store.transaction() as transaction:
        changed = transaction.run("UPDATE accounts SET key_since = 1 WHERE id = :id", id=account.url.rpartition("/")[2])
    assert changed == 1
    assert status(account, "foo.local") == "pending"


def test_a_superseded_certificate_ends_nothing(account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local")
    answered = account.post(account.wire.directory["revokeCert"], {"certificate": b64(proven.der), "reason": 4})
    assert answered.status_code == 200, answered.text
    assert status(account, "foo.local") == "ready"


def test_a_revocation_by_a_former_owner_ends_it(lasting: CA, account: Account, instance: aws.Instance) -> None:
    former = first(account, instance, "foo.local")
    owner = lasting.account()
    lasting.cli("instance", "release", whole_id(instance), "--to", owner.key.thumbprint)
    first(owner, instance, "foo.local")
    ordered = ready(owner, "foo.local")
    revoke(lasting, account, instance, former.der)
    assert status(owner, "foo.local") == "pending"
    assert "a certificate of the instance was revoked since" in refused(owner, ordered, "foo.local")


def test_a_compromise_after_another_revocation_ends_it(account: Account, instance: aws.Instance) -> None:
    superseded = first(account, instance, "foo.local")
    url, certificate = account.wire.directory["revokeCert"], b64(superseded.der)
    assert account.post(url, {"certificate": certificate, "reason": 4}).status_code == 200
    assert status(account, "foo.local") == "ready"
    again = account.wire.post(url, {"certificate": certificate, "reason": 1}, superseded.key)
    assert problem(again) == "alreadyRevoked"
    assert status(account, "foo.local") == "pending"


def test_a_revoked_certificate_of_a_delegate_ends_it(lasting: CA, account: Account, instance: aws.Instance) -> None:
    first(account, instance, "bar.local")
    other = delegate(lasting, account, instance, "foo.local")
    ordered = other.order("foo.local")
    done = finalize(other, ordered, "foo.local").json()
    certificate = x509.load_pem_x509_certificate(other.post(done["certificate"]).content)
    assert status(account, "bar.local") == "ready"
    lasting.cli("certificate", "revoke", str(certificate.serial_number), "--reason", "unspecified")
    assert status(account, "bar.local") == "pending"


def test_a_deactivated_authorization_ends_its_own_name(account: Account, instance: aws.Instance) -> None:
    proven = first(account, instance, "foo.local", "bar.local")
    ordered = ready(account, "foo.local")
    entries = account.post(proven.order).json()["authorizations"]
    assert account.post(entries[0], {"status": "deactivated"}).json()["status"] == "deactivated"
    assert status(account, "foo.local") == "pending"
    assert status(account, "bar.local") == "ready"
    assert "the authorization was deactivated since" in refused(account, ordered, "foo.local")


def test_to_deactivate_what_relies_on_a_proof_ends_the_proof(account: Account, instance: aws.Instance) -> None:
    first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    assert account.post(ordered.json()["authorizations"][0], {"status": "deactivated"}).status_code == 200
    assert status(account, "foo.local") == "pending"


def test_an_order_that_came_to_nothing_proves_nothing(account: Account, instance: aws.Instance) -> None:
    ordered = account.order("foo.local", "bar.local").json()
    assert account.post(account.challenge(ordered)["url"], answer(instance)).json()["status"] == "valid"
    bad = account.post(account.challenge(ordered, 1)["url"], answer(aws.Instance(account="999999999999")))
    assert bad.json()["status"] == "invalid"
    assert status(account, "foo.local") == "pending"


def test_a_proof_that_is_no_longer_kept_counts_for_nothing(
    store: Database, account: Account, instance: aws.Instance
) -> None:
    proven = first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    n = int(proven.order.rpartition("/")[2].split(".")[0])
    with store.transaction() as transaction:
        assert transaction.run("DELETE FROM certificates WHERE n = :n", n=n) == 1
        assert transaction.run("DELETE FROM orders WHERE n = :n", n=n) == 1
    assert status(account, "foo.local") == "pending"
    assert "that order is no longer kept" in refused(account, ordered, "foo.local")


def test_an_instance_that_another_account_holds_by_now_proves_nothing(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h", "--disable-trust-on-first-use")
    own_ca.start()
    account = own_ca.account()
    first(account, instance, "foo.local")
    assert status(account, "foo.local") == "ready"
    restart(own_ca, "provisioner", "update", PROVISIONER, "--no-disable-trust-on-first-use")
    first(own_ca.account(), instance, "foo.local")
    assert status(account, "foo.local") == "pending"


# The rules are asked again


@pytest.mark.parametrize(
    "arguments",
    [
        ("update", PROVISIONER, "--allow", "other.local"),
        ("update", PROVISIONER, "--aws-account", "999999999999", "--remove-aws-account", ACCOUNT),
        ("remove", PROVISIONER),
        ("update", PROVISIONER, "--proof-lifetime", "0"),
    ],
    ids=["names", "owner", "removed", "lifetime"],
)
def test_rules_that_were_narrowed_count_at_once(own_ca: CA, instance: aws.Instance, arguments: tuple[str, ...]) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.cli("provisioner", "add", OTHER, "--type", "AWS", "--aws-account", "888888888888", "--proof-lifetime", "24h")
    own_ca.start()
    account = own_ca.account()
    first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    restart(own_ca, "provisioner", *arguments)
    assert status(account, "foo.local") == "pending"
    assert refused(account, ordered, "foo.local")


def test_a_withdrawn_key_ends_what_it_signed(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    account = own_ca.account()
    first(account, instance, "foo.local")
    ordered = ready(account, "foo.local")
    own_ca.stop()
    (own_ca.home / "test-roots.pem").write_bytes(forge.other_keys().certificates)
    own_ca.start()
    assert status(account, "foo.local") == "pending"
    assert "the key that signed its evidence is no longer trusted" in refused(account, ordered, "foo.local")


def test_a_key_that_only_another_provisioner_has_counts_no_more(own_ca: CA, instance: aws.Instance) -> None:
    other = ("--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", own_ca.home / "test-roots.pem")
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    account = own_ca.account()
    first(account, instance, "foo.local")
    own_ca.stop()
    own_ca.cli("provisioner", "add", OTHER, *other)
    own_ca.cli("provisioner", "update", PROVISIONER, "--unset", "iid_roots")
    own_ca.start()
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
