"""Acts on ca.toml over the API: what is unsafe in it, what a reload would do, and the reload itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from asking import Api

from acme_iid.admin.roles import Role
from acme_iid.admin.table import configuration
from acme_iid.admin.table.configuration import Look
from acme_iid.config import ca_toml
from acme_iid.errors import ConflictError, ServerError
from acme_iid.operations import configuration_record
from acme_iid.store.database import Database, open_store


@dataclass
class Keeper:
    """Whoever has the server reload."""

    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def reload(self) -> None:
        self.asked.append("reload")
        if self.error is not None:
            raise self.error


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def reloading(home: Path, database: Database, now: int, keeper: Keeper) -> Iterator[Api]:
    made = Api(home, database, now, keeper.reload)
    yield made
    made.dispatcher.close()


def change(home: Path, old: str, new: str) -> None:
    file = home / "ca.toml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_what_is_unsafe_is_found_in_ca_toml_as_it_is_now(api: Api, home: Path) -> None:
    before = api.get("/check")
    assert (before["unusable"], before["unasked"]) == (None, None)
    (home / "ca.toml").chmod(0o666)
    found = api.get("/check")["findings"]
    assert len(found) == len(before["findings"]) + 1
    assert any(str(home / "ca.toml") in finding["sentence"] for finding in found)


def test_a_ca_toml_that_cannot_be_used_is_said_to_be_so(api: Api, home: Path) -> None:
    change(home, 'name = "My CA"', 'nome = "My CA"')
    assert "nome" in api.get("/check")["unusable"]
    outlook = api.get("/check/reload")
    assert "nome" in outlook["refusal"]
    assert (outlook["changes"], outlook["restart"]) == ([], [])


def test_a_reload_is_tried_beforehand_without_keys(api: Api, home: Path) -> None:
    with closing(open_store(ca_toml.load(home).store.url)) as own:
        configuration_record.note(own, (home / "ca.toml").read_bytes(), api.now)
    change(home, 'name = "My CA"', 'name = "Your CA"')
    for path in (home / "secrets").iterdir():
        path.write_text("nobody reads this")
    outlook = api.get("/check/reload")
    assert outlook["refusal"] is None
    assert "keys" in outlook["untried"]
    assert any("Your CA" in line for line in outlook["changes"])


def test_another_process_looks_where_this_one_may_not(home: Path, database: Database, now: int) -> None:
    found = configuration.look(ca_toml.load(home).location, now)
    errors: list[Exception] = []

    def look() -> Look:
        if errors:
            raise errors[0]
        return found

    api = Api(home, database, now, look=look)
    change(home, 'name = "My CA"', 'nome = "My CA"')
    assert found["check"]["unusable"] is None
    assert (api.get("/check"), api.get("/check/reload")) == (found["check"], found["outlook"])
    for error, status in ((ConflictError("somebody else's turn"), 409), (ServerError("it came to nothing"), 503)):
        errors[:] = [error]
        for path in ("/check", "/check/reload"):
            reply = api.ask("GET", path)
            assert (reply.status, reply.content["detail"]) == (status, str(error))


def test_a_chain_that_ca_toml_goes_beyond_is_a_refusal(api: Api, home: Path) -> None:
    (chain,) = home.glob("issuers/*/chain.pem")
    chain.write_text("no chain")
    assert api.get("/check/reload")["refusal"] is not None
    assert api.get("/check")["unusable"] is not None


def test_a_reload_is_asked_for_and_recorded_with_who_did(reloading: Api, keeper: Keeper) -> None:
    reloading.post("/reload", reason="INC-7")
    assert keeper.asked == ["reload"]
    event = reloading.get("/events")["items"][0]
    assert (event["kind"], event["detail"]["actor"]["reason"]) == ("server.reload_asked", "INC-7")


def test_no_other_role_reloads(reloading: Api, keeper: Keeper) -> None:
    for role in (None, Role.VIEWER, Role.HELPDESK, Role.OPERATOR):
        assert reloading.ask("POST", "/reload", role).status == 403
    assert keeper.asked == []


def test_a_server_that_is_not_there_is_told(api: Api, reloading: Api, keeper: Keeper) -> None:
    assert api.ask("POST", "/reload").status == 503
    assert api.get("/events")["items"] == []
    keeper.error = ServerError("the server ends just now")
    reply = reloading.ask("POST", "/reload")
    assert (reply.status, reply.content["detail"]) == (503, "the server ends just now")
