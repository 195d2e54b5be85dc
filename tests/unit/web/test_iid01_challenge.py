"""Answering iid-01 over the wire: what is believed, and what is refused."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor

import forge
import pytest
from refused_answers import refusal, refused
from running import ACCOUNT, CA, PROVISIONER, answer, restarted
from wire import Account, b64, problem

from acme_iid.binding import binding
from acme_iid.simulator import aws


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
