"""Why something was refused is one command, and what it names lifts the refusal."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import issued
import postgresql
import pytest
from click.testing import CliRunner, Result
from issued import issue
from writing import key, put

from acme_iid.authority import entitlement
from acme_iid.cli import main
from acme_iid.cli.explanation import identity_of
from acme_iid.config import ca_toml
from acme_iid.operations.descriptions.refusals import Refused, cause
from acme_iid.policy.policy import Refusal
from acme_iid.protocol.identifiers import from_text
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store

NOW = 1_800_000_000
VM = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"
FACTS = {"account": "123456789042", "region": "us-west-2", "instance_id": "i-05e360db6e50b5eda"}


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def ran(home: Path, *arguments: str) -> str:
    done = run(home, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ran(tmp_path, "init", "--domain", "internal")
    postgresql.place_store(tmp_path)
    return tmp_path


def refusal(home: Path, name: str) -> Event | None:
    """What the rules of now say to an instance that wants a name."""
    identity = identity_of("aws", FACTS, "aws-rsa2048")
    decision = ca_toml.load(home).policy.decide(identity, from_text(name))
    if not isinstance(decision, Refusal):
        return None
    detail = {"step": decision.step.value, "reason": decision.error.detail}
    return Event("challenge.refused", NOW, instance=key(VM), detail=detail)


@pytest.mark.parametrize(
    ("settings", "name", "rules"),
    [
        (
            ["--aws-account", "999999999999", "--region", "eu-west-1"],
            "a.internal",
            ["accounts of Web 1", "regions of Web 1"],
        ),
        (["--aws-account", "123456789042", "--allow", "b.internal"], "a.internal", ["allow of Web 1"]),
        (["--aws-account", "123456789042"], "*.a.internal", ["allow_wildcards of Web 1"]),
        (
            ["--aws-account", "123456789042", "--allow-wildcard", "*.b.internal"],
            "*.a.internal",
            ["allow_wildcards of Web 1"],
        ),
        (
            ["--aws-account", "123456789042", "--disable-custom-sans"],
            "a.internal",
            ["disable_custom_sans of Web 1"],
        ),
    ],
)
def test_the_command_that_is_named_lifts_the_refusal(
    home: Path, settings: list[str], name: str, rules: list[str]
) -> None:
    ran(home, "provisioner", "add", "Other", "--type", "GCP", "--gcp-project", "p-12345")
    ran(home, "provisioner", "add", "Web 1", "--type", "AWS", *settings)
    met: list[str] = []
    while (event := refusal(home, name)) is not None and len(met) < 5:
        refused = cause(event)
        met.append(refused.rule)
        assert refused.lift is not None, event
        command = shlex.split(refused.lift)
        assert command[0] == "acme-iid-ca"
        ran(home, *command[1:])
    assert met == rules


def test_a_command_in_the_words_of_a_refusal_is_found(home: Path) -> None:
    def of(reason: str, **facts: Any) -> Refused:
        return cause(Event("challenge.refused", NOW, instance=key(VM), detail={"reason": reason, **facts}))

    blocked, closed = entitlement.blocked_error(), entitlement.closed_error(from_text("a.internal"), VM)
    assert of(blocked.detail) == Refused("blocked instance", f"acme-iid-ca instance unblock {VM}")
    assert of(closed.detail) == Refused("closed name", f"acme-iid-ca instance reopen {VM} a.internal")
    assert of("the signature is wrong", step="signature") == Refused("signature", None)
    assert of("too old", step="freshness", provisioner="P") == Refused("freshness (P)", None)
    assert of("x is outside this CA's domains (internal); an operator adds a domain to [ca] domains").rule == "domains"
    assert refusal(home, "a.internal") is not None
    assert cause(refusal(home, "a.internal") or Event("", 0)).lift == "acme-iid-ca provisioner add"


def record(home: Path, *events: Event) -> None:
    database = open_store(ca_toml.load(home).store.url)
    put(database, events=events)
    database.close()


def test_id_name_and_address_answer_the_same_question(home: Path) -> None:
    reason = (
        "this instance belongs to another account key since its first use. If it was rebuilt and lost that key, an "
        f"operator lets this one in with: acme-iid-ca instance release {VM} --to {'t' * 43}"
    )
    detail = {"step": "first use", "reason": reason, "remote": "192.0.2.7", "refused": 4, "provisioner": "Web"}
    other = Event("order.refused", NOW - 9, account_id="b", detail={"identifiers": ["b.internal"], "reason": "no"})
    refused = Event("challenge.refused", NOW, "a", key(VM), name="a.internal", detail=detail)
    record(home, other, refused)
    answers = {word: ran(home, "why", word) for word in (VM, "i-05e360db6e50b5eda", "a.internal", "192.0.2.7")}
    assert len(set(answers.values())) == 1
    (answer,) = set(answers.values())
    assert f"lifted by: acme-iid-ca instance release {VM} --to {'t' * 43}" in answer
    assert "by the rule: first use" in answer
    assert "times:     4" in answer
    (fields,) = json.loads(ran(home, "why", "i-05e360db6e50b5eda", "--json"))
    assert (fields["rule"], fields["remote"], fields["names"]) == ("first use", "192.0.2.7", ["a.internal"])
    assert "got a certificate" not in answer
    record(home, Event("certificate.issued", NOW + 1, "a", key(VM), detail={"serial": "1", "names": ["a.internal"]}))
    assert "It got a certificate after that, at 2027-01-15T08:00:01Z." in ran(home, "why", "i-05e360db6e50b5eda")
    assert "order.refused" in ran(home, "why", "b.internal")


def test_an_instance_that_was_only_refused_is_found_and_shown(home: Path) -> None:
    detail = {"step": "admission", "reason": "no", "proven": False}
    record(home, Event("challenge.refused", NOW, "a", key(VM), name="a.internal", detail=detail))
    (event,) = json.loads(ran(home, "events", "--instance", "i-05e360db6e50b5eda", "--json"))
    assert event["instance"] == VM
    shown = json.loads(ran(home, "instance", "show", "i-05e360db6e50b5eda", "--json"))
    assert (shown["instance"], shown["owner"], shown["first_used"]) == (VM, "123456789042", None)
    assert shown["last_event"] == "challenge.refused at 2027-01-15T08:00:00Z"
    assert "the instance is not proven" in ran(home, "why", "i-05e360db6e50b5eda")


def test_what_was_never_refused_is_said(home: Path) -> None:
    done = run(home, "why", "never.internal")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "The record has no refusal of never.internal." in done.stderr
    assert run(home, "why", "not a name").exit_code == 2
    assert "not known here" in run(home, "instance", "show", "i-00000001").stderr


def test_a_day_is_its_beginning_in_utc(home: Path) -> None:
    day = 1_795_824_000  # 2026-11-28T00:00:00Z
    for at in (day - 1, day, day + 86400):
        record(home, Event("challenge.refused", at, "a", detail={"reason": "no", "remote": "192.0.2.7"}))
    listed = json.loads(ran(home, "events", "--since", "2026-11-28", "--until", "2026-11-29", "--json"))
    assert [event["at"] for event in listed] == ["2026-11-28T00:00:00Z"]
    listed = json.loads(ran(home, "events", "--remote", "192.0.2.7", "--since", "2026-11-28", "--json"))
    assert len(listed) == 2
    assert run(home, "events", "--since", "20261128").exit_code == 2
    assert run(home, "events", "--remote", "nowhere").exit_code == 2


def test_what_ends_soon_and_what_is_overdue_is_listed(home: Path) -> None:
    now, hour = int(time.time()), 3600
    database = open_store(ca_toml.load(home).store.url)
    issued.prepare(database, now)
    issue(database, "soon.internal", at=now - 21 * hour, instance=VM)
    issue(database, "renewed.internal", at=now - 21 * hour, instance=VM)
    issue(database, "renewed.internal", at=now - hour, instance=VM)
    issue(database, "fresh.internal", at=now - hour, instance=VM)
    issue(database, "ended.internal", at=now - 25 * hour, instance=VM)
    database.close()

    def names(*options: str) -> list[str]:
        return [row["names"][0] for row in json.loads(ran(home, "certificate", "list", *options, "--json"))]

    assert names("--expires-before", "4h") == ["renewed.internal", "soon.internal"]
    assert names("--expires-before", "2h") == []
    assert names("--overdue") == ["soon.internal"]
    assert names("--overdue", "--expires-before", "4h", "--instance", "i-05e360db6e50b5eda") == ["soon.internal"]
    assert names("--overdue", "--expires-before", "2h") == names("--overdue", "--name", "fresh.internal") == []
    assert run(home, "certificate", "list", "--overdue", "--status", "revoked").exit_code == 2
