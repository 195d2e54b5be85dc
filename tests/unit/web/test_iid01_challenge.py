"""Answering iid-01 over the wire: what is believed, what is refused, and what an operator can do about it."""

from __future__ import annotations

import base64
import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor

import forge
import pytest
import requests
from running import ACCOUNT, CA, PROVISIONER, answer, restarted
from wire import Account, b64, csr, problem

from acme_iid.binding import binding
from acme_iid.simulator import aws


@pytest.fixture
def account(shared_ca: CA) -> Account:
    return shared_ca.account()


def refusal(response: requests.Response) -> str:
    """The detail of a challenge that an answer made invalid."""
    assert response.status_code == 200, response.text
    challenge = response.json()
    assert challenge["status"] == "invalid", challenge
    assert challenge["error"]["type"] == "urn:ietf:params:acme:error:unauthorized"
    return str(challenge["error"]["detail"])


def refused(account: Account, name: str, given: dict[str, str]) -> str:
    """Order a name, answer, and see the order end with the challenge; the detail."""
    ordered, (response,) = account.prove(name, answer=given)
    detail = refusal(response)
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"
    finalize = account.post(ordered.json()["finalize"], {"csr": b64(csr(name)[1])})
    assert problem(finalize) == "orderNotReady"
    return detail


def test_the_challenge_says_which_formats_are_accepted_and_its_binding(account: Account) -> None:
    challenge = account.challenge(account.order("foo.local").json())
    bound = binding(f"{challenge['token']}.{account.key.thumbprint}")
    assert challenge["type"] == "iid-01"
    assert challenge["status"] == "pending"
    assert challenge["formats"] == ["aws-rsa2048", "aws-signature"]
    assert challenge["audience"] == bound.audience
    assert challenge["nonce"] == bound.nonce
    assert len(base64.urlsafe_b64decode(challenge["token"] + "=")) >= 16
    assert "validated" not in challenge
    assert "error" not in challenge


def test_a_good_answer_is_valid_at_once_and_the_evidence_is_shown_nowhere(
    account: Account, instance: aws.Instance
) -> None:
    ordered, (response,) = account.prove("foo.local", answer=answer(instance))
    challenge = response.json()
    assert challenge["status"] == "valid"
    assert challenge["validated"]
    assert "evidence" not in challenge
    up = response.links["up"]["url"]
    assert up == ordered.json()["authorizations"][0]
    assert account.post(up).json()["status"] == "valid"
    assert account.post(ordered.headers["Location"]).json()["status"] == "ready"


def test_reading_a_challenge_answers_nothing(account: Account) -> None:
    url = account.challenge(account.order("foo.local").json())["url"]
    assert account.post(url).json()["status"] == "pending"
    assert account.post(url).json()["status"] == "pending"


def test_the_signature_format_is_believed_too(account: Account, instance: aws.Instance) -> None:
    served = aws.tree(instance, forge.keys())
    given = {
        "format": "aws-signature",
        "document": b64(served[aws.IDENTITY + "document"]()),
        "signature": served[aws.IDENTITY + "signature"]().decode(),
    }
    account.obtain("foo.local", answer=given)


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'"evidence"',
        b"{",
        {},
        {"format": "aws-rsa2048"},
        {"format": "no-such-format", "evidence": "AAAA"},
        {"format": 7, "evidence": "AAAA"},
        {"format": "aws-rsa2048", "evidence": 7},
        {"format": "aws-rsa2048", "evidence": "not base64!"},
        {"format": "aws-rsa2048", "evidence": "AAAA", "document": "e30"},
        {"format": "aws-signature", "document": "e30"},
        {"format": "aws-rsa2048", "evidence": "A" * (64 * 1024)},
        b'{"format": "aws-rsa2048", "format": "aws-rsa2048", "evidence": "AAAA"}',
    ],
    ids=lambda payload: str(payload)[:60],
)
def test_a_malformed_answer_is_an_error_and_the_challenge_stays_pending(account: Account, payload: object) -> None:
    url = account.challenge(account.order("foo.local").json())["url"]
    response = account.post(url, payload)
    assert response.status_code == 400
    assert problem(response) == "malformed"
    assert account.post(url).json()["status"] == "pending"


def test_an_answer_may_have_64_kib_and_not_a_byte_more(account: Account) -> None:
    url = account.challenge(account.order("foo.local").json())["url"]
    given = {"format": "aws-rsa2048", "evidence": "A" * 64000, "ignored": ""}
    room = 65536 - len(json.dumps(given))
    over = account.post(url, given | {"ignored": "x" * (room + 1)})
    assert problem(over) == "malformed"
    assert "65536 is the limit" in over.json()["detail"]
    fits = account.post(url, given | {"ignored": "x" * room})
    assert fits.status_code == 200
    assert "decoding" in refusal(fits)


