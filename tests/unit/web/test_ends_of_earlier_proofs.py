"""What ends an earlier proof before its time: blocks, releases, revocations, other keys, other rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
from cryptography import x509
from enrolling import delegate, whole_id
from relying import finalize, first, ready, refused, status
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, Key, b64, problem

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


def restart(ca: CA, *arguments: str | Path) -> None:
    """Change the configuration with a command, and have the server read it."""
    ca.stop()
    ca.cli(*arguments)
    ca.start()


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
