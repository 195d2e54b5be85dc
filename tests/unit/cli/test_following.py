"""``events --follow``: the record as it grows, of which a reader elsewhere makes the hashes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import postgresql
import pytest
from chain_reader import ChainReader
from click.testing import CliRunner
from running import SECONDS
from serving import wait_until
from writing import put

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.store import events
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store

NOW = 1_800_000_000
ODD = 'é\n"\\/ \x7f\u2028\U0001f511'


def made(tmp_path: Path) -> Path:
    """The home of a new CA, whose store is a file."""
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init"])
    assert done.exit_code == 0, done.output
    return tmp_path / "ca"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = made(tmp_path)
    postgresql.place_store(home)
    return home


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_store(ca_toml.load(home).store.url)
    yield opened
    opened.close()


def fill(database: Database, count: int) -> None:
    put(database, events=[Event("thing.done", NOW, name=ODD, detail={"n": n, ODD: [ODD]}) for n in range(count)])


@contextmanager
def following(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "acme_iid.cli", "--home", str(home), "events", "--follow", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_reader_recomputes_the_chain_from_the_lines_alone(home: Path, database: Database) -> None:
    fill(database, 250)
    with following(home, "--after", "0") as process:
        assert process.stdout is not None
        reader = ChainReader()
        for _ in range(250):
            event = reader.read(process.stdout.readline())
        assert (event["name"], json.loads(event["detail"])["n"]) == (ODD, 249)
        fill(database, 2)
        for _ in range(2):
            reader.read(process.stdout.readline())
        assert f"{reader.seq}:{reader.head}" == str(events.head(database))
        process.send_signal(signal.SIGINT)
        assert (process.wait(SECONDS), process.stderr and process.stderr.read()) == (130, "")


def test_a_reader_goes_on_where_it_was(home: Path, database: Database) -> None:
    fill(database, 3)
    database.seal()
    kept = events.head(database)
    fill(database, 2)
    with following(home, "--after", str(kept.seq)) as process:
        assert process.stdout is not None
        reader = ChainReader(kept.seq, kept.hash)
        assert [reader.read(process.stdout.readline())["seq"] for _ in range(2)] == [4, 5]


def test_it_ends_when_its_reader_has_gone_though_nothing_comes(home: Path, database: Database) -> None:
    fill(database, 1)
    with following(home, "--after", "0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(SECONDS) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_reader_that_stops_reading_keeps_the_log_of_sqlite_bounded(tmp_path: Path) -> None:
    home = made(tmp_path)
    with closing(open_store(ca_toml.load(home).store.url)) as database, following(home, "--after", "0") as process:
        fill(database, 1000)
        assert process.stdout is not None
        process.stdout.readline()
        fds = [str(entry.readlink()) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert any(str(home) in fd for fd in fds)
        for _ in range(30):
            fill(database, 500)
        log = home / "ca.db-wal"
        wait_until(lambda: database.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]["busy"] == 0)
        assert log.stat().st_size == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--follow", "--after", "7"], "the chain ends at event 1"),
        (["--after", "0"], "--after goes with --follow"),
        (["--follow", "--check"], "give one of them"),
        (["--follow", "--name", "a.local"], "give one of them"),
        (["--follow", "--from", "1"], "--from and --expect go with --check"),
    ],
)
def test_what_cannot_be_followed_is_refused(home: Path, database: Database, options: list[str], sentence: str) -> None:
    fill(database, 1)
    done = CliRunner().invoke(main, ["--home", str(home), "events", *options])
    assert (done.exit_code in (1, 2), sentence in done.stderr) == (True, True), done.stderr