def test_a_tampered_document_is_refused_at_the_signature(account: Account, instance: aws.Instance) -> None:
    given = answer(instance)
    raw = base64.b64decode(given["evidence"])
    tampered = raw.replace(instance.instance_id.encode(), b"i-" + b"0" * 17)
    assert tampered != raw
    detail = refused(account, "foo.local", given | {"evidence": base64.b64encode(tampered).decode()})
    assert "signature" in detail


def test_a_document_signed_by_nobody_we_trust_is_refused(account: Account, instance: aws.Instance) -> None:
    assert "signature" in refused(account, "foo.local", answer(instance, forge.other_keys()))


def test_an_account_that_is_not_on_the_list_is_refused(account: Account) -> None:
    detail = refused(account, "foo.local", answer(aws.Instance(account="999999999999")))
    assert "999999999999" in detail
    assert "accounts" in detail


def test_pkcs7_is_off_unless_the_operator_turns_it_on(account: Account, instance: aws.Instance) -> None:
    served = aws.tree(instance, forge.keys())[aws.IDENTITY + "pkcs7"]().decode()
    assert "aws-pkcs7" in refused(account, "foo.local", {"format": "aws-pkcs7", "evidence": served})


def test_an_instance_gets_its_own_names_and_not_its_neighbours(account: Account, instance: aws.Instance) -> None:
    account.obtain(instance.instance_id, instance.private_name, answer=answer(instance))
    assert "another instance" in refused(account, "i-00000000000000000", answer(instance))


def test_a_named_provisioner_that_is_not_there_is_said(account: Account, instance: aws.Instance) -> None:
    assert "'Nobody'" in refused(account, "foo.local", answer(instance) | {"provisioner": "Nobody"})
    account.obtain("foo.local", answer=answer(instance) | {"provisioner": PROVISIONER})


