"""From a key in a token to the next one, by the commands of an operator: a token that is away changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from acting import authority_of
from rotating import pass_time
from running import CA
from signing import homes
from signing.softhsm import SoftHSM

from acme_iid.operations import issuers


@pytest.fixture
def ca(tmp_path: Path, token: SoftHSM) -> CA:
    """A CA whose first issuer signs, with a key in a token."""
    made = CA(tmp_path / "home")
    homes.init(made, token.place("object=first"), "--generate")
    with authority_of(made.home) as authority:
        issuers.begin(authority.database, authority.ca, int(time.time()))
    return made


@contextmanager
def away(token: SoftHSM) -> Iterator[None]:
    """The token cannot be logged in to."""
    hidden = token.pin.rename(token.pin.with_suffix(".hidden"))
    yield
    hidden.rename(token.pin)


def states(ca: CA) -> dict[str, str]:
    return {row["id"]: row["state"] for row in homes.issuers(ca)}


def let_pass(ca: CA) -> None:
    with authority_of(ca.home) as authority:
        pass_time(authority.database)


def test_an_issuer_is_activated_and_retired_once_its_key_answers(ca: CA, token: SoftHSM) -> None:
    (first,) = states(ca)
    ca.cli("issuer", "rotate", "prepare", "--key", str(token.place("object=second")), "--generate")
    (second,) = states(ca).keys() - {first}
    with away(token):
        refused = ca.try_cli("issuer", "rotate", "activate", second)
    assert refused.code == 1
    assert f"{token.place('object=second')}" in refused.stderr
    assert states(ca) == {first: "signing", second: "prepared"}
    ca.cli("issuer", "rotate", "activate", second)
    let_pass(ca)

    with away(token):
        refused = ca.try_cli("issuer", "rotate", "retire", first)
    assert refused.code == 1
    assert f"{token.place('object=first')}" in refused.stderr
    assert states(ca) == {first: "former", second: "signing"}
    said = ca.cli("issuer", "rotate", "retire", first).stdout
    assert f"Its key can be destroyed: {token.place('object=first')}\n" in said

    token.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "first")
    answers = {row["id"]: (row["state"], row["answers"], row["fault"]) for row in homes.issuers(ca)}
    assert answers == {first: ("retired", None, None), second: ("signing", True, None)}
    refused = ca.try_cli("issuer", "rotate", "prepare", "--key", str(token.place("object=second")))
    assert "has a certificate already" in refused.stderr


def test_a_retired_issuers_key_is_no_other_issuers(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    """Its folder may be gone; the store knows the key."""
    (first,) = states(ca)
    ca.cli("issuer", "rotate", "prepare", "--key", str(token.place("object=second")), "--generate")
    (second,) = states(ca).keys() - {first}
    ca.cli("issuer", "rotate", "activate", second)
    let_pass(ca)
    ca.cli("issuer", "rotate", "retire", first)
    (ca.home / "issuers" / first).rename(tmp_path / "gone")
    for more in ((), ("--generate",)):
        place = str(token.place("object=first"))
        refused = ca.try_cli("issuer", "rotate", "prepare", "--key", place, *more)
        assert "has a certificate already" in refused.stderr
    assert token.private_keys() == 2


def test_a_stolen_login_moves_on_to_another_key(ca: CA, token: SoftHSM) -> None:
    """Marking it asks for no signature of the stolen key."""
    (first,) = states(ca)
    ca.cli("issuer", "rotate", "prepare", "--key", str(token.place("object=second")), "--generate")
    (second,) = states(ca).keys() - {first}
    token.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "first")
    ca.cli("issuer", "rotate", "activate", second, "--compromised")
    said = ca.cli("issuer", "rotate", "compromised", first).stdout
    assert "It was marked at" in said
    assert states(ca) == {first: "compromised", second: "signing"}
