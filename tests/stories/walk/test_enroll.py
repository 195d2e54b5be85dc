"""acme-iid enroll, as its owner types it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from enrolling import issue, register, whole_id
from machine import Machine, ec2_machine
from running import CA

from acme_iid.simulator import aws
from acme_iid.store.database import open_store

NAMES = ("foo.local", "bar.local")


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def test_the_key_that_is_printed_makes_a_delegate_and_is_kept_nowhere(vm: Machine, shared_ca: CA) -> None:
    done = vm.run("enroll", *NAMES, "--format", "json")
    given = json.loads(done.stdout)
    assert given["server"] == shared_ca.directory
    assert given["names"] == sorted(NAMES)
    assert Path(given["ca_bundle"]).read_bytes() == shared_ca.root.read_bytes()
    made, account = register(shared_ca.wire(), {"kid": given["kid"], "hmacKey": given["hmac_key"]})
    assert made.status_code == 201, made.text
    issue(account, *NAMES)
    kept = [file for file in vm.folder.rglob("*") if file.is_file()]
    assert not any(given["hmac_key"].encode() in file.read_bytes() for file in kept)
    assert given["hmac_key"] not in done.stderr + "".join(shared_ca.log)


def test_without_a_name_it_is_for_all_that_the_instance_may_hold(vm: Machine, instance: aws.Instance) -> None:
    given = json.loads(vm.run("enroll", "--format", "json").stdout)
    assert instance.private_ip in given["names"]
    assert len(given["names"]) > 1


def test_each_form_has_what_its_client_needs(vm: Machine, shared_ca: CA) -> None:
    for kind in (
        "text", "env", "caddy", "traefik", "lego", "acme.sh", "cert-manager", "certbot", "uacme", "dehydrated",
    ):  # fmt: skip
        text = vm.run("enroll", *NAMES, "--format", kind).stdout
        assert shared_ca.directory in text, kind
        for name in () if kind in ("traefik", "cert-manager", "dehydrated") else NAMES:
            assert name in text, kind
        assert ("caBundle: " if kind == "cert-manager" else "root_ca.crt") in text, kind
    env = dict(line.split("=", 1) for line in vm.run("enroll", *NAMES, "--format", "env").stdout.splitlines())
    assert shlex.split(env["ACME_NAMES"]) == ["bar.local foo.local"]
    assert env["ACME_EAB_KID"]


def test_renew_proves_anew_what_was_enrolled(vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    first = json.loads(vm.run("enroll", "foo.local", "--format", "json").stdout)
    store = open_store(shared_ca.store_url)
    with store.transaction() as transaction:
        transaction.run("UPDATE enrolments SET expires_at = 7, proven_at = 6 WHERE id = :id", id=first["enrolment"])
    store.close()
    (renewed,) = json.loads(vm.run("enroll", "--renew", "--format", "json").stdout)
    assert renewed["enrolment"] == first["enrolment"]
    assert renewed["until"] >= first["until"]
    assert vm.run("enroll", "--renew", "foo.local").stdout.startswith("foo.local: enrolled until ")
    assert "has no enrolment for these names" in vm.try_("enroll", "--renew", "bar.local").stderr
    shared_ca.cli(
        "instance",
        "release",
        whole_id(instance),
        "--to",
        json.loads(vm.run("account", "show", "--json").stdout)["thumbprint"],
    )
    refused = vm.try_("enroll", "--renew")
    assert refused.code >= 10
    assert "the enrolment has ended: the instance was released" in refused.stderr
    assert "has no enrolment." in vm.try_("enroll", "--renew").stderr


def test_a_name_that_the_instance_may_not_hold_is_refused_with_the_reason(vm: Machine) -> None:
    refused = vm.try_("enroll", "foo.example")
    assert refused.code >= 10
    assert "outside this CA's domains" in refused.stderr


@pytest.mark.parametrize("options", [("--renew", "--for-user", "root"), ("--renew", "--format", "caddy"), ("foo bar",)])
def test_what_does_not_go_together_is_a_usage_error(vm: Machine, options: tuple[str, ...]) -> None:
    assert vm.try_("enroll", *options).code == 2


def test_a_user_who_does_not_exist_is_said_before_anything_is_asked(vm: Machine) -> None:
    refused = vm.try_("enroll", "foo.local", "--for-user", "nobody-of-that-name")
    assert (refused.code, "There is no user" in refused.stderr) == (12, True)
