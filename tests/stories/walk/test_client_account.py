"""The account of a machine at its CA: its key, another key, its end. The CA and the client are the real ones."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws
from acme_iid_client.storage import account_keys


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def of_ca(ca: CA, thumbprint: str) -> dict[str, object]:
    """What the CA's operator sees of an account."""
    shown: dict[str, object] = json.loads(ca.cli("account", "show", "--json", thumbprint).stdout)
    return shown


def files_of(machine: Machine) -> list[Path]:
    return sorted(file for file in (machine.folder / "state" / "accounts").rglob("*") if file.is_file())


def the_key(machine: Machine) -> account_keys.Account:
    """The account's key as the machine has it on its disk."""
    (file,) = (file for file in files_of(machine) if file.suffix == ".json" and not file.name.startswith("."))
    return account_keys.Account(file, "aws", account_keys.new_key()).reread()


def test_the_account_key_is_made_once_and_is_its_owners_alone(vm: Machine) -> None:
    vm.order()
    first = vm.json("account", "show")
    vm.order()
    assert vm.json("account", "show") == first
    assert stat.S_IMODE(Path(first["key_file"]).stat().st_mode) == 0o600
    for part in Path(first["key_file"]).parents:
        if part == vm.folder:
            break
        assert stat.S_IMODE(part.stat().st_mode) == 0o700


