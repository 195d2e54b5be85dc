"""The same clients, each by one challenge, with a CA whose issuer's key is in SoftHSM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from interop.harness import Client, Names, Site
from interop.ours import Ours
from interop.test_clients import CLIENTS, issue_renew_and_revoke
from signing import softhsm


@pytest.fixture(scope="session")
def token_server(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    """A CA with its key in a token; it has another issuer's key in no file."""
    folder = tmp_path_factory.mktemp("token")
    with pytest.MonkeyPatch.context() as patch:
        token = softhsm.make(folder / "softhsm", patch)
        ca = Ours(folder / "ca")
        ca.init_for_hosts(names.resolver, *ports, "--key", str(token.place()), "--generate")
        with ca.served():
            yield ca


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_lives_with_a_ca_whose_key_is_in_a_token(kind: type[Client], token_server: Ours, site: Site) -> None:
    assert not token_server.intermediate_key.exists()
    issue_renew_and_revoke(kind(site, token_server), kind.challenges[0])
