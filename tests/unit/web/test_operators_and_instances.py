"""What operators can do about instances, and what revocation does to them, on the wire and by commands."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from refused_answers import refused
from running import ACCOUNT, CA, answer, restarted
from wire import Account, b64, csr, problem

from acme_iid.simulator import aws


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
        (("show", "i-00000000"), "is not known here"),
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
