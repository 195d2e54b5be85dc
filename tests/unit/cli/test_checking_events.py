"""events --check: the chain is whole, or the first event that shows that it is not is named."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from terminals import on_a_terminal
from writing import put

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store

NOW = int(datetime.now(UTC).timestamp())


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.fixture
def chained(tmp_path: Path) -> Path:
    """A CA with a few events in its record."""
    made = CliRunner().invoke(main, ["--home", str(tmp_path), "init"])
    assert made.exit_code == 0, made.output
    database = open_store(ca_toml.load(tmp_path).store.url)
    put(database, events=[Event("test", NOW, detail={"number": number}) for number in range(12)])
    database.close()
    return tmp_path


def behind(home: Path, statement: str) -> None:
    database = open_store(ca_toml.load(home).store.url)
    with database.transaction() as transaction:
        for one in statement.split(";"):
            transaction.run(one)
    database.close()


def head(home: Path) -> str:
    done = run(home, "events", "--check")
    match = re.fullmatch(r"OK: ([0-9]+) events, head (\1:[0-9a-f]{64})\n", done.stdout)
    assert match is not None, done.output
    return match[2]


def test_a_check_says_ok_and_the_head_that_a_later_check_expects(chained: Path) -> None:
    kept = head(chained)
    assert kept.startswith("12:")
    for expected in (kept, kept.partition(":")[2]):
        done = run(chained, "events", "--check", "--expect", expected)
        assert (done.exit_code, done.stdout) == (0, f"OK: 12 events, head {kept}\n")
    assert json.loads(run(chained, "events", "--check", "--json").stdout) == {
        "events": 12,
        "head": kept,
        "unsealed": 0,
        "removed": 0,
        "checkpoint": None,
    }
    assert run(chained, "events", "--check", "--from", "12").stdout == f"OK: 1 event, head {kept}\n"
    behind(
        chained,
        "INSERT INTO accounts (id, jwk, thumbprint, contact, created_at, key_since) "
        "VALUES ('a', '{}', 't', '[]', 1, 1)",
    )
    assert run(chained, "account", "deactivate", "a").exit_code == 0
    grown = run(chained, "events", "--check", "--expect", kept)
    assert grown.stdout.startswith("OK: 14 events, head 14:")  # the CA was made, which had waited


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET detail = '{\"number\": 0}' WHERE seq = 5", "event 5 was edited or inserted"),
        ("DELETE FROM events WHERE seq = 5", "event 5 was removed"),
        ("DELETE FROM events WHERE seq < 5", "events 1 to 4 were removed"),
        (
            (
                "INSERT INTO events SELECT 13, at, kind, account_id, instance_id, cloud, owner, name, detail, hash "
                "FROM events WHERE seq = 12"
            ),
            "event 13 was edited or inserted",
        ),
        (
            (
                "UPDATE events SET seq = -1 WHERE seq = 9; UPDATE events SET seq = 9 WHERE seq = 12;"
                "UPDATE events SET seq = 12 WHERE seq = -1"
            ),
            "event 9 was edited or inserted",
        ),
    ],
)
def test_a_check_names_the_first_event_that_was_tampered_with(chained: Path, statement: str, message: str) -> None:
    behind(chained, statement)
    done = run(chained, "events", "--check")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1


def test_a_tail_that_was_cut_off_is_seen_by_whoever_kept_a_head(chained: Path) -> None:
    kept = head(chained)
    behind(chained, "DELETE FROM events WHERE seq > 9")
    assert head(chained).startswith("9:")
    done = run(chained, "events", "--check", "--expect", kept)
    assert (done.exit_code, done.stderr) == (1, "Error: events 10 to 12 were cut off: the chain ends at event 9\n")
    done = run(chained, "events", "--check", "--expect", kept.partition(":")[2])
    assert (done.exit_code, "no event from 1 on has the hash" in done.stderr) == (1, True)


def test_a_tail_that_was_cut_off_and_grew_again_is_seen(chained: Path) -> None:
    kept = head(chained)
    behind(chained, "DELETE FROM events WHERE seq > 9")
    database = open_store(ca_toml.load(chained).store.url)
    put(database, events=[Event("other", NOW)] * 5)
    database.close()
    assert head(chained).startswith("14:")
    done = run(chained, "events", "--check", "--expect", kept)
    assert (done.exit_code, "event 12 does not have the hash" in done.stderr) == (1, True)


def test_a_long_check_shows_how_far_it_is_on_a_terminal_only(chained: Path) -> None:
    database = open_store(ca_toml.load(chained).store.url)
    put(database, events=[Event("many", NOW)] * 20_000)
    database.close()
    assert head(chained).startswith("20012:")
    shown = on_a_terminal(chained, 120, "events", "--check")
    assert "Checking events" in shown
    assert "100%" in shown
    assert re.search(r"OK: 20012 events, head 20012:[0-9a-f]{64}\n", shown)
