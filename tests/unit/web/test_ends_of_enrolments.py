"""What ends an enrolment: releases, blocks, deactivations, revocations, rules, time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from enrolling import change, delegate, enrol, enrolled, finalize, issue, proven, refusal, register, whole_id
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, b64, problem

from acme_iid.simulator import aws
from acme_iid.store.database import Database, open_store


@pytest.fixture
def bound(shared_ca: CA) -> Account:
    """The account of an instance."""
    return shared_ca.account()


@pytest.fixture
def store(shared_ca: CA) -> Iterator[Database]:
    """The store, behind the server's back."""
    opened = open_store(shared_ca.store_url)
    yield opened
    opened.close()


def refused(account: Account, order: dict[str, object], *names: str) -> tuple[str, str]:
    """Neither a new order is made nor the ready one finalized; the reason for the former."""
    assert problem(finalize(account, order, *names)) in ("orderNotReady", "unauthorized")
    code, detail = refusal(account.order(*names))
    assert code == "unauthorized"
    authorization = account.post(account.wire.directory["newAuthz"], {"identifier": {"type": "dns", "value": names[0]}})
    assert refusal(authorization) == (code, detail)
    return account.post(str(order["authorizations"][0])).json()["status"], detail  # type: ignore[index]


def test_release_ends_enrolments_and_what_delegates_have_ready(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    ordered = account.order("foo.local")
    said = shared_ca.cli("instance", "release", whole_id(instance), "--to", "A" * 43).stdout
    assert "Orders ended: 2" in said  # the delegate's, and the one that enrolled it
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"
    status, detail = refused(account, ordered.json(), "foo.local")
    assert (status, "was released to another account key" in detail) == ("revoked", True)


def test_a_block_ends_them(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    order = account.order("foo.local").json()
    shared_ca.cli("instance", "block", whole_id(instance))
    assert "an operator blocked" in refused(account, order, "foo.local")[1]
    shared_ca.cli("instance", "unblock", whole_id(instance))
    assert "the enrolment has ended" in refused(account, order, "foo.local")[1]


def test_deactivation_of_the_account_that_enrolled_ends_them(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    order = account.order("foo.local").json()
    assert bound.post(bound.url, {"status": "deactivated"}).json()["status"] == "deactivated"
    status, detail = refused(account, order, "foo.local")
    assert (status, "was deactivated" in detail) == ("revoked", True)


def test_revocation_that_closes_a_name_ends_the_enrolments_that_have_it(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local", "bar.local")
    given = enrolled(bound, instance, "apart.local")
    apart = register(shared_ca.wire(), given)[1]
    order = account.order("foo.local").json()
    issued = bound.obtain("bar.local", answer=answer(instance))
    done = bound.post(bound.wire.directory["revokeCert"], {"certificate": b64(issued.der), "reason": 5})
    assert done.status_code == 200
    assert "a certificate for one of its names was revoked" in refused(account, order, "foo.local")[1]
    # What was proven of other names counts no longer, until it is proven again.
    refusal_apart = apart.order("apart.local").json()["detail"]
    assert "a certificate of this instance was revoked" in refusal_apart
    assert "acme-iid enroll --renew" in refusal_apart
    assert enrol(bound, proven(bound, instance, "apart.local"), renew=given["enrolment"]).status_code == 200
    issue(apart, "apart.local")


def test_revocation_as_superseded_ends_nothing(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    issued = bound.obtain("foo.local", answer=answer(instance))
    done = bound.post(bound.wire.directory["revokeCert"], {"certificate": b64(issued.der), "reason": 4})
    assert done.status_code == 200
    issue(account, "foo.local")


def test_a_delegate_that_revokes_closes_the_names_to_the_instance(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    chain = account.post(issue(account, "foo.local")["certificate"]).content
    der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
    done = account.post(account.wire.directory["revokeCert"], {"certificate": b64(der), "reason": 5})
    assert done.status_code == 200, done.text
    assert problem(account.order("foo.local")) == "unauthorized"
    _, answers = bound.prove("foo.local", answer=answer(instance))
    assert "was closed to this instance" in answers[0].json()["error"]["detail"]


def test_after_its_lifetime_the_proof_has_run_out_until_it_is_renewed(
    shared_ca: CA, store: Database, bound: Account, instance: aws.Instance
) -> None:
    given = enrolled(bound, instance, "foo.local")
    account = register(shared_ca.wire(), given)[1]
    order = account.order("foo.local").json()
    change(store, "UPDATE enrolments SET expires_at = 7, proven_at = 6 WHERE id = :id", id=given["enrolment"])
    code, detail = refusal(finalize(account, order, "foo.local"))
    assert (code, "acme-iid enroll --renew" in detail) == ("unauthorized", True)
    assert "has run out" in refused(account, order, "foo.local")[1]
    assert enrol(bound, proven(bound, instance, "foo.local"), renew=given["enrolment"]).status_code == 200
    issue(account, "foo.local")
    assert finalize(account, order, "foo.local").status_code == 200


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE instances SET blocked_at = 1 WHERE id = :instance",
            "an operator blocked",
        ),
        (
            "INSERT INTO closed_names (instance_id, name, closed_at) VALUES (:instance, 'foo.local', 1)",
            "was closed to this instance",
        ),
        ("UPDATE instances SET account_id = 'another' WHERE id = :instance", "no longer belongs to the account"),
        (
            "UPDATE accounts SET deactivated_at = 1 WHERE id = (SELECT account_id FROM instances WHERE id = :instance)",
            "the account that enrolled this one was deactivated",
        ),
    ],
)
def test_whatever_would_be_in_the_accounts_way_is_in_its_delegates_way(
    shared_ca: CA, store: Database, bound: Account, instance: aws.Instance, statement: str, said: str
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    order = account.order("foo.local").json()
    change(store, statement, instance=whole_id(instance))
    assert said in refused(account, order, "foo.local")[1]
    code, detail = refusal(finalize(account, order, "foo.local"))
    assert (code, said in detail) == ("unauthorized", True)


def test_rules_that_no_longer_give_the_name_are_in_its_way(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    account = delegate(own_ca, own_ca.account(), instance, "foo.local")
    order = account.order("foo.local").json()
    own_ca.stop()
    own_ca.cli("provisioner", "update", PROVISIONER, "--allow", "bar.local")
    own_ca.start()
    status, detail = refused(account, order, "foo.local")
    assert (status, "does not give foo.local" in detail) == ("valid", True)


def test_a_provisioner_that_was_removed_is_in_its_way(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    account = delegate(own_ca, own_ca.account(), instance, "foo.local")
    order = account.order("foo.local").json()
    own_ca.stop()
    own_ca.cli("provisioner", "add", "Other", "--type", "AWS", "--aws-account", ACCOUNT)
    own_ca.cli("provisioner", "remove", PROVISIONER)
    own_ca.start()
    assert "was removed" in refused(account, order, "foo.local")[1]


def test_a_shorter_enrolment_lifetime_counts_at_once(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    account = delegate(own_ca, own_ca.account(), instance, "foo.local")
    own_ca.stop()
    own_ca.cli("provisioner", "update", PROVISIONER, "--enrolment-lifetime", "1h")
    opened = open_store(own_ca.store_url)
    change(opened, "UPDATE enrolments SET proven_at = proven_at - 3601")
    opened.close()
    own_ca.start()
    code, detail = refusal(account.order("foo.local"))
    assert (code, "has run out" in detail) == ("unauthorized", True)
