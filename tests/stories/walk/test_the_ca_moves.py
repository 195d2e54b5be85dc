"""A CA gets another address: the machines that know it are told once, and go on with what they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import CA
from scripted_ca import serve
from wire import Account, Wire, problem

from acme_iid.simulator import aws
from acme_iid_client.x509.certificates import fingerprint


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        yield machine


class Moved(CA):
    """The same CA at another address."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


def move(ca: CA, *, listed: bool) -> Moved:
    """Give a CA another address, with the former one in its configuration or not."""
    ca.stop()
    file = ca.home / "ca.toml"
    moved = Moved(ca.home, ca.port)
    former = f'\nformer_urls = ["{ca.url}"]' if listed else ""
    file.write_text(file.read_text().replace(f'url = "{ca.url}"', f'url = "{moved.url}"{former}', 1))
    moved.start()
    return moved


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
def test_a_machine_keeps_account_and_renewals(own_ca: CA, vm: Machine, listed: bool) -> None:
    own_ca.start()
    vm.bootstrap(own_ca)
    vm.order()
    before = vm.json("account", "show")
    ca = move(own_ca, listed=listed)
    try:
        vm.run("bootstrap", "--ca-url", ca.directory, "--fingerprint", ca.fingerprint)
        assert vm.run("health").stdout == "ok\n"
        vm.run("renew", "--force", vm.crt, vm.key)
        vm.run("renew", "--force", "--ca-url", own_ca.url)
        after = vm.json("account", "show")
        assert after["account"] == before["account"].replace(own_ca.url, ca.url)
        assert {**after, "account": 0, "ca": 0} == {**before, "account": 0, "ca": 0}
        assert len(json.loads(ca.cli("account", "list", "--json").stdout)) == 1
        assert [item["status"] for item in vm.json("list")] == ["valid"]
        vm.run("revoke", "--cert", vm.crt)
        vm.run("account", "rollover")
    finally:
        ca.stop()


def test_an_account_url_at_a_former_address_leads_to_the_present_one(own_ca: CA) -> None:
    own_ca.start()
    account = Account.new(own_ca.wire())
    order = account.order("foo.local").headers["Location"]
    ca = move(own_ca, listed=True)
    try:
        wire = Wire(ca.directory, ca.root)
        refused = wire.post(wire.directory["newOrder"], {"identifiers": []}, account.key, account.url)
        assert (refused.status_code, problem(refused)) == (400, "accountDoesNotExist")
        found = wire.post(wire.directory["newAccount"], {"onlyReturnExisting": True}, account.key)
        assert found.headers["Location"] == account.url.replace(own_ca.url, ca.url)
        now = Account(wire, account.key, found.headers["Location"])
        # A proxy may serve both addresses: a request is for the one that it was signed for.
        body = wire.body(order, None, now.key, now.url)
        assert wire.send(order.replace(own_ca.url, ca.url), body).json()["status"] == "pending"
        elsewhere = wire.body("https://other.local/acme/order/x", None, now.key, now.url)
        assert problem(wire.send(order.replace(own_ca.url, ca.url), elsewhere)) == "unauthorized"
        stranger = wire.post(now.url, None, now.key, "https://other.local/acme/account/x")
        assert problem(stranger) == "malformed"
    finally:
        ca.stop()


def test_the_address_of_now_is_no_former_one(own_ca: CA) -> None:
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[server]", f'[server]\nformer_urls = ["{own_ca.url}"]', 1))
    assert "which is the present 'url'" in own_ca.try_cli("account", "list").stderr


def test_a_ca_with_the_same_root_is_the_same_at_another_address(vm: Machine, tmp_path: Path) -> None:
    with serve(tmp_path) as first:
        digest = fingerprint(first.root.certificate)
        vm.run("bootstrap", "--ca-url", first.url, "--fingerprint", digest)
        other = first.url.replace("127.0.0.1", "localhost")
        vm.run("bootstrap", "--ca-url", other, "--fingerprint", digest)
    known = json.loads((vm.folder / "config" / "authority.json").read_text())
    assert (known["ca_url"], known["former_urls"]) == (other, [first.url])
    assert not (vm.folder / "config" / "authorities").exists()
