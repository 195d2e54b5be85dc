"""First use end to end: whose an instance is, what a release changes, and what an operator's block does."""

from __future__ import annotations

import json
import re
import time

import forge
import forge_tokens
import pytest
from running import ACCOUNT, CA, PROVISIONER, answer, restarted
from wire import Account, b64, csr, problem

from acme_iid.binding import binding
from acme_iid.simulator import aws


def outcome(account: Account, name: str, given: dict[str, str]) -> str:
    """Order a name and answer: "valid", or why not."""
    _, (response,) = account.prove(name, answer=given)
    assert response.status_code == 200, response.text
    challenge = response.json()
    return str(challenge["error"]["detail"] if challenge["status"] == "invalid" else challenge["status"])


def signed_document(instance: aws.Instance) -> dict[str, str]:
    """An iid-01 answer of another format with the same instance in it."""
    served = aws.tree(instance, forge.keys())
    return {
        "format": "aws-signature",
        "document": b64(served[aws.IDENTITY + "document"]()),
        "signature": served[aws.IDENTITY + "signature"]().decode(),
    }


def rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def whole_id(instance: aws.Instance) -> str:
    return f"aws:aws:{instance.account}:{instance.region}:{instance.instance_id}"


def configure(ca: CA, text: str) -> None:
    toml = ca.home / "ca.toml"
    toml.write_text(toml.read_text() + text)


TAKEN = "this instance belongs to another account key since its first use"
BLOCKED = "an operator blocked this instance"


def test_an_instance_is_one_across_formats(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=signed_document(instance))
    other = shared_ca.account()
    assert TAKEN in outcome(other, "foo.local", answer(instance))
    assert TAKEN in outcome(other, "foo.local", signed_document(instance))
    assert outcome(account, "foo.local", answer(instance)) == "valid"
    older = restarted(instance, -30)
    assert "older than one that this instance has shown" in outcome(account, "foo.local", answer(older))


