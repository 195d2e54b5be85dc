"""The CA behind nginx: another host name, a path prefix, and TLS that ends at the proxy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from interop.clients.certbot import Certbot
from interop.clients.lego import Lego
from interop.harness import Client, Files, Names, Site, examine, new_names
from interop.reverse_proxy import ProxiedCA, knowing
from machine import ec2_machine
from running import ACCOUNT, PROVISIONER, Outcome

from acme_iid.simulator import aws


@pytest.fixture(scope="module")
def proxied(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedCA]:
    ca = ProxiedCA(tmp_path_factory.mktemp("proxied") / "ca")
    ca.init_for_hosts(names.resolver, *ports)
    roots = ca.home / "test-roots.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("provisioner", "add", PROVISIONER, "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots)
    with ca.behind_nginx(tmp_path_factory.mktemp("nginx")):
        yield ca


def test_our_client_orders_renews_and_revokes_behind_a_proxy(
    proxied: ProxiedCA, site: Site, instance: aws.Instance
) -> None:
    site.before = knowing(site.home)
    (name,) = new_names()
    with ec2_machine(site.home, instance) as machine:
        crt, key = machine.crt, machine.key
        env = site.env(**machine.environment)

        def client(*arguments: str | Path) -> Outcome:
            return site.run(sys.executable, "-m", "acme_iid_client", *arguments, env=env)

        client("bootstrap", "--ca-url", proxied.url, "--fingerprint", proxied.fingerprint)
        assert client("health").stdout.strip() == "ok"
        client("order", name, crt, key, "--provisioner", PROVISIONER)
        ordered = examine(Files(crt, crt, key), proxied.root)
        client("renew", "--force", crt, key)
        renewed = examine(Files(crt, crt, key), proxied.root)
        assert renewed.serial != ordered.serial
        client("revoke", "--cert", crt, "--key", key)
        assert proxied.revoked(renewed.serial)


@pytest.mark.parametrize("kind", [Certbot, Lego])
def test_a_client_issues_renews_and_revokes_behind_a_proxy(kind: type[Client], proxied: ProxiedCA, site: Site) -> None:
    site.before = knowing(site.home)
    client = kind(site, proxied)
    issued = examine(client.issue(new_names(), "http-01", "ec"), proxied.root)
    renewed = examine(client.renew(), proxied.root)
    assert renewed.serial != issued.serial
    client.revoke()
    assert proxied.revoked(renewed.serial)