def test_a_second_account_of_an_instance_is_refused_and_the_first_goes_on(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    account.obtain("foo.local", answer=answer(instance))
    detail = refused(shared_ca.account(), "bar.local", answer(instance))
    assert "another account key" in detail
    account.obtain("bar.local", answer=answer(instance))


def test_a_failed_proof_does_not_take_the_instance(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    refused(shared_ca.account(), "i-00000000000000000", answer(instance))
    account.obtain("foo.local", answer=answer(instance))


def test_a_document_from_before_the_latest_start_is_refused(account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    account.obtain("foo.local", answer=answer(restarted(instance, 30)))
    assert "older" in refused(account, "foo.local", answer(instance))


def test_a_document_from_the_future_is_refused(account: Account, instance: aws.Instance) -> None:
    assert "freshness" in refused(account, "foo.local", answer(restarted(instance, 120)))


def test_all_names_of_an_order_are_proven_by_one_instance(account: Account, instance: aws.Instance) -> None:
    order = account.order("foo.local", "bar.local").json()
    first, second = (account.challenge(order, index)["url"] for index in (0, 1))
    assert account.post(first, answer(instance)).json()["status"] == "valid"
    assert "another instance" in refusal(account.post(second, answer(aws.Instance(account=ACCOUNT))))


def test_an_answer_to_an_answered_challenge_changes_nothing(account: Account, instance: aws.Instance) -> None:
    url = account.challenge(account.order("foo.local").json())["url"]
    first = account.post(url, answer(instance)).json()
    again = account.post(url, answer(instance, forge.other_keys())).json()
    assert again == first


def test_of_answers_that_race_all_see_one_outcome(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    url = account.challenge(account.order("foo.local").json())["url"]
    good, bad = answer(instance), answer(instance, forge.other_keys())
    with ThreadPoolExecutor(8) as pool:
        racers = [Account(shared_ca.wire(), account.key, account.url) for _ in range(8)]
        answers = list(
            pool.map(lambda pair: pair[0].post(url, pair[1]).json(), zip(racers, [good, bad] * 4, strict=True))
        )
    final = account.post(url).json()
    assert final["status"] in ("valid", "invalid")
    assert [entry["status"] for entry in answers] == [final["status"]] * 8, answers


def test_of_two_accounts_that_race_for_an_instance_one_wins(shared_ca: CA) -> None:
    for _ in range(5):
        instance = aws.Instance(account=ACCOUNT)
        racers = [shared_ca.account() for _ in range(4)]
        urls = [racer.challenge(racer.order("foo.local").json())["url"] for racer in racers]
        givens = [answer(instance)] * 4
        with ThreadPoolExecutor(4) as pool:
            posted = pool.map(lambda each: each[0].post(each[1], each[2]), zip(racers, urls, givens, strict=True))
            answers = [response.json()["status"] for response in posted]
        assert sorted(answers) == ["invalid", "invalid", "invalid", "valid"]


def operator(ca: CA, line: str) -> str:
    """Type a command line that a message gave."""
    program, *arguments = shlex.split(line)
    assert program == "acme-iid-ca"
    return ca.cli(*arguments).stdout


def test_the_command_told_to_a_vm_without_its_key_lets_in_that_vm_alone(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    ready, _ = account.prove("foo.local", answer=answer(instance))
    rebuilt, thief = shared_ca.account(), shared_ca.account()
    detail = refused(rebuilt, "foo.local", answer(instance))
    command = re.search(r"acme-iid-ca instance release \S+ --to \S+", detail)
    assert command is not None
    assert rebuilt.key.thumbprint in command[0]
    assert "Orders ended: 1." in operator(shared_ca, command[0])
    assert account.post(ready.headers["Location"]).json()["status"] == "invalid"
    refused(thief, "foo.local", answer(instance))
    refused(account, "foo.local", answer(instance))
    rebuilt.obtain("foo.local", answer=answer(instance))
    refused(account, "foo.local", answer(instance))
    shown = json.loads(shared_ca.cli("certificate", "list", "--json").stdout)
    (old,) = [entry for entry in shown if entry["serial"] == str(issued.leaf.serial_number)]
    assert old["status"] == "valid"


def test_a_release_keeps_the_latest_start_and_can_revoke(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    later = restarted(instance, 40)
    account.obtain("foo.local", answer=answer(later))
    rebuilt = shared_ca.account()
    released = shared_ca.cli("instance", "release", instance.instance_id, "--to", rebuilt.key.thumbprint, "--revoke")
    assert "Certificates revoked: 1." in released.stdout
    assert "older" in refused(rebuilt, "foo.local", answer(instance))
    rebuilt.obtain("foo.local", answer=answer(later))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("release", "i-00000000", "--to", "A" * 43), "no instance"),
        (("show", "i-00000000"), "no instance"),
        (("reopen", "i-00000000", "foo.local"), "no instance"),
    ],
    ids=str,
)
def test_an_instance_that_was_never_used_is_said_to_be_unknown(
    shared_ca: CA, arguments: tuple[str, ...], message: str
) -> None:
    outcome = shared_ca.try_cli("instance", *arguments)
    assert outcome.code == 1
    assert message in outcome.stderr


def test_a_release_to_what_is_no_thumbprint_is_refused(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    outcome = shared_ca.try_cli("instance", "release", instance.instance_id, "--to", "short")
    assert outcome.code == 1
    assert "thumbprint" in outcome.stderr


def revoke(account: Account, der: bytes, reason: int = 0) -> int:
    url = account.wire.directory["revokeCert"]
    return account.post(url, {"certificate": b64(der), "reason": reason}).status_code


def test_revocation_closes_an_instances_names_until_they_are_reopened(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", "bar.local", answer=answer(instance))
    ready, _ = account.prove("bar.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=5) == 200
    assert account.post(ready.headers["Location"]).json()["status"] == "invalid"
    detail = refused(account, "foo.local", answer(instance))
    account.obtain("other.local", answer=answer(instance))
    command = re.search(r"acme-iid-ca instance reopen \S+ \S+", detail)
    assert command is not None
    operator(shared_ca, command[0])
    account.obtain("foo.local", answer=answer(instance))
    refused(account, "bar.local", answer(instance))
    again = shared_ca.try_cli("instance", "reopen", instance.instance_id, "foo.local")
    assert again.code == 1
    assert "bar.local" in again.stderr


def test_a_valid_challenge_lists_the_instances_names_but_no_closed_ones(
    account: Account, instance: aws.Instance
) -> None:
    own = [
        {"type": "dns", "value": instance.instance_id},
        {"type": "dns", "value": instance.private_name},
        {"type": "ip", "value": instance.private_ip},
    ]
    _, (first,) = account.prove("foo.local", answer=answer(instance))
    assert first.json()["names"] == own
    assert account.post(first.json()["url"]).json()["names"] == own
    issued = account.obtain(instance.private_name, answer=answer(instance))
    assert revoke(account, issued.der) == 200
    _, (later,) = account.prove("foo.local", answer=answer(instance))
    assert later.json()["names"] == [own[0], own[2]]


def test_a_former_account_cannot_lock_the_instance_out_of_its_names(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    successor = shared_ca.account()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", successor.key.thumbprint)
    successor.obtain("foo.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=5) == 200
    successor.obtain("foo.local", answer=answer(instance))


@pytest.mark.parametrize(
    ("was", "narrowed", "why"),
    [
        ('"local", ', "", "outside this CA's domains"),
        ('\naccounts = ["123456789042"]', '\naccounts = ["999999999999"]', "does not list account 123456789042"),
        ('\ntype = "AWS"', '\ntype = "AWS"\nallow = ["bar.local"]', "its allow is bar.local"),
    ],
)
def test_names_that_the_rules_no_longer_give_are_not_finalized(
    own_ca: CA, instance: aws.Instance, was: str, narrowed: str, why: str
) -> None:
    own_ca.start()
    account = own_ca.account()
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    toml = own_ca.home / "ca.toml"
    assert toml.read_text().count(was) == 1
    toml.write_text(toml.read_text().replace(was, narrowed))
    own_ca.stop()
    own_ca.start()
    response = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert problem(response) == "unauthorized"
    assert "rules have changed" in response.json()["detail"]
    assert why in response.json()["detail"]


def test_a_superseded_certificate_closes_nothing(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    assert revoke(account, issued.der, reason=4) == 200
    account.obtain("foo.local", answer=answer(instance))


def test_an_operator_revokes_by_serial_number(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    serial = issued.leaf.serial_number
    assert (
        f"Certificate with Serial Number {serial} has been revoked."
        in shared_ca.cli("certificate", "revoke", str(serial)).stdout
    )
    assert "revoked before" in shared_ca.try_cli("certificate", "revoke", hex(serial)).stderr
    assert "closed" in refused(account, "foo.local", answer(instance))
    assert shared_ca.try_cli("certificate", "revoke", "12345").code == 1
    assert shared_ca.try_cli("certificate", "revoke", "nonsense").code == 2


def test_every_decision_leaves_an_event_and_the_evidence_is_in_no_record(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    given = answer(instance)
    account.obtain("foo.local", answer=given)
    refused(shared_ca.account(), "foo.local", given)
    shown = json.loads(shared_ca.cli("events", "--instance", instance.instance_id, "--json").stdout)
    kinds = [entry["kind"] for entry in shown]
    assert kinds == ["challenge.refused", "certificate.issued", "challenge.valid"]
    refusal_event, _, valid = shown
    assert refusal_event["step"] == "first use"
    assert valid["provisioner"] == PROVISIONER
    assert valid["thumbprint"] == account.key.thumbprint
    assert valid["remote"] == "127.0.0.1"
    assert valid["binding"] == "first use"
    assert valid["format"] == "aws-rsa2048"
    assert valid["key_id"].startswith("sha256:")
    assert re.fullmatch("[0-9a-f]{64}", valid["evidence_sha256"])
    assert set(valid["times"]) >= {"pendingTime"}
    piece = given["evidence"].split("\n")[10].encode()
    assert len(piece) > 40
    for file in shared_ca.home.iterdir():
        assert not file.is_file() or piece not in file.read_bytes()
    assert piece.decode() not in "".join(shared_ca.log)


def test_an_instance_and_its_certificates_are_shown_to_people(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    shown = shared_ca.cli("instance", "show", instance.instance_id).stdout
    assert f"aws:aws:{ACCOUNT}:us-west-2:{instance.instance_id}" in shown
    assert account.key.thumbprint in shown
    assert f"{issued.leaf.serial_number} (valid)" in shown
    assert instance.instance_id in shared_ca.cli("instance", "list").stdout
    assert str(issued.leaf.serial_number) in shared_ca.cli("certificate", "list").stdout
    assert "challenge.valid" in shared_ca.cli("events").stdout


def test_instance_age_counts_at_first_use_only_and_a_release_waives_it(own_ca: CA) -> None:
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + 'instance_age = "10m"\n')
    own_ca.start()
    old = restarted(aws.Instance(account=ACCOUNT), -3600)
    account, late = own_ca.account(), own_ca.account()
    detail = refused(account, "foo.local", answer(old))
    assert "instance_age" in detail
    command = re.search(r"acme-iid-ca instance release \S+ --to \S+", detail)
    assert command is not None
    operator(own_ca, command[0])
    refused(late, "foo.local", answer(old))
    account.obtain("foo.local", answer=answer(old))
    fresh = restarted(aws.Instance(account=ACCOUNT), -60)
    account.obtain("foo.local", answer=answer(fresh))
    assert "another account" in refused(late, "foo.local", answer(fresh))
    own_ca.cli("instance", "release", fresh.instance_id, "--to", late.key.thumbprint)
    late.obtain("foo.local", answer=answer(fresh))


def test_without_trust_on_first_use_accounts_share_an_instance(own_ca: CA) -> None:
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + "disable_trust_on_first_use = true\n")
    own_ca.start()
    instance = aws.Instance(account=ACCOUNT)
    own_ca.account().obtain("foo.local", answer=answer(instance))
    own_ca.account().obtain("bar.local", answer=answer(instance))


def test_without_custom_names_only_the_documents_names_are_given(own_ca: CA) -> None:
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text() + "disable_custom_sans = true\n")
    own_ca.start()
    instance = aws.Instance(account=ACCOUNT)
    account = own_ca.account()
    assert problem(account.order("foo.local")) == "rejectedIdentifier"
    account.obtain(instance.instance_id, instance.private_name, answer=answer(instance))