def test_show_says_what_the_ca_and_the_disk_have(vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    nobody = vm.try_("account", "show")
    assert nobody.code >= 10
    assert "has no account at" in nobody.stderr
    vm.order()
    shown = vm.json("account", "show")
    assert shown["status"] == "valid"
    assert shown["instance"] == f"aws:{instance.instance_id}"
    assert shown["ca"] == shared_ca.url
    assert shown["account"].startswith(f"{shared_ca.url}/acme/account/")
    assert of_ca(shared_ca, shown["thumbprint"])["account"] == shown["account"].rpartition("/")[2]
    text = vm.run("account", "show").stdout
    assert f"CA:          {shared_ca.url}\n" in text
    assert f"Thumbprint:  {shown['thumbprint']}\n" in text
    assert "PRIVATE KEY" not in text


def test_a_disk_that_was_copied_to_another_instance_gets_a_key_of_its_own(
    vm: Machine, shared_ca: CA, tmp_path: Path, instance: aws.Instance
) -> None:
    vm.order()
    first = vm.json("account", "show")
    other = replace(instance, instance_id=aws.Instance().instance_id)
    with ec2_machine(tmp_path / "clone", other) as clone:
        shutil.rmtree(clone.folder)
        shutil.copytree(vm.folder, clone.folder)
        done = clone.order()
        assert "the disk is a copy" in done.stderr
        second = clone.json("account", "show")
    assert second["thumbprint"] != first["thumbprint"]
    assert second["instance"] == f"aws:{other.instance_id}"
    assert of_ca(shared_ca, second["thumbprint"])["account"] != of_ca(shared_ca, first["thumbprint"])["account"]


def test_a_key_that_a_person_keeps_signs_whatever_is_signed(vm: Machine, shared_ca: CA, tmp_path: Path) -> None:
    key = tmp_path / "account.pem"
    missing = vm.try_("order", "foo.local", vm.crt, vm.key, "--account-key", key)
    assert missing.code >= 10
    # The command that the message names makes it.
    command = missing.stderr.partition("alone: ")[2].strip()
    subprocess.run(["bash", "-c", command], check=True)
    unknown = vm.json("account", "show", "--account-key", key)
    assert (unknown["status"], unknown["account"]) == ("unknown", None)
    vm.order("--account-key", key)
    shown = vm.json("account", "show", "--account-key", key)
    assert shown["key_file"] == str(key)
    assert (shown["instance"], shown["thumbprint"]) == (None, unknown["thumbprint"])
    assert "instances" in of_ca(shared_ca, shown["thumbprint"])
    # What was ordered with it is renewed with it.
    vm.run("renew", "--force", vm.crt, vm.key)
    assert not files_of(vm)
    refused = vm.try_("order", "foo.local", vm.crt, vm.key, "--force")
    assert refused.code >= 10
    assert "belongs to another account key" in refused.stderr
    vm.run("revoke", "--cert", vm.crt, "--account-key", key)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        ("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", 0o644, "chmod 600"),
        ("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", 0o600, "curve P-256"),
        ("openssl genpkey -algorithm ED25519", 0o600, "curve P-256"),
        ("echo hello", 0o600, "no private key in PEM form"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_before_anything_is_sent(
    vm: Machine, tmp_path: Path, content: str, mode: int, message: str
) -> None:
    key = tmp_path / "account.pem"
    key.write_bytes(subprocess.run(content.split(), check=True, capture_output=True).stdout)
    key.chmod(mode)
    done = vm.try_("order", "foo.local", vm.crt, vm.key, "--account-key", key)
    assert done.code >= 10
    assert message in done.stderr
    assert str(key) in done.stderr
    assert not vm.key.exists()


def test_another_key_keeps_the_account_its_instance_and_its_certificates(vm: Machine, shared_ca: CA) -> None:
    vm.order()
    before = vm.json("account", "show")
    told = vm.json("account", "rollover")
    after = vm.json("account", "show")
    assert told["account"] == before["account"] == after["account"]
    assert told["thumbprint"] == after["thumbprint"] != before["thumbprint"]
    assert of_ca(shared_ca, after["thumbprint"])["account"] == before["account"].rpartition("/")[2]
    assert shared_ca.try_cli("account", "show", before["thumbprint"]).code == 1
    assert stat.S_IMODE(Path(after["key_file"]).stat().st_mode) == 0o600
    assert [file.name for file in files_of(vm)] == [Path(after["key_file"]).name]
    vm.run("renew", "--force", vm.crt, vm.key)
    said = vm.run("account", "rollover").stdout
    assert f"The account {before['account']} has a new key, saved in {after['key_file']}." in said
    vm.run("revoke", "--cert", vm.crt)


def test_a_kept_key_is_replaced_in_its_own_file(vm: Machine, tmp_path: Path) -> None:
    key = tmp_path / "account.pem"
    subprocess.run(
        ["bash", "-c", f"umask 077; openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}"],
        check=True,
    )
    vm.order("--account-key", key)
    before = key.read_bytes()
    vm.env["ACME_IID_ACCOUNT_KEY"] = str(key)
    url = vm.json("account", "show")["account"]
    assert vm.json("account", "rollover")["account"] == url
    assert key.read_bytes() != before
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.glob(".*account.pem*")] == []
    vm.run("renew", "--force", vm.crt, vm.key)


def test_an_account_that_does_not_exist_gets_no_other_key(vm: Machine) -> None:
    done = vm.try_("account", "rollover")
    assert done.code >= 10
    assert "has no account at" in done.stderr


def test_a_change_that_was_cut_off_before_the_ca_heard_of_it_is_finished(vm: Machine, shared_ca: CA) -> None:
    vm.order()
    old = the_key(vm)
    new = account_keys.new_key()
    old.keep_coming(new)
    done = vm.run("renew", "--force", vm.crt, vm.key)
    assert "was cut off. It is finished now." in done.stderr
    assert the_key(vm).thumbprint == account_keys.thumbprint(new)
    assert of_ca(shared_ca, account_keys.thumbprint(new))["account"] == str(old.url).rpartition("/")[2]
    assert len(files_of(vm)) == 1
    assert "cut off" not in vm.run("renew", "--force", vm.crt, vm.key).stderr


@pytest.mark.parametrize(
    "command",
    [
        ("order", "bar.local", "bar.crt", "bar.key", "--force"),
        ("renew", "--force", "foo.crt", "foo.key"),
        ("revoke", "--cert", "foo.crt"),
        ("account", "show"),
        ("account", "rollover"),
    ],
)
def test_a_change_cut_off_after_the_ca_made_it_is_finished_at_next_use(vm: Machine, command: tuple[str, ...]) -> None:
    vm.order()
    old = the_key(vm)
    content = old.file.read_bytes()
    vm.run("account", "rollover")
    # The disk as it was when the CA had answered: the old key in its place, the new one beside it.
    new = the_key(vm).key
    old.file.write_bytes(content)
    old.keep_coming(new)
    done = vm.run(*(vm.folder / word if word.endswith((".crt", ".key")) else word for word in command))
    assert "was cut off. It is finished now." in done.stderr
    if command != ("account", "rollover"):
        assert the_key(vm).thumbprint == account_keys.thumbprint(new)
    assert len(files_of(vm)) == 1
    assert vm.json("account", "show")["account"] == old.url


def test_a_change_with_its_new_key_already_in_place_only_needs_tidying(vm: Machine) -> None:
    vm.order()
    known = the_key(vm)
    known.keep_coming(known.key)
    done = vm.run("account", "show")
    assert "cut off" not in done.stderr
    assert len(files_of(vm)) == 1


def test_a_change_that_the_ca_does_not_hear_of_keeps_both_keys(
    own_ca: CA, tmp_path: Path, instance: aws.Instance
) -> None:
    own_ca.start()
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(own_ca)
        vm.order()
        old = the_key(vm)
        own_ca.kill()
        done = vm.try_("account", "rollover", "--timeout", "2")
        assert done.code >= 10
        assert "cannot be reached" in done.stderr
        kept = old.coming()
        assert kept is not None
        assert the_key(vm).thumbprint == old.thumbprint
        own_ca.start()
        vm.run("renew", "--force", vm.crt, vm.key)
        assert the_key(vm).thumbprint == account_keys.thumbprint(kept)


def test_two_changes_at_once_leave_a_key_that_counts(vm: Machine) -> None:
    vm.order()
    running = [vm.begin("account", "rollover") for _ in range(3)]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
    vm.run("renew", "--force", vm.crt, vm.key)
    assert len(files_of(vm)) == 1


def test_an_account_is_ended_only_on_a_clear_word(vm: Machine) -> None:
    vm.order()
    done = vm.try_("account", "deactivate")
    assert done.code >= 10
    assert "--force" in done.stderr
    assert vm.json("account", "show")["status"] == "valid"


def test_after_its_account_has_ended_only_an_operator_lets_an_instance_in(vm: Machine, shared_ca: CA) -> None:
    vm.order()
    before = vm.json("account", "show")
    said = vm.run("account", "deactivate", "--force").stdout
    assert f"The account at {shared_ca.url} has been deactivated." in said
    aside = Path(said.rpartition("moved to ")[2].strip().removesuffix("."))
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert of_ca(shared_ca, before["thumbprint"])["deactivated"] is not None
    refused = vm.try_("renew", "--force", vm.crt, vm.key)
    assert refused.code >= 10
    command = refused.stderr.partition("acme-iid-ca ")[2].splitlines()[0].strip(" '.`")
    assert command.startswith("instance release")
    shared_ca.cli(*command.split())
    vm.run("renew", "--force", vm.crt, vm.key)
    assert vm.json("account", "show")["thumbprint"] != before["thumbprint"]


def test_an_account_that_an_operator_ended_is_explained_and_set_aside(vm: Machine, shared_ca: CA) -> None:
    vm.order()
    shown = vm.json("account", "show")
    shared_ca.cli("account", "deactivate", shown["thumbprint"])
    refused = vm.try_("renew", "--force", vm.crt, vm.key)
    assert refused.code >= 10
    assert "this account is deactivated" in refused.stderr
    assert "acme-iid account deactivate" in refused.stderr
    assert vm.json("account", "show")["status"] == "deactivated"
    vm.run("account", "deactivate", "--force")
    assert "acme-iid-ca instance release" in vm.try_("renew", "--force", vm.crt, vm.key).stderr
