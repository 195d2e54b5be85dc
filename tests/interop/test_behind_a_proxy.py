"""The CA behind nginx: another host name, a path prefix, and TLS that ends at the proxy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from interop.harness import Files, Site, examine
from interop.reverse_proxy import ProxiedCA, knowing
from running import PROVISIONER, Outcome

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[ProxiedCA]:
    ca = ProxiedCA(tmp_path / "ca")
    ca.init()
    home = tmp_path / "nginx"
    home.mkdir()
    with ca.behind_nginx(home):
        yield ca


def test_our_client_orders_renews_and_revokes(proxied: ProxiedCA, site: Site, instance: aws.Instance) -> None:
    with serve(aws.tree(instance, forge.keys())) as service:
        env = site.env(
            ACME_IID_CONFIG_DIR=site.home / "config",
            ACME_IID_STATE_DIR=site.home / "state",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url,
        )

        def client(*arguments: str) -> Outcome:
            return site.run(*knowing(site.home / "hosts"), sys.executable, "-m", "acme_iid_client", *arguments, env=env)

        client("bootstrap", "--ca-url", proxied.url, "--fingerprint", proxied.fingerprint)
        assert client("health").stdout.strip() == "ok"
        client("order", "foo.local", "foo.crt", "foo.key", "--provisioner", PROVISIONER)
        crt, key = site.home / "foo.crt", site.home / "foo.key"
        first = openssl_serial(crt, key, proxied)
        client("renew", "--force", "foo.crt", "foo.key")
        second = openssl_serial(crt, key, proxied)
        assert first != second
        client("revoke", "--cert", "foo.crt", "--key", "foo.key")
        assert '"revoked"' in proxied.cli("certificate", "show", str(second), "--json").stdout


def openssl_serial(crt: Path, key: Path, ca: ProxiedCA) -> int:
    return examine(Files(crt, crt, key), ca.root).serial