def test_an_instance_is_one_across_provisioners(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.cli("provisioner", "add", "Second", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots",
               own_ca.home / "test-roots.pem")  # fmt: skip
    own_ca.start()
    account, other = own_ca.account(), own_ca.account()
    account.obtain("foo.local", answer=answer(instance) | {"provisioner": "Second"})
    assert TAKEN in outcome(other, "foo.local", answer(instance) | {"provisioner": PROVISIONER})
    assert outcome(account, "foo.local", answer(instance) | {"provisioner": PROVISIONER}) == "valid"


def test_first_use_is_off_only_if_every_admitting_provisioner_is_strict(own_ca: CA, instance: aws.Instance) -> None:
    configure(own_ca, "disable_trust_on_first_use = true\n")
    own_ca.cli("provisioner", "add", "Strict", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots",
               own_ca.home / "test-roots.pem")  # fmt: skip
    own_ca.start()
    first, second = own_ca.account(), own_ca.account()
    assert outcome(first, "foo.local", answer(instance) | {"provisioner": PROVISIONER}) == "valid"
    assert TAKEN in outcome(second, "foo.local", answer(instance) | {"provisioner": PROVISIONER})


def test_a_record_of_first_use_holds_when_first_use_is_turned_off_later(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    first, second = own_ca.account(), own_ca.account()
    first.obtain("foo.local", answer=answer(instance))
    own_ca.stop()
    configure(own_ca, "disable_trust_on_first_use = true\n")
    own_ca.start()
    assert TAKEN in outcome(second, "foo.local", answer(instance))
    assert outcome(first, "foo.local", answer(instance)) == "valid"
    # What was not recorded before is not recorded now.
    new = aws.Instance(account=ACCOUNT)
    assert outcome(first, "foo.local", answer(new)) == outcome(second, "foo.local", answer(new)) == "valid"


def test_a_release_ends_by_itself(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    late = shared_ca.account()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", late.key.thumbprint, "--for", "1s")
    shown = json.loads(shared_ca.cli("instance", "show", instance.instance_id, "--json").stdout)
    ends = time.strptime(shown["release_ends"], "%Y-%m-%dT%H:%M:%SZ")
    deadline = time.monotonic() + 30
    while time.gmtime() < ends:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert TAKEN in outcome(late, "foo.local", answer(instance))
    assert TAKEN in outcome(account, "foo.local", answer(instance))
    shared_ca.cli("instance", "release", instance.instance_id, "--to", late.key.thumbprint)
    assert outcome(late, "foo.local", answer(instance)) == "valid"


def test_a_release_is_used_once(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    second, third = shared_ca.account(), shared_ca.account()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", second.key.thumbprint)
    assert outcome(second, "foo.local", answer(instance)) == "valid"
    shown = json.loads(shared_ca.cli("instance", "show", instance.instance_id, "--json").stdout)
    assert (shown["released_to"], shown["release_ends"]) == (None, None)
    shared_ca.cli("instance", "release", instance.instance_id, "--to", third.key.thumbprint)
    assert outcome(third, "foo.local", answer(instance)) == "valid"
    # The release to the second key was used up by its first use.
    assert TAKEN in outcome(second, "foo.local", answer(instance))


def test_a_refused_proof_does_not_use_a_release_up(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    rebuilt = shared_ca.account()
    shared_ca.cli("instance", "release", instance.instance_id, "--to", rebuilt.key.thumbprint)
    assert "names" in outcome(rebuilt, "i-00000000000000000", answer(instance))
    assert outcome(rebuilt, "foo.local", answer(instance)) == "valid"


@pytest.mark.parametrize("by", ["itself", "operator"])
def test_a_deactivated_account_keeps_its_instance_until_it_is_released(
    shared_ca: CA, account: Account, instance: aws.Instance, by: str
) -> None:
    account.obtain("foo.local", answer=answer(instance))
    ready, _ = account.prove("foo.local", answer=answer(instance))
    if by == "itself":
        assert account.post(account.url, {"status": "deactivated"}).json()["status"] == "deactivated"
    else:
        shared_ca.cli("account", "deactivate", account.key.thumbprint)
    refused = account.post(ready.headers["Location"])
    assert (refused.status_code, problem(refused)) == (401, "unauthorized")
    other = shared_ca.account()
    assert TAKEN in outcome(other, "foo.local", answer(instance))
    shared_ca.cli("instance", "release", instance.instance_id, "--to", other.key.thumbprint)
    assert outcome(other, "foo.local", answer(instance)) == "valid"


def test_a_blocked_instance_is_refused_by_any_account_and_its_proofs_end(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    ready, _ = account.prove("foo.local", answer=answer(instance))
    done = shared_ca.cli("instance", "block", instance.instance_id, "--reason", "stolen, see ticket 7")
    assert f"Instance {whole_id(instance)} is blocked.\nOrders ended: 1. Certificates revoked: 0." in done.stdout
    assert account.post(ready.headers["Location"]).json()["status"] == "invalid"
    finalize = account.post(ready.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert problem(finalize) == "orderNotReady"
    assert BLOCKED in finalize.json()["detail"]
    for someone in (account, shared_ca.account()):
        for given in (answer(instance), signed_document(instance)):
            detail = outcome(someone, "foo.local", given)
            assert detail == (
                "refused at step 'admission': an operator blocked this instance; whoever runs this CA can say why"
            )
    shown = json.loads(shared_ca.cli("instance", "show", instance.instance_id, "--json").stdout)
    assert shown["block_reason"] == "stolen, see ticket 7"
    assert shown["certificates"] == [f"{issued.leaf.serial_number} (valid)"]
    assert "is blocked already" in shared_ca.try_cli("instance", "block", instance.instance_id).stderr
    assert "no longer blocked" in shared_ca.cli("instance", "unblock", instance.instance_id).stdout
    assert outcome(account, "foo.local", answer(instance)) == "valid"
    assert "is not blocked" in shared_ca.try_cli("instance", "unblock", instance.instance_id).stderr
    recorded = json.loads(shared_ca.cli("events", "--instance", instance.instance_id, "--json").stdout)
    assert [entry["kind"] for entry in recorded if entry["kind"].startswith("instance.")] == [
        "instance.unblocked", "instance.blocked",
    ]  # fmt: skip


def test_an_instance_is_blocked_before_its_first_use_by_its_whole_id(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    by_short_id = shared_ca.try_cli("instance", "block", instance.instance_id)
    assert by_short_id.code == 1
    assert "give its whole id" in by_short_id.stderr
    shared_ca.cli("instance", "block", whole_id(instance))
    assert BLOCKED in outcome(account, "foo.local", answer(instance))
    assert instance.instance_id in shared_ca.cli("instance", "list", "--blocked").stdout
    assert instance.instance_id not in shared_ca.cli("instance", "list", "--limit", "100000").stdout
    shown = json.loads(shared_ca.cli("instance", "show", instance.instance_id, "--json").stdout)
    assert (shown["instance"], shown["owner"], shown["first_used"]) == (whole_id(instance), ACCOUNT, None)
    shared_ca.cli("instance", "unblock", instance.instance_id)
    assert outcome(account, "foo.local", answer(instance)) == "valid"


def test_a_block_with_revocation_takes_certificates_and_closes_the_names(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("foo.local", answer=answer(instance))
    serial = str(issued.leaf.serial_number)
    done = json.loads(shared_ca.cli("instance", "block", instance.instance_id, "--revoke", "--json").stdout)
    assert done == {"instance": whole_id(instance), "orders_ended": 0, "certificates_revoked": 1}
    shown = json.loads(shared_ca.cli("certificate", "show", serial, "--json").stdout)
    assert (shown["status"], shown["revocation_reason"], shown["revoked_by"]) == (
        "revoked",
        "keyCompromise",
        "operator",
    )
    command = re.search(r"acme-iid-ca (instance reopen \S+ foo\.local)",
                        shared_ca.cli("instance", "unblock", instance.instance_id).stdout)  # fmt: skip
    assert command is not None
    assert "closed to this instance" in outcome(account, "foo.local", answer(instance))
    shared_ca.cli(*command[1].split())
    assert outcome(account, "foo.local", answer(instance)) == "valid"


def test_a_release_does_not_let_a_blocked_instance_in(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", answer=answer(instance))
    shared_ca.cli("instance", "block", instance.instance_id)
    rebuilt = shared_ca.account()
    done = shared_ca.cli("instance", "release", instance.instance_id, "--to", rebuilt.key.thumbprint)
    assert "blocked all the same" in done.stderr
    assert BLOCKED in outcome(rebuilt, "foo.local", answer(instance))


def test_a_block_counts_where_first_use_does_not(own_ca: CA, instance: aws.Instance) -> None:
    configure(own_ca, "disable_trust_on_first_use = true\n")
    own_ca.start()
    account = own_ca.account()
    ready, _ = account.prove("foo.local", answer=answer(instance))
    assert "Orders ended: 1." in own_ca.cli("instance", "block", whole_id(instance)).stdout
    assert BLOCKED in outcome(account, "foo.local", answer(instance))
    assert account.post(ready.headers["Location"]).json()["status"] == "invalid"


def test_each_attempt_is_recorded_with_what_an_audit_asks_for(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    account.prove("foo.local", "bar.local", answer=answer(instance))
    thief = shared_ca.account()
    outcome(thief, "foo.local", answer(instance) | {"provisioner": PROVISIONER})
    (refused, second, first) = json.loads(shared_ca.cli("events", "--instance", instance.instance_id, "--json").stdout)
    assert [entry["kind"] for entry in (first, second, refused)] == [
        "challenge.valid", "challenge.valid", "challenge.refused",
    ]  # fmt: skip
    for entry, name, names in (
        (first, "foo.local", ["foo.local", "bar.local"]),
        (second, "bar.local", ["foo.local", "bar.local"]),
        (refused, "foo.local", ["foo.local"]),
    ):
        assert entry["instance"] == whole_id(instance)
        assert (entry["name"], entry["identifiers"]) == (name, names)
        assert (entry["format"], entry["provisioner"]) == ("aws-rsa2048", PROVISIONER)
        assert (entry["binding"], entry["proven"]) == ("first use", True)
        assert entry["times"]["pendingTime"] == rfc3339(instance.pending_time)
        assert entry["key_id"].startswith("sha256:")
        assert entry["remote"] == "127.0.0.1"
        # The same document, and another signature over the same facts, each have one digest.
        assert re.fullmatch("[0-9a-f]{64}", entry["evidence_sha256"])
    assert (refused["step"], refused["thumbprint"]) == ("first use", thief.key.thumbprint)
    assert (first["thumbprint"], first["seq"] < second["seq"] < refused["seq"]) == (account.key.thumbprint, True)


def test_a_refusal_before_any_proof_is_recorded_with_what_is_known(
    shared_ca: CA, account: Account, instance: aws.Instance
) -> None:
    given = answer(instance, forge.other_keys()) | {"provisioner": PROVISIONER}
    outcome(account, "unproven.local", given)
    (entry,) = json.loads(shared_ca.cli("events", "--name", "unproven.local", "--cloud", "aws", "--json").stdout)
    assert (entry["kind"], entry["step"], entry["instance"]) == ("challenge.refused", "signature", None)
    assert (entry["provisioner"], entry["account"]) == (PROVISIONER, account.url.rsplit("/", 1)[1])


def test_stale_or_unbound_evidence_is_recorded_with_its_unproven_instance(own_ca: CA) -> None:
    (own_ca.home / "google.json").write_bytes(forge_tokens.key_set(forge_tokens.google()))
    configure(
        own_ca,
        f'\n[[provisioner]]\nname = "GCP"\ntype = "GCP"\nprojects = ["{forge_tokens.vm().project}"]\n'
        'formats = ["gcp-identity"]\njwks = "google.json"\n',
    )
    own_ca.start()
    account, now = own_ca.account(), int(time.time())
    audience = binding("another.challenge").audience
    for step, issued_at in (("binding", now), ("freshness", now - 3600)):
        claims = forge_tokens.vm(created=now - 7200).claims(audience, issued_at)
        evidence = forge_tokens.gcp_identity(claims)
        assert step in outcome(account, f"{step}.local", {"format": evidence.format, **evidence.fields})
        (entry,) = json.loads(own_ca.cli("events", "--name", f"{step}.local", "--json").stdout)
        assert (entry["kind"], entry["step"], entry["proven"]) == ("challenge.refused", step, False)
        assert entry["instance"].endswith(f":{forge_tokens.vm().instance_id}")
        assert (entry["binding"], entry["times"]["iat"]) == ("audience", rfc3339(issued_at))
        assert entry["owner"] in entry["instance"]
    future = restarted(aws.Instance(account=ACCOUNT), 7200)
    assert "freshness" in outcome(account, "foo.local", answer(future))
    (entry,) = json.loads(own_ca.cli("events", "--instance", whole_id(future), "--json").stdout)
    assert (entry["proven"], entry["times"]["pendingTime"]) == (False, rfc3339(future.pending_time))
    assert "the instance is not proven" in own_ca.cli("events", "--limit", "1").stdout


def test_a_good_answer_is_recorded_with_the_one_rule_that_gave_the_name(own_ca: CA, instance: aws.Instance) -> None:
    rules = '["{instance_id}.vm.local", {names = ["db.local"], when = {region = "us-west-2"}}, "*.web.local"]'
    configure(own_ca, f'allow = {rules}\nallow_wildcards = ["*.apps.local"]\n')
    own_ca.cli("provisioner", "add", "Open", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots",
               own_ca.home / "test-roots.pem")  # fmt: skip
    own_ca.start()
    account = own_ca.account()
    for name, provisioner, rule in (
        (f"{instance.instance_id}.vm.local", PROVISIONER, "{instance_id}.vm.local"),
        ("db.local", PROVISIONER, "db.local (when region us-west-2)"),
        ("a.web.local", PROVISIONER, "*.web.local"),
        ("*.apps.local", PROVISIONER, "*.apps.local"),
        (instance.instance_id, PROVISIONER, "own name"),
        ("any.local", "Open", "any name in the domains"),
    ):
        assert outcome(account, name, answer(instance)) == "valid"
        (entry, *_) = json.loads(own_ca.cli("events", "--instance", whole_id(instance), "--json").stdout)
        assert (entry["kind"], entry["provisioner"], entry["rule"]) == ("challenge.valid", provisioner, rule)


def test_orders_and_finalize_requests_that_the_rules_refuse_are_recorded(own_ca: CA, instance: aws.Instance) -> None:
    own_ca.start()
    account = own_ca.account()
    assert problem(account.order("foo.local", "www.example.com")) == "rejectedIdentifier"
    (entry,) = json.loads(own_ca.cli("events", "--name", "www.example.com", "--json").stdout)
    assert (entry["kind"], entry["instance"]) == ("order.refused", None)
    assert entry["identifiers"] == ["foo.local", "www.example.com"]
    assert "outside this CA's domains" in entry["reason"]
    assert "order.refused" in own_ca.cli("events").stdout
    ahead = account.post(
        account.wire.directory["newAuthz"], {"identifier": {"type": "dns", "value": "early.example.com"}}
    )
    assert problem(ahead) == "rejectedIdentifier"
    (early,) = json.loads(own_ca.cli("events", "--name", "early.example.com", "--json").stdout)
    assert (early["kind"], early["account"]) == ("authorization.refused", entry["account"])
    ready, _ = account.prove("a.local", answer=answer(instance))
    own_ca.stop()
    toml = own_ca.home / "ca.toml"
    toml.write_text(toml.read_text().replace('"local"', '"lan"'))
    own_ca.start()
    refused = account.post(ready.json()["finalize"], {"csr": b64(csr("a.local")[1])})
    assert problem(refused) == "unauthorized"
    (later, *_) = json.loads(own_ca.cli("events", "--name", "a.local", "--json").stdout)
    assert (later["kind"], later["instance"]) == ("finalize.refused", whole_id(instance))
    assert later["provisioner"] == PROVISIONER
    assert "the rules have changed" in later["reason"]
    for event in (entry, later):
        assert (event["account"], event["thumbprint"]) == (account.url.rsplit("/", 1)[1], account.key.thumbprint)
        assert event["remote"] == "127.0.0.1"
    # What is no decision of the rules leaves nothing.
    count = len(json.loads(own_ca.cli("events", "--json").stdout))
    assert problem(account.post(ready.json()["finalize"], {"csr": b64(csr("b.local")[1])})) == "badCSR"
    assert len(json.loads(own_ca.cli("events", "--json").stdout)) == count


def test_the_record_of_a_running_server_is_one_chain(shared_ca: CA, account: Account, instance: aws.Instance) -> None:
    account.obtain("foo.local", "bar.local", answer=answer(instance))
    before = shared_ca.cli("events", "--check").stdout
    head = re.search(r"head ([0-9]+:[0-9a-f]{64})$", before, re.MULTILINE)  # more may have come since
    assert head is not None
    shared_ca.cli("instance", "release", instance.instance_id, "--to", shared_ca.account().key.thumbprint, "--revoke")
    after = shared_ca.cli("events", "--check", "--expect", head[1]).stdout
    assert after.startswith("OK: ")
    assert after != before
