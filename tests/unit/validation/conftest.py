"""Fixtures: a name server and a web server on loopback, and what is looked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from responders import Host, Look, Names, Web

from acme_iid.config.parsers import listen_address, network
from acme_iid.policy.hosts import CHALLENGES, HostProvisioner
from acme_iid.protocol.identifiers import from_text
from acme_iid.validation.attempt import Attempt


@pytest.fixture
def names() -> Iterator[Names]:
    server = Names()
    server.set("foo.local", "A", "127.0.0.1")
    yield server
    server.close()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def host(names: Names, web: Web) -> Host:
    """Makes a provisioner for hosts on loopback that are known to our name server."""

    def made(**changes: object) -> HostProvisioner:
        usual = HostProvisioner(
            "Racks",
            CHALLENGES,
            networks=(network("127.0.0.0/8"), network("::1/128")),
            resolver=(listen_address(names.address),),
            http_port=web.port,
        )
        return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]  # each test gives its fields right

    return made


@pytest.fixture
def look() -> Look:
    """Makes an attempt at a challenge."""

    def made(kind: str, name: str = "foo.local", **changes: object) -> Attempt:
        identifier = from_text(name)
        usual = Attempt(
            kind=kind,
            identifier=identifier.base,
            wildcard=identifier.wildcard,
            token="evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
            thumbprint="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
            earlier_thumbprints=(),
            account_url="https://ca.example/acct/123",
            account_hash_prefix="https://ca.example/account-hash/",
            issuer="authority.example",
            now=1_800_000_000,
            may_follow=lambda _: True,
        )
        return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]  # each test gives its fields right

    return made
