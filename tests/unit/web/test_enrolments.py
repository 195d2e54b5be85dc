"""Enrolment (rfc-notes/iid-01.md): delegates order by the proof of an instance's account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from enrolling import change, delegate, enrol, enrolled, finalize, issue, proven, refusal, register, whole_id
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, problem

from acme_iid.protocol.renewal import CertificateId
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


def seconds_until(text: str) -> float:
    return (datetime.fromisoformat(text) - datetime.now(UTC)) / timedelta(seconds=1)


# Enrolling


def test_an_order_proven_by_iid01_gives_a_brief_key_and_names_for_a_week(
    bound: Account, instance: aws.Instance
) -> None:
    made = enrol(bound, proven(bound, instance, "foo.local", "bar.local"))
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["names"] == [{"type": "dns", "value": "bar.local"}, {"type": "dns", "value": "foo.local"}]
    assert 540 < seconds_until(body["expires"]) <= 600
    assert 6.9 * 86400 < seconds_until(body["until"]) <= 7 * 86400
    assert len(body["hmacKey"]) == 43
    assert body.keys() == {"kid", "hmacKey", "expires", "names", "until", "enrolment"}
    assert made.headers["Cache-Control"] == "no-store"


def test_the_order_is_not_used_up(bound: Account, instance: aws.Instance) -> None:
    url = proven(bound, instance, "foo.local")
    assert enrol(bound, url).status_code == 201
    assert finalize(bound, bound.post(url).json(), "foo.local").status_code == 200
    assert enrol(bound, url).status_code == 200


def test_a_finalized_order_will_do_while_its_proof_is_fresh(bound: Account, instance: aws.Instance) -> None:
    assert enrol(bound, bound.obtain("foo.local", answer=answer(instance)).order).status_code == 201


def test_another_accounts_order_enrols_nothing(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    url = proven(bound, instance, "foo.local")
    assert refusal(enrol(shared_ca.account(), url)) == ("unauthorized", "this resource belongs to another account")


def test_an_order_that_is_not_proven_enrols_nothing(bound: Account, instance: aws.Instance) -> None:
    ordered = bound.order("foo.local", "bar.local")
    assert bound.post(bound.challenge(ordered.json())["url"], answer(instance)).json()["status"] == "valid"
    code, detail = refusal(enrol(bound, ordered.headers["Location"]))
    assert code == "unauthorized"
    assert "bar.local is not proven by iid-01" in detail


def test_an_hour_after_its_proof_an_order_enrols_nothing(
    store: Database, bound: Account, instance: aws.Instance
) -> None:
    url = proven(bound, instance, "foo.local")
    number = int(url.rpartition("/")[2].partition(".")[0])
    change(store, "UPDATE orders SET expires_at = 1 WHERE n = :number", number=number)
    code, detail = refusal(enrol(bound, url))
    assert (code, "within the hour" in detail) == ("unauthorized", True)


@pytest.mark.parametrize("payload", [{}, {"order": 1}, {"order": "https://elsewhere/acme/order/1"}, {"order": None}])
def test_what_names_no_order_of_ours_is_malformed(bound: Account, payload: dict[str, object]) -> None:
    assert problem(bound.post(bound.wire.directory["meta"]["iidEnrolment"], payload)) == "malformed"


def test_an_order_that_does_not_exist_is_not_found(bound: Account) -> None:
    response = enrol(bound, bound.wire.directory["newOrder"].replace("new-order", "order/none"))
    assert (problem(response), response.status_code) == ("malformed", 404)


def test_a_blocked_instance_enrols_nothing(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    url = proven(bound, instance, "foo.local")
    shared_ca.cli("instance", "block", whole_id(instance))
    assert problem(enrol(bound, url)) == "unauthorized"


def test_an_instance_that_is_another_accounts_by_now_enrols_nothing(
    store: Database, bound: Account, instance: aws.Instance
) -> None:
    url = proven(bound, instance, "foo.local")
    change(store, "UPDATE instances SET account_id = 'another' WHERE id = :id", id=whole_id(instance))
    code, detail = refusal(enrol(bound, url))
    assert (code, "no longer belongs" in detail) == ("unauthorized", True)


def test_enrolling_again_extends_and_gives_another_key(bound: Account, instance: aws.Instance) -> None:
    first = enrolled(bound, instance, "foo.local", "bar.local")
    second = enrolled(bound, instance, "bar.local", "foo.local")
    assert second["enrolment"] == first["enrolment"]
    assert second["kid"] != first["kid"]
    assert enrolled(bound, instance, "foo.local")["enrolment"] != first["enrolment"]


def test_a_renewal_extends_without_a_key(store: Database, bound: Account, instance: aws.Instance) -> None:
    first = enrolled(bound, instance, "foo.local")
    change(store, "UPDATE enrolments SET expires_at = 7, proven_at = 6 WHERE id = :id", id=first["enrolment"])
    renewed = enrol(bound, proven(bound, instance, "foo.local"), renew=first["enrolment"])
    assert renewed.status_code == 200, renewed.text
    assert renewed.json().keys() == {"names", "until", "enrolment"}
    assert renewed.json()["enrolment"] == first["enrolment"]
    assert seconds_until(renewed.json()["until"]) > 6.9 * 86400


def test_a_renewal_takes_the_same_names_of_the_same_account(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    first = enrolled(bound, instance, "foo.local")["enrolment"]
    code, detail = refusal(enrol(bound, proven(bound, instance, "bar.local"), renew=first))
    assert (code, "does not prove the names of the enrolment" in detail) == ("unauthorized", True)
    other, its = shared_ca.account(), aws.Instance(account=ACCOUNT)
    response = enrol(other, proven(other, its, "foo.local"), renew=first)
    assert (problem(response), response.status_code) == ("malformed", 404)


def test_an_enrolment_that_has_ended_is_not_renewed(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    first = enrolled(bound, instance, "foo.local")["enrolment"]
    shared_ca.cli("instance", "release", whole_id(instance), "--to", bound.key.thumbprint)
    code, detail = refusal(enrol(bound, proven(bound, instance, "foo.local"), renew=first))
    assert (code, "the enrolment has ended: the instance was released" in detail) == ("unauthorized", True)


def test_a_proof_that_is_older_than_the_enrolments_extends_nothing(
    store: Database, bound: Account, instance: aws.Instance
) -> None:
    url = proven(bound, instance, "foo.local")
    found = enrol(bound, url).json()["enrolment"]
    change(store, "UPDATE enrolments SET proven_at = proven_at + 60 WHERE id = :id", id=found)
    assert problem(enrol(bound, url)) == "unauthorized"


# The key


def test_the_key_makes_one_account_and_no_second(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    given = enrolled(bound, instance, "foo.local")
    wire = shared_ca.wire()
    assert register(wire, given)[0].status_code == 201
    code, detail = refusal(register(wire, given)[0])
    assert (code, "used before" in detail, "acme-iid enroll" in detail) == ("unauthorized", True, True)


def test_the_key_has_run_out_after_ten_minutes(
    shared_ca: CA, store: Database, bound: Account, instance: aws.Instance
) -> None:
    given = enrolled(bound, instance, "foo.local")
    change(store, "UPDATE external_keys SET expires_at = expires_at - 601 WHERE id = :id", id=given["kid"])
    assert problem(register(shared_ca.wire(), given)[0]) == "unauthorized"


def test_a_key_of_an_enrolment_that_has_ended_makes_no_account(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    given = enrolled(bound, instance, "foo.local")
    shared_ca.cli("instance", "release", whole_id(instance), "--to", "A" * 43)
    assert problem(register(shared_ca.wire(), given)[0]) == "unauthorized"


# The delegate


def test_a_delegates_order_is_born_ready_with_one_valid_challenge_each(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local", "bar.local")
    order = account.order("foo.local", "bar.local").json()
    assert order["status"] == "ready"
    for url in order["authorizations"]:
        authorization = account.post(url).json()
        assert authorization["status"] == "valid"
        (challenge,) = authorization["challenges"]
        assert (challenge["type"], challenge["status"]) == ("iid-01", "valid")
        assert challenge["validated"]
        assert [name["value"] for name in challenge["names"]] == ["bar.local", "foo.local"]
    done = finalize(account, order, "foo.local", "bar.local").json()
    assert done["status"] == "valid"
    leaf = x509.load_pem_x509_certificate(account.post(done["certificate"]).content)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert set(names) == {"foo.local", "bar.local"}
    shown = json.loads(shared_ca.cli("certificate", "show", str(leaf.serial_number), "--json").stdout)
    assert (shown["provisioner"], shown["instance"]) == (PROVISIONER, whole_id(instance))


def test_a_delegate_is_no_second_owner(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    issue(account, "foo.local")
    shown = json.loads(shared_ca.cli("instance", "show", whole_id(instance), "--json").stdout)
    assert bound.url.endswith("/" + shown["account"])
    (listed,) = shown["enrolments"]
    assert account.url.rpartition("/")[2] in listed
    assert "foo.local" in listed
    its = json.loads(shared_ca.cli("account", "show", account.url.rpartition("/")[2], "--json").stdout)
    assert its["enrolled_by"] == bound.url.rpartition("/")[2]
    assert its["enrolled_instance"] == whole_id(instance)
    assert bound.obtain("foo.local", answer=answer(instance)).leaf is not None


def test_a_delegate_gets_no_name_that_was_not_enrolled(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    response = account.order("foo.local", "other.local")
    assert problem(response) == "rejectedIdentifier"
    assert "other.local was not enrolled; enrolled were foo.local" in response.json()["detail"]
    response = account.order("*.foo.local")
    assert problem(response) == "rejectedIdentifier"


def test_newauthz_gives_a_delegate_what_an_order_would(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    url = account.wire.directory["newAuthz"]
    made = account.post(url, {"identifier": {"type": "dns", "value": "foo.local"}})
    assert (made.status_code, made.json()["status"]) == (201, "valid")
    assert problem(account.post(url, {"identifier": {"type": "dns", "value": "bar.local"}})) == "rejectedIdentifier"
    issue(account, "foo.local")


def test_a_delegate_enrols_nobody(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    ordered = account.order("foo.local")
    code, detail = refusal(enrol(account, ordered.headers["Location"]))
    assert (code, "was enrolled itself" in detail) == ("unauthorized", True)


def test_a_delegate_answers_no_challenge_with_evidence(shared_ca: CA, bound: Account, instance: aws.Instance) -> None:
    account, other = delegate(shared_ca, bound, instance, "foo.local"), aws.Instance(account=ACCOUNT)
    order = account.order("foo.local").json()
    before = account.challenge(order)
    assert account.post(before["url"], answer(other)).json() == before
    assert shared_ca.try_cli("instance", "show", whole_id(other)).code == 1


def test_only_a_delegates_own_order_replaces_its_certificate(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    account = delegate(shared_ca, bound, instance, "foo.local")
    leaf = x509.load_pem_x509_certificate(account.post(issue(account, "foo.local")["certificate"]).content)
    authority_key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority_key is not None
    named = str(CertificateId(authority_key, leaf.serial_number))
    advice = account.wire.session.get(f"{account.wire.directory['renewalInfo']}/{named}", timeout=10).json()
    assert advice["suggestedWindow"]["start"] < advice["suggestedWindow"]["end"]
    assert problem(bound.order("foo.local", replaces=named)) == "unauthorized"
    order = account.order("foo.local", replaces=named).json()
    assert (order["status"], order["replaces"]) == ("ready", named)
    assert finalize(account, order, "foo.local").json()["status"] == "valid"


# The record


def test_what_happens_to_an_enrolment_is_recorded_and_its_key_is_not(
    shared_ca: CA, bound: Account, instance: aws.Instance
) -> None:
    given = enrolled(bound, instance, "foo.local")
    account = register(shared_ca.wire(), given)[1]
    assert problem(account.order("other.local")) == "rejectedIdentifier"
    enrol(bound, proven(bound, instance, "foo.local"), renew=given["enrolment"])
    shared_ca.cli("instance", "release", whole_id(instance), "--to", "A" * 43)
    problem(account.order("foo.local"))
    text = shared_ca.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    kinds = [event["kind"] for event in json.loads(text)]
    assert {"enrolment.made", "enrolment.extended", "enrolment.ended"} <= set(kinds)
    its = shared_ca.cli("events", "--json", "--account", account.url.rpartition("/")[2]).stdout
    recorded = [(event["kind"], event.get("enrolment")) for event in json.loads(its)]
    assert ("account.created", given["enrolment"]) in recorded
    assert [kind for kind, _ in recorded].count("order.refused") == 2
    assert given["hmacKey"] not in text + its + "".join(shared_ca.log)
