"""A CA with the name constraints that init gives: server URLs of all kinds, and a domain that is added later."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import forge
import pytest
import requests
from cryptography import x509
from machine import Machine, ec2_machine
from pki.rotating import activate, hang_up, until
from running import ACCOUNT, CA, PROVISIONER, answer, run_module
from wire import Account, problem

from acme_iid.issuance.home import load_certificate
from acme_iid.simulator import aws

NEW = "corp.example"


@dataclass
class At(CA):
    """A CA whose URL has another host."""

    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


@contextmanager
def serving(ca: CA, *options: str) -> Iterator[None]:
    """A CA that is made as init makes it, for instances of the forge, and runs."""
    listen = "[::1]" if "::1" in ca.url else "127.0.0.1"
    ca.cli("init", "--name", "My CA", "--domain", "local", "--url", ca.url, "--listen", f"{listen}:{ca.port}", *options)
    roots = ca.home / "test-roots.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)
    ca.start()
    try:
        yield
    finally:
        ca.stop()


def names(machine: Machine) -> list[str]:
    leaf = x509.load_pem_x509_certificate(machine.crt.read_bytes())
    return [str(name.value) for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


def verified(machine: Machine, root: Path) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-CAfile", root, "-untrusted", machine.crt, machine.crt]
    return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_server_by_name_or_address_is_permitted(host: str, tmp_path: Path, instance: aws.Instance) -> None:
    ca = At(tmp_path / "ca", host=host)
    with serving(ca), ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        done = vm.try_("order", instance.instance_id, vm.crt, vm.key)
        assert done.code == 0, done.stderr
        assert names(vm) == [instance.private_name, instance.private_ip]
        # The id itself is not offered, and the client says why.
        assert "a bare instance id is in no domain" in done.stderr
        assert verified(vm, ca.root)


def test_the_server_at_another_address_is_a_configuration_error(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--url", "https://203.0.113.7", "--listen", f"127.0.0.1:{ca.port}", "--no-permitted-network")
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("203.0.113.7", "203.0.113.8"))
    said = ca.start_refused()
    assert "the name constraints shut out the server itself, 203.0.113.8" in said
    assert "issuer rotate prepare" in said


def issuers(ca: CA) -> set[str]:
    return {entry["id"] for entry in json.loads(ca.cli("issuer", "list", "--json").stdout)}


def order_address(account: Account) -> requests.Response:
    """Order a public address."""
    identifiers = [{"type": "ip", "value": "203.0.113.9"}]
    return account.post(account.wire.directory["newOrder"], {"identifiers": identifiers})


def test_a_new_domain_is_issued_once_the_next_issuer_signs(tmp_path: Path, instance: aws.Instance) -> None:
    ca = CA(tmp_path / "ca")
    with serving(ca):
        account = ca.account()
        refused = account.order(f"a.{NEW}")
        assert problem(refused) == "rejectedIdentifier"
        assert "issuer rotate prepare --domain DOMAIN" in refused.json()["detail"]
        file = ca.home / "ca.toml"
        before = file.read_text()
        wider = before.replace('domains = ["local"]', f'domains = ["local", "{NEW}"]')
        assert wider != before
        # Too early: the server goes on with what it has, and check and a new server say what is wrong.
        file.write_text(wider)
        hang_up(ca)
        ca.until_logged(f"the domain {NEW} in [ca] domains is wider than the name constraints")
        checked = ca.try_cli("check")
        assert checked.code == 2
        assert f"acme-iid-ca issuer rotate prepare --domain {NEW}" in checked.stderr
        assert account.order("foo.local").status_code == 201
        file.write_text(before)
        first = issuers(ca)
        said = ca.cli("issuer", "rotate", "prepare", "--domain", NEW, "--permit-network", "203.0.113.0/24").stdout
        assert f"Then add {NEW} to domains" in said
        (second,) = issuers(ca) - first
        hang_up(ca)
        assert "rotate prepare --permit-network NETWORK" in order_address(account).json()["detail"]
        assert f"It permits {NEW}. For names there" in activate(ca, second)
        # The constraints are those of the issuer that signs, with no word to the server.
        until(lambda: order_address(account).status_code == 201)
        file.write_text(wider)
        hang_up(ca)
        until(lambda: account.order(f"a.{NEW}").status_code == 201)
        certificate = account.obtain(f"b.{NEW}", answer=answer(instance))
        _, issuer = x509.load_pem_x509_certificates(certificate.chain.encode())
        assert issuer == load_certificate(ca.home / "issuers" / second / "certificate.pem")
        explained = ca.cli("provisioner", "test", "--fact", f"account={ACCOUNT}", f"b.{NEW}").stdout
        assert f"would give b.{NEW}" in explained


def test_cross_sign_takes_the_issuer_that_signs_or_the_one_that_is_named(tmp_path: Path, own_ca: CA) -> None:
    other = CA(tmp_path / "other")
    assert run_module("acme_iid.cli", "--home", other.home, "init", "--name", "Other CA").code == 0
    by = ("--root-cert", other.root, "--root-key", other.root_key)
    (first,) = issuers(own_ca)
    own_ca.start()
    own_ca.cli("issuer", "rotate", "prepare", "--domain", NEW)
    (second,) = issuers(own_ca) - {first}
    hang_up(own_ca)
    activate(own_ca, second)
    own_ca.stop()
    keys = {entry: load_certificate(own_ca.home / "issuers" / entry / "certificate.pem") for entry in (first, second)}
    own_ca.cli("cross-sign", *by, tmp_path / "signing.pem")
    own_ca.cli("cross-sign", *by, "--issuer", first[:6], tmp_path / "first.pem")
    for entry, name in ((second, "signing.pem"), (first, "first.pem")):
        crossed, _ = x509.load_pem_x509_certificates((tmp_path / name).read_bytes())
        assert crossed.public_key() == keys[entry].public_key()
        limits = [extension.value for extension in crossed.extensions if extension.oid._name == "nameConstraints"]
        assert len(limits) == (entry == second)  # the first was made without
    assert "there is no issuer 'ffff'" in own_ca.try_cli("cross-sign", *by, "--issuer", "ffff", tmp_path / "x").stderr
    # Both are offered, each for its issuer's certificates.
    file = own_ca.home / "ca.toml"
    chains = f'alternate_chains = ["{tmp_path}/signing.pem", "{tmp_path}/first.pem"]\n\n[server]'
    file.write_text(file.read_text().replace("\n[server]", chains, 1))
    own_ca.start()
    account = own_ca.account()
    issued = account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
    response = account.post(account.post(issued.order).json()["certificate"])
    assert response.headers["Link"].count('rel="alternate"') == 1
    assert '/1>;rel="alternate"' in response.headers["Link"].replace(" ", "")


def test_an_issuer_that_would_shut_out_a_domain_is_not_activated(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    with serving(ca):
        first = issuers(ca)
        ca.cli("issuer", "rotate", "prepare")
        (second,) = issuers(ca) - first
        file = ca.home / "ca.toml"
        file.write_text(file.read_text().replace('domains = ["local"]', f'domains = ["local", "{NEW}"]'))
        refused = ca.try_cli("issuer", "rotate", "activate", second)
        assert refused.code == 1
        assert f"the domain {NEW} in [ca] domains is wider than the name constraints" in refused.stderr


def test_a_root_with_constraints_permits_no_further_domain(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--domain", "local", "--constrain-root")
    before = issuers(ca)
    refused = ca.try_cli("issuer", "rotate", "prepare", "--domain", NEW)
    assert refused.code == 1
    assert "root" in refused.stderr.lower()
    assert f"not {NEW}" in refused.stderr
    assert issuers(ca) == before
    ca.cli("issuer", "rotate", "prepare")


def test_init_says_what_is_permitted_and_what_is_not_offered(tmp_path: Path) -> None:
    said = CA(tmp_path / "one").cli("init", "--domain", "local").stdout
    assert "local, " in said
    assert "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7" in said
    assert "A bare instance id" in said
    assert "issuer rotate prepare --domain DOMAIN" in said
    assert "uri.invalid" not in said
    assert "name constraints" not in CA(tmp_path / "two").cli("init", "--no-name-constraints").stdout
