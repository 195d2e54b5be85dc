"""One machine and several CAs: the first is the default, the others are chosen by their address."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
from machine import ec2_machine
from running import ACCOUNT, CA, PROVISIONER, run_module
from scripted_ca import ScriptedCA, new_issuer, serve

from acme_iid.simulator import aws
from acme_iid_client.x509.certificates import fingerprint, load_certificates

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def first(tmp_path: Path) -> Iterator[ScriptedCA]:
    (tmp_path / "first").mkdir()
    with serve(tmp_path / "first") as running:
        yield running


@pytest.fixture
def second(tmp_path: Path) -> Iterator[ScriptedCA]:
    (tmp_path / "second").mkdir()
    with serve(tmp_path / "second") as running:
        yield running


def bootstrap(acme_iid: Run, ca: ScriptedCA, *options: str) -> subprocess.CompletedProcess[str]:
    return acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate), *options)


def asked(acme_iid: Run, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return acme_iid("health", *options, env=env)


def test_a_second_ca_stands_beside_the_first_and_is_chosen_by_its_address(
    acme_iid: Run, first: ScriptedCA, second: ScriptedCA, tmp_path: Path
) -> None:
    bootstrap(acme_iid, first)
    said = bootstrap(acme_iid, second)
    assert said.returncode == 0, said.stderr
    assert f"Commands talk to {first.url} unless they have --ca-url {second.url}" in said.stderr
    config = tmp_path / "config/acme-iid"
    assert (config / "certs/root_ca.crt").read_bytes() == first.root.pem
    saved = Path(said.stdout.splitlines()[0].removeprefix("The root certificate has been saved in ").removesuffix("."))
    assert saved.read_bytes() == second.root.pem
    assert asked(acme_iid).returncode == 0
    assert (first.paths()[-1], second.asked.count(("/health", None))) == ("/health", 1)
    assert asked(acme_iid, "--ca-url", second.url).returncode == 0
    assert asked(acme_iid, env={"ACME_IID_CA_URL": second.url.removeprefix("https://")}).returncode == 0
    assert second.asked.count(("/health", None)) == 3


def test_an_unknown_ca_is_answered_with_those_that_are_known(
    acme_iid: Run, first: ScriptedCA, second: ScriptedCA
) -> None:
    bootstrap(acme_iid, first)
    bootstrap(acme_iid, second)
    done = asked(acme_iid, "--ca-url", "https://ca.local")
    assert done.returncode >= 10
    assert f"knows {first.url} and {second.url}, and not https://ca.local" in done.stderr


def test_another_default_is_a_clear_word_and_keeps_the_one_before(
    acme_iid: Run, first: ScriptedCA, second: ScriptedCA, tmp_path: Path
) -> None:
    bootstrap(acme_iid, first, "--azure-resource", "api://first")
    assert bootstrap(acme_iid, second, "--default").stderr == ""
    config = tmp_path / "config/acme-iid"
    assert json.loads((config / "authority.json").read_text())["ca_url"] == second.url
    assert (config / "certs/root_ca.crt").read_bytes() == second.root.pem
    before = second.asked.count(("/health", None))
    assert asked(acme_iid).returncode == 0
    assert second.asked.count(("/health", None)) == before + 1
    assert asked(acme_iid, "--ca-url", first.url).returncode == 0
    (kept,) = [
        known
        for known in map(json.loads, (file.read_text() for file in (config / "authorities").rglob("authority.json")))
        if known["ca_url"] == first.url
    ]
    assert kept["azure_resource"] == "api://first"
    assert bootstrap(acme_iid, first, "--default").returncode == 0
    assert json.loads((config / "authority.json").read_text())["ca_url"] == first.url
    assert asked(acme_iid, "--ca-url", second.url).returncode == 0


@pytest.mark.parametrize("which", ["first", "second"])
def test_another_root_for_a_known_ca_wants_force(
    acme_iid: Run, first: ScriptedCA, second: ScriptedCA, tmp_path: Path, which: str
) -> None:
    bootstrap(acme_iid, first)
    bootstrap(acme_iid, second)
    ca = {"first": first, "second": second}[which]
    files = [file for file in (tmp_path / "config").rglob("root_ca.crt") if file.read_bytes() == ca.root.pem]
    known = files[0].read_bytes()
    # The CA that this machine knows is gone, and another answers at its address; it proves itself by its own root.
    other = new_issuer("Another Root CA")
    files[0].write_bytes(other.pem)
    refused = bootstrap(acme_iid, ca)
    assert refused.returncode >= 10
    assert f"{files[0]} exists already. Use --force" in refused.stderr
    assert files[0].read_bytes() == other.pem
    assert bootstrap(acme_iid, ca, "--force").returncode == 0
    assert files[0].read_bytes() == known


def test_the_client_renews_and_revokes_at_the_ca_that_issued(
    shared_ca: CA, own_ca: CA, tmp_path: Path, instance: aws.Instance
) -> None:
    own_ca.start()
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(shared_ca)
        vm.bootstrap(own_ca)
        other = vm.folder / "other.crt", vm.folder / "other.key"
        vm.order()
        vm.run("order", "foo.local", *other, "--ca-url", own_ca.url)
        root = load_certificates(own_ca.root.read_bytes())[0]
        vm.run("renew", "--force", *other)
        load_certificates(other[0].read_bytes())[1].verify_directly_issued_by(root)
        assert {row["ca"] for row in vm.json("list")} == {shared_ca.url, own_ca.url}
        # Without a record, the certificate itself says whose it is.
        shutil.rmtree(vm.folder / "state/certificates")
        vm.run("renew", "--force", *other)
        load_certificates(other[0].read_bytes())[1].verify_directly_issued_by(root)
        vm.run("revoke", "--cert", other[0], "--key", other[1])
        assert vm.try_("renew", "--force", *other).code >= 10
        assert vm.run("renew", "--force", vm.crt, vm.key).code == 0
        # Each CA knows its own account key, so that what one learns opens nothing at the other.
        first, second = (vm.json("account", "show", "--ca-url", ca.url) for ca in (shared_ca, own_ca))
        assert first["thumbprint"] != second["thumbprint"]


def test_a_ca_without_bootstrap_takes_its_address_and_its_root(
    shared_ca: CA, tmp_path: Path, instance: aws.Instance
) -> None:
    with ec2_machine(tmp_path / "vm", instance) as vm:
        where = ("--ca-url", shared_ca.url, "--root", shared_ca.root)
        vm.order(*where)
        vm.run("renew", "--force", vm.crt, vm.key, *where)
        assert vm.json("account", "show", *where)["ca"] == shared_ca.url


def test_one_of_several_provisioners_is_asked_for_by_its_name(
    own_ca: CA, tmp_path: Path, instance: aws.Instance
) -> None:
    roots = own_ca.home / "test-roots.pem"
    assert roots.read_bytes() == forge.keys().certificates
    own_ca.cli("provisioner", "add", "Staging VMs", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots,
               "--allow", "*.staging.local")  # fmt: skip
    own_ca.start()
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(own_ca)
        for name, provisioner in (("a.staging.local", "Staging VMs"), ("b.staging.local", PROVISIONER)):
            pair = vm.folder / f"{name}.crt", vm.folder / f"{name}.key"
            done = vm.run("order", name, *pair, "--provisioner", provisioner)
            assert f"Provisioner: {provisioner} (AWS)" in done.stderr
            vm.run("renew", "--force", *pair)
            assert vm.json("inspect", pair[0])["provisioner"]["name"] == provisioner
        refused = vm.try_("order", "foo.local", vm.crt, vm.key, "--provisioner", "Staging VMs")
        assert refused.code >= 10
        assert "Staging VMs" in refused.stderr
        unknown = vm.try_("order", "foo.local", vm.crt, vm.key, "--provisioner", "Nobody")
        assert unknown.code >= 10
        assert "Nobody" in unknown.stderr


def test_a_machine_trusts_the_old_and_the_new_root_of_a_ca(own_ca: CA, tmp_path: Path, instance: aws.Instance) -> None:
    new = tmp_path / "new"
    assert run_module("acme_iid.cli", "--home", new, "init", "--name", "New CA").code == 0
    chain = own_ca.home / "certs" / "alternate.crt"
    root = CA(new).root
    own_ca.cli("cross-sign", "--root-cert", root, "--root-key", CA(new).root_key, chain)
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("\n[server]", f'alternate_chains = ["{chain}"]\n\n[server]', 1))
    own_ca.start()
    digits = fingerprint(load_certificates(root.read_bytes())[0])
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(own_ca)
        vm.order()
        before = vm.json("account", "show")
        bootstrap = ("bootstrap", "--ca-url", own_ca.url, "--force", "--fingerprint")
        vm.run(*bootstrap, digits, "--fingerprint", own_ca.fingerprint)
        roots = load_certificates((vm.folder / "config/certs/root_ca.crt").read_bytes())
        assert [fingerprint(certificate) for certificate in roots] == [own_ca.fingerprint, digits]
        vm.run("renew", "--force", vm.crt, vm.key)
        load_certificates(vm.crt.read_bytes())[1].verify_directly_issued_by(roots[0])
        assert vm.json("account", "show") == before
        # The server itself is still under the old root.
        assert "does not verify under the CA's root certificate" in vm.try_(*bootstrap, digits).stderr
        assert vm.run("health").stdout == "ok\n"
