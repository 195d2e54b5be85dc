"""Acts that show how things are: each says what the command says, without the places of keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgresql
import pytest
from acting import authority_of
from asking import Api
from click.testing import CliRunner
from issued import vm
from writing import key, put

from acme_iid.admin.roles import Role
from acme_iid.authority import certificate_status
from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.issuance.responder import Responders
from acme_iid.operations import issuers
from acme_iid.store import servers
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.servers import Server


@pytest.fixture
def own(pattern: Path, tmp_path: Path, now: int) -> Iterator[Api]:
    """The API of a CA with the store that its home names, as the commands see it; its issuer signs."""
    folder = shutil.copytree(pattern, tmp_path / "own")
    postgresql.place_store(folder)
    # The commands ask for the time later: no number of days may change in between.
    then = now - 1800
    with authority_of(folder) as authority:
        issuers.begin(authority.database, authority.ca, then)
        certificate_status.current_list(authority, authority.ca.current, then)
        signer = authority.ca.current.signer
        Responders(folder, None).of(signer.certificate, signer, then)
    database = open_store(ca_toml.load(folder).store.url)
    put(database, *servers.write(Server("s1", "0.1.0", "x", "c" * 64, ("i" * 64,), now, now)))
    api = Api(folder, database, now)
    yield api
    api.dispatcher.close()
    database.close()


def command(api: Api, *words: str) -> Any:
    """What a command prints with --json."""
    done = CliRunner().invoke(main, ["--home", str(api.home), *words, "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_the_status_is_the_commands_without_key_places(own: Api) -> None:
    put_refusals(own)
    said, shown = command(own, "status"), own.get("/status")
    assert str(own.home) not in json.dumps(shown)
    assert str(own.home) in json.dumps(said)
    assert {row["role"] for row in said["ca"]} >= {"issuer", "root", "responder", "list"}
    assert without_places(said["ca"]) == shown["ca"]
    for key_ in ("ca", "at"):
        del said[key_], shown[key_]
    assert shown["refused"][0]["times"] == 2
    assert said == shown


def test_the_issuers_are_the_commands_without_key_places(own: Api) -> None:
    said, shown = command(own, "issuer", "status"), own.get("/issuers")["items"]
    assert str(own.home) not in json.dumps(shown)
    assert [row["key"] for row in shown if row["role"] == "issuer"] == ["file"]
    assert without_places(said) == shown


def without_places(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "key": row["key"] and row["key"].partition(":")[0]} for row in rows]


def test_the_state_is_shown_without_any_file_that_has_a_key(own: Api) -> None:
    before = own.get("/status"), own.get("/issuers")
    for path in (own.home / "secrets").iterdir():
        path.write_text("nobody reads this")
    assert (own.get("/status"), own.get("/issuers")) == before


def test_a_responder_that_clients_refuse_is_red(own: Api) -> None:
    (shown,) = own.home.rglob("responder.pem")
    shutil.copy(shown.with_name("certificate.pem"), shown)
    assert any("responder" in trouble["text"] for trouble in own.get("/status")["troubles"])
    assert [row["fault"] for row in own.get("/issuers")["items"] if row["role"] == "responder"] != [None]


@pytest.mark.parametrize(
    ("words", "path"),
    [(("policy", "show"), "/policy"), (("store", "servers"), "/servers"), (("store", "sinks"), "/sinks")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_states_are_the_commands(own: Api, words: tuple[str, ...], path: str) -> None:
    page = own.get(path)
    assert page["items"] == command(own, *words)
    assert page["next"] is None
    assert path == "/sinks" or page["items"]


def put_refusals(api: Api) -> None:
    detail = {"step": "first use", "reason": "an operator blocked this instance", "remote": "192.0.2.7", "proven": True}
    for number in range(2):
        put(
            api.database, events=[Event("challenge.refused", api.now - 60 + number, instance=key(vm(1)), detail=detail)]
        )


def test_refusals_are_listed_with_what_lifts_them(api: Api) -> None:
    put_refusals(api)
    put(api.database, events=[
        Event("order.refused", api.now - 59, name="x.other", detail={"reason": "x.other is outside this CA's domains"}),
        Event("challenge.valid", api.now, instance=key(vm(1))),
    ])  # fmt: skip
    found = api.get("/refusals")["items"]
    assert [(row["seq"], row["rule"]) for row in found] == [
        (3, "domains"), (2, "blocked instance"), (1, "blocked instance"),
    ]  # fmt: skip
    assert found[1]["lifted_by"] == f"acme-iid-ca instance unblock {vm(1)}"
    assert [row["seq"] for row in api.get("/refusals", instance=vm(1))["items"]] == [2, 1]
    seen: list[int] = []
    before: dict[str, object] = {}
    for _ in range(3):
        page = api.get("/refusals", limit=1, **before)
        seen += [row["seq"] for row in page["items"]]
        before = {"before": page["next"]}
    assert (seen, before) == ([3, 2, 1], {"before": None})


def test_why_says_the_latest_refusals_and_what_came_after(own: Api) -> None:
    put_refusals(own)
    for word in (vm(1), vm(1).rpartition(":")[2], "192.0.2.7"):
        assert own.get("/why", about=word)["items"] == command(own, "why", word)
    found = own.get("/why", about=vm(1), limit=1)
    assert (len(found["items"]), found["certificate_since"]) == (1, None)
    put(
        own.database,
        events=[Event("certificate.issued", own.now, instance=key(vm(1)), detail={"serial": "1", "names": []})],
    )
    assert own.get("/why", about=vm(1))["certificate_since"] is not None


def test_what_nothing_can_be_about_is_told(api: Api) -> None:
    reply = api.ask("GET", "/why", Role.VIEWER, about="no such thing")
    assert (reply.status, reply.parameter) == (400, "about")
    reply = api.ask("GET", "/why")
    assert (reply.status, reply.parameter) == (400, "about")


def test_no_key_in_a_token_is_asked(own: Api, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {asked}\n")
    program.chmod(0o755)
    for description in own.home.glob("issuers/*/issuer.toml"):
        description.write_text(f'key = "exec:{program} alias"\n')
    shown = [row for row in own.get("/issuers")["items"] if row["role"] == "issuer"]
    assert [(row["key"], row["answers"], row["fault"]) for row in shown] == [("exec", None, None)]
    own.get("/status")
    assert not asked.exists()
    command(own, "issuer", "status")
    assert asked.exists()
