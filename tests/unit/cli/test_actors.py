"""Who did what: each event of an operator's act names its actor, and no event of a client's has one."""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from running import CA

from acme_iid.cli import main
from acme_iid.operations.instances import MAX_REASON_LENGTH

INSTANCE = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"
THUMBPRINT = "t" * 43


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init"])
    assert made.exit_code == 0, made.output
    return tmp_path / "ca"


def run(home: Path, *arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments], env=env)


def actors(home: Path) -> list[tuple[str, object]]:
    """The kinds of events since the CA was made with their actors, the first one first."""
    shown = json.loads(run(home, "events", "--json").stdout)
    return [(event["kind"], event.get("actor")) for event in reversed(shown) if event["kind"] != "ca.made"]


def test_an_operators_act_names_user_host_and_reason(home: Path) -> None:
    env = {"SUDO_USER": "anna"}
    acts = (
        ("instance", "release", INSTANCE, "--to", THUMBPRINT), ("instance", "block", INSTANCE),
        ("instance", "unblock", INSTANCE), ("eab", "add"), ("certificate", "renew-now"),
    )  # fmt: skip
    for act in acts:
        done = run(home, *act, "--reason", "ticket 17", env=env)
        assert done.exit_code == 0, done.output
    uid = os.getuid()
    actor = {
        "via": "direct", "user": pwd.getpwuid(uid).pw_name, "uid": uid, "host": socket.gethostname(),
        "claimed": "anna", "reason": "ticket 17",
    }  # fmt: skip
    kinds = [
        "instance.released", "instance.blocked", "instance.unblocked", "external_key.added",
        "certificate.renewal_asked",
    ]  # fmt: skip
    assert [kind for kind, _ in actors(home)] == kinds
    assert all(found == actor for _, found in actors(home))
    assert "claiming to be anna" in run(home, "events").stdout


def test_the_reason_of_a_block_is_the_instances_too(home: Path) -> None:
    assert run(home, "instance", "block", INSTANCE, "--reason", "stolen").exit_code == 0
    assert json.loads(run(home, "instance", "show", INSTANCE, "--json").stdout)["block_reason"] == "stolen"
    ((_, actor),) = actors(home)
    assert isinstance(actor, dict)
    assert actor["reason"] == "stolen"


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "bell \a", "x" * (MAX_REASON_LENGTH + 1)])
def test_a_reason_is_one_bounded_line(home: Path, reason: str) -> None:
    done = run(home, "instance", "block", INSTANCE, "--reason", reason)
    assert (done.exit_code, "a reason is one line" in done.stderr) == (2, True)
    assert actors(home) == []


def test_a_hostile_sudo_user_is_shortened_and_printable(home: Path) -> None:
    assert run(home, "instance", "block", INSTANCE, env={"SUDO_USER": "a\x1b[2J\n" + "b" * 500}).exit_code == 0
    ((_, actor),) = actors(home)
    assert isinstance(actor, dict)
    assert actor["claimed"].startswith("a?[2J?bbb")
    assert len(actor["claimed"]) == 64


def test_events_of_clients_have_no_actor(shared_ca: CA) -> None:
    shared_ca.account()
    shown = json.loads(shared_ca.cli("events", "--json").stdout)
    made = [event for event in shown if event["kind"] == "account.created"]
    assert made
    assert not any("actor" in event for event in made)
