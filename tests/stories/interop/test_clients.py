"""Clients that we did not write issue, renew and revoke, each as its distribution or registry built it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from interop.clients.acme_tiny import AcmeTiny
from interop.clients.acmetool import Acmetool
from interop.clients.caddy import Caddy
from interop.clients.certbot import Certbot
from interop.clients.dehydrated import Dehydrated
from interop.clients.lacme import Lacme
from interop.clients.lego import Lego
from interop.clients.libraries import Go, Node, Ruby
from interop.clients.mod_md import ModMd
from interop.clients.uacme import Uacme
from interop.harness import Client, Files, Server, Site, examine, new_names
from interop.ours import Ours
from pages import page, table
from running import run_module

CLIENTS: tuple[type[Client], ...] = (
    Certbot, Lego, Dehydrated, AcmeTiny, Uacme, Lacme, Acmetool, ModMd, Caddy, Node, Go, Ruby,
)  # fmt: skip
DISTRUST = re.compile(
    "unknown authority|verify failed|unable to verify|local issuer|curl returned with 60|peer certificate",
    re.IGNORECASE,
)
WAYS = [pytest.param(client, challenge, id=f"{client.__name__}-{challenge}")
        for client in CLIENTS for challenge in client.challenges]  # fmt: skip


@pytest.mark.parametrize(("kind", "challenge"), WAYS)
def test_a_client_issues_renews_and_revokes(kind: type[Client], challenge: str, server: Server, site: Site) -> None:
    """By http-01 two names, by dns-01 a name and its wildcard, both with P-256; by tls-alpn-01 one with RSA."""
    issue_renew_and_revoke(kind(site, server), challenge)


def issue_renew_and_revoke(client: Client, challenge: str) -> None:
    """Have a client get certificates as :func:`test_a_client_issues_renews_and_revokes` says, and revoke the second."""
    server, site = client.server, client.site
    if challenge == "dns-01":
        (base,) = new_names()
        names = [base, f"*.{base}"]
    else:
        names = new_names(2 if challenge == "http-01" and client.joins_names else 1)
    key = "rsa" if challenge == "tls-alpn-01" else "ec"

    issued = examine(client.issue(names, challenge, key), server.issuing_root)
    assert issued.names == frozenset(names)
    assert issued.algorithm == key

    site.names.tell("clear-txt", host=f"_acme-challenge.{names[0]}.")
    files = client.renew()
    renewed = examine(files, server.issuing_root)
    assert renewed.names == issued.names
    assert renewed.serial != issued.serial

    assert not server.revoked(renewed.serial)
    if client.revokes_by is None:
        revoke_by_key(server, files)
    else:
        client.revoke()
    assert server.revoked(renewed.serial)
    assert not server.revoked(issued.serial)


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if "tls-alpn-01" not in kind.challenges])
def test_a_client_gets_one_name_with_an_rsa_key(kind: type[Client], server: Server, site: Site) -> None:
    """The others have theirs by tls-alpn-01."""
    names = new_names()
    issued = examine(kind(site, server).issue(names, "http-01", "rsa"), server.issuing_root)
    assert issued.names == frozenset(names)
    assert issued.algorithm == "rsa"


def revoke_by_key(server: Server, files: Files) -> None:
    """Revoke with our own client, for a client that cannot: it takes the certificate's key and nothing else."""
    ca_url = server.directory.removesuffix("/acme/directory")
    done = run_module(
        "acme_iid_client", "revoke", "--ca-url", ca_url, "--root", server.root, "--cert", files.leaf, "--key", files.key
    )
    assert done.code == 0, done.stderr


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_is_its_distributions_or_registrys_own(kind: type[Client], server: Server, site: Site) -> None:
    assert kind(site, server).installed().startswith(kind.version)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_trusts_nothing_but_the_root_it_was_given(
    kind: type[Client], server: Server, site: Site, another_root: Path
) -> None:
    client = kind(site, server, root=another_root)
    with pytest.raises(AssertionError, match=DISTRUST):
        client.issue(new_names(), client.challenges[0], "ec")


@pytest.mark.parametrize("kind", [kind for kind in CLIENTS if kind.binds])
def test_a_client_makes_an_account_with_an_external_account_key(
    kind: type[Client], binding_server: Ours, site: Site
) -> None:
    names = new_names()
    key = binding_server.external_account()
    issued = examine(kind(site, binding_server, eab=key).issue(names, "http-01", "ec"), binding_server.issuing_root)
    assert issued.names == frozenset(names)
    (listed,) = [entry for entry in binding_server.external_accounts() if entry["key_id"] == key.kid]
    assert listed["account"] == binding_server.record(issued.serial)["account"]


def test_the_page_lists_what_each_client_does_here() -> None:
    assert table(page("docs/how-to/other-clients.md"), "client") == [
        [
            *(kind.name, kind.version.rstrip("."), ", ".join(kind.challenges), kind.renews_by),
            *(kind.revokes_by or "with our client", "yes" if kind.binds else "no"),
        ]
        for kind in CLIENTS
    ]
