"""status: one screen at 80 columns, what is red first; policy show; check before a reload."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from pathlib import Path

import click
import issued
import postgresql
import pytest
from click.testing import CliRunner, Result
from issued import issue
from pages import page
from writing import key, put

from acme_iid.cli import main
from acme_iid.cli.status import WIDTH
from acme_iid.config import ca_toml
from acme_iid.operations import backup
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store import fence, jobs, schema, servers
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.servers import Server
from acme_iid.store.writes import Statement

HOUR = 3600
NEVER = "There was never a backup of this CA."
VM = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    done = run(tmp_path, "init", "--domain", "internal")
    assert done.exit_code == 0, done.output
    postgresql.place_store(tmp_path)
    return tmp_path


def opened(home: Path) -> Database:
    return open_store(ca_toml.load(home).store.url)


def serve(home: Path, *hashes: str, clock: int = 0) -> None:
    """Have processes of servers run, each with the hash of its configuration."""
    now = int(time.time())
    database = opened(home)
    for number, config_hash in enumerate(hashes):
        put(database, *servers.write(Server(f"p{number}", "0.1.0", "s", config_hash, (), now + clock, now)))
    database.close()


def fill(home: Path) -> None:
    now = int(time.time())
    database = opened(home)
    issued.prepare(database, now)
    for number in range(30):
        issue(database, f"n{number}.internal", at=now - HOUR, instance=VM)
    issue(database, "late.internal", at=now - 20 * HOUR, instance=VM)
    reason = "provisioner 'Web' does not give {}: its allow is b.internal; this instance's own names are none"
    long = f"{'a' * 60}.{'b' * 60}.internal"
    for name, times in (("a.internal", 7), (long, 2)):
        detail = {"step": "names", "reason": reason.format(name), "refused": times, "provisioner": "Web"}
        put(database, events=[Event("challenge.refused", now - HOUR, "a", key(VM), name=name, detail=detail)])
    old = {"step": "names", "reason": reason.format("old.internal")}
    put(database, events=[Event("challenge.refused", now - 30 * HOUR, "a", key(VM), name="old.internal", detail=old)])
    database.close()


def test_one_screen_says_what_is_red_first(home: Path) -> None:
    fill(home)
    serve(home, "aa" * 32)
    done = run(home, "status")
    lines = click.unstyle(done.stdout).splitlines()
    # One of thirty is not the fleet's trouble.
    assert done.exit_code == 0, done.output
    assert lines[1:3] == [
        "yellow 1 certificate is overdue for renewal.",
        "       acme-iid-ca certificate list --overdue",
    ]
    assert "  valid 31, in use 31: due 0, overdue 1; lapsed in a day 0" in lines
    assert "  9 x allow of Web" in lines
    assert "      acme-iid-ca provisioner update Web --allow a.internal" in lines
    assert "      and 1 further commands like this one" in lines
    assert not any("old.internal" in line for line in lines)
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= 40


def test_a_server_that_is_missing_is_red(home: Path) -> None:
    fill(home)
    done = run(home, "status")
    assert done.exit_code == 1, done.output
    assert click.unstyle(done.stdout).splitlines()[1] == "RED    No server runs."
    serve(home, "aa" * 32, clock=500)
    (trouble,) = (entry for entry in status(home)["troubles"] if entry["severity"] == "red")
    # A second may have begun meanwhile.
    assert re.search(r"A server's clock is (499|50\d) seconds off", trouble["text"])


def test_the_schema_and_who_may_write_are_shown(home: Path) -> None:
    serve(home, "aa" * 32)
    said = json.loads(run(home, "status", "--json").stdout)["store"]
    with closing(opened(home)) as database:
        number = fence.min_writer(database)
    assert said == {"schema": schema.latest(), "min_writer": number}
    lines = click.unstyle(run(home, "status").stdout).splitlines()
    assert f"  the store has schema {schema.latest()}; who knows {number} or later may write" in lines


def status(home: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads(run(home, "status", "--json").stdout)
    return found


def test_a_large_share_overdue_is_red(home: Path) -> None:
    now = int(time.time())
    database = opened(home)
    issued.prepare(database, now)
    issue(database, "late.internal", at=now - 20 * HOUR, instance=VM)
    database.close()
    serve(home, "aa" * 32)
    assert [(entry["severity"], entry["text"]) for entry in status(home)["troubles"]] == [
        ("red", "1 certificate is overdue for renewal."), ("yellow", NEVER),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "severity"), [(24, None), (26, "yellow"), (47, "yellow"), (49, "red")], ids=["fresh", "26", "47", "49"]
)
def test_a_backup_that_is_late_is_yellow_and_then_red(home: Path, hours: int, severity: str | None) -> None:
    serve(home, "aa" * 32)
    made = int(time.time()) - hours * HOUR
    database = opened(home)
    put(database, jobs.mark("backup", made))
    database.close()
    found = json.loads(run(home, "status", "--json").stdout)
    late = [("red" if severity == "red" else "yellow", f"The last backup was made {hours} hours ago.")]
    assert [(entry["severity"], entry["text"]) for entry in found["troubles"]] == (late if severity else [])
    assert found["backup"] == timestamp(made)
    done = run(home, "status")
    assert f"  last backup {timestamp(made)}" in click.unstyle(done.stdout).splitlines()
    assert done.exit_code == (1 if severity == "red" else 0)


@pytest.mark.parametrize(("hours", "severity"), [(47, "yellow"), (49, "red")])
def test_a_ca_without_a_backup_is_red_from_its_third_day_on(home: Path, hours: int, severity: str) -> None:
    fill(home)
    serve(home, "aa" * 32)
    database = opened(home)
    began = Statement("UPDATE issuers SET activated_at = :at", {"at": int(time.time()) - hours * HOUR})
    put(database, began)
    database.close()
    found = status(home)["troubles"]
    assert (severity, NEVER, "acme-iid-ca backup FILE") in [tuple(entry.values()) for entry in found]


def test_the_alarm_about_backups_begins_where_the_status_is_red() -> None:
    rules = page("docs/monitoring/alerts.yml")
    limit = re.search(r"acme_iid_backup_timestamp_seconds\) > (\d+) \* 86400", rules)
    assert limit is not None
    assert int(limit[1]) * 86400 == backup.OLD_SECONDS


def test_servers_with_different_configurations_are_told_apart(home: Path) -> None:
    serve(home, "aa" * 32, "aa" * 32, "bb" * 32)
    text = "Servers run with different ca.toml, by SHA-256 and processes: aaaaaaaaaaaa (2), bbbbbbbbbbbb (1)."
    assert text in [entry["text"] for entry in status(home)["troubles"]]
    found = json.loads(run(home, "check", "--json").stdout)
    assert text in [entry["sentence"] for entry in found if entry["code"] == "servers-differ"]


def test_who_may_hold_what_is_shown_for_each_owner(home: Path) -> None:
    run(home, "provisioner", "add", "Web", "--type", "AWS", "--aws-account", "123456789042", "--aws-account",
        "222222222222", "--region", "us-west-2", "--allow", "{instance_id}.vm.internal")  # fmt: skip
    run(home, "provisioner", "add", "Any", "--type", "GCP", "--gcp-project", "my-project")
    run(home, "provisioner", "add", "Racks", "--type", "ACME", "--challenge", "http-01", "--allow", "*.racks.internal")
    rows = json.loads(run(home, "policy", "show", "--json").stdout)
    held = {(row["owner"], row["may_hold"]): row for row in rows}
    assert [key for key, row in held.items() if row["any_name"]] == [("gcp my-project", "any name in internal")]
    for owner in ("aws 123456789042", "aws 222222222222"):
        assert held[owner, "{instance_id}.vm.internal"]["only_if"] == ["regions us-west-2"]
    assert held["any host", "*.racks.internal"]["only_if"] == ["proves it by http-01"]
    plain, coloured = (
        CliRunner().invoke(main, ["--home", str(home), "policy", "show"], color=color).stdout for color in (False, True)
    )
    assert "any name in internal" in plain
    assert "\x1b" not in plain
    assert coloured.count("\x1b[31m") == 1
    assert "\x1b[31m\x1b[1many name in internal" in coloured


def test_a_reload_that_would_be_refused_is_said_before(home: Path) -> None:
    done = run(home, "check", "--reload")
    assert done.exit_code == 0, done.output
    key_file = next((home / "secrets").glob("issuer_*_key"))
    kept = key_file.read_bytes()
    key_file.write_bytes(b"nonsense")
    done = run(home, "check", "--reload")
    assert done.exit_code == 2
    assert "a reload would be refused, and what runs would stay in force" in done.stderr
    key_file.write_bytes(kept)
    settings = home / "ca.toml"
    settings.write_text(settings.read_text().replace("[ca]", "[ca]\nunknown = 1", 1))
    done = run(home, "check", "--reload")
    assert done.exit_code == 2
    assert "unknown" in done.stderr


def test_a_sink_that_does_not_take_events_is_named(home: Path) -> None:
    serve(home, "aa" * 32)
    file = home / "ca.toml"
    file.write_text(f'{file.read_text()}\n[[sink]]\nname = "siem"\nurl = "syslog+tls://log.internal:6514"\n')
    database, now = opened(home), int(time.time())
    put(database, events=[Event("thing.done", now - 20 * 60)])
    database.seal()
    database.close()
    assert "yellow The sink siem has not taken an event of 20 minutes ago.\n" in click.unstyle(
        run(home, "status").stdout
    )
