"""Old events go behind a signed place of the chain, into a file, and past no sink."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chain_reader import ChainReader
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from meanwhile import Meanwhile
from writing import key, put

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.config.sink_settings import SinkSettings
from acme_iid.issuance import checkpoints as signatures
from acme_iid.issuance import home as files
from acme_iid.issuance.issuer import Issuer, Signer, key_id
from acme_iid.operations import event_retention
from acme_iid.protocol.identifiers import from_text
from acme_iid.store import checkpoints, events, lookups, sinks, stream
from acme_iid.store.chain import Event, Link
from acme_iid.store.database import Database, open_store
from acme_iid.store.events import BrokenChainError
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Statement, perform

DAY = 86400
NOW = 1_900_000_000
OLD, NEW = NOW - 500 * DAY, NOW - 10 * DAY
KEEP = "400d"
INSTANCE = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"


@pytest.fixture
def home(tmp_path: Path, store_url: str) -> Path:
    made = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init"])
    assert made.exit_code == 0, made.output
    home = tmp_path / "ca"
    (home / "exports").mkdir()
    file = home / "ca.toml"
    text = re.sub(r"(?m)^url = \"sqlite:.*$", "", file.read_text())
    text = text if "[store]" in text else f"{text}\n[store]\n"
    text = text.replace("[store]", f'[store]\nurl = "{store_url}"', 1)
    file.write_text(f'{text}\n[retention]\nevents = "{KEEP}"\nevents_export = "exports"\n')
    return home


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = open_store(ca_toml.load(home).store.url)
    yield opened
    opened.close()


@pytest.fixture
def issuer(home: Path) -> Issuer:
    return files.load(home, None).current


def fill(database: Database, count: int, at: int) -> None:
    for _ in range(count):
        put(database, events=[Event("thing.done", at, instance=key(INSTANCE), name="a.local", account_id="a")])
    lookups.follow(database)


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def config(home: Path, *with_sinks: SinkSettings) -> Config:
    return replace(ca_toml.load(home), sinks=with_sinks)


def numbers(database: Database) -> list[int]:
    return [seq for seq, _ in reversed(events.page(database, Filter(limit=10_000)))]


def test_old_events_go_behind_a_signed_place_and_are_in_a_file(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 250, OLD)
    kept = events.head(database)
    fill(database, 5, NEW)
    assert event_retention.remove_old(config(home), database, issuer, NOW) == 250
    database.seal()
    assert numbers(database) == [251, 252, 253, 254, 255, 256]
    (file,) = (home / "exports").glob("*.ndjson")
    assert (file.name, file.stat().st_mode & 0o777) == ("events-000000000001-000000000250.ndjson", 0o600)
    reader = ChainReader()
    for line in file.read_text().splitlines():
        reader.read(line)
    assert (reader.seq, reader.head) == kept
    beside = json.loads(file.with_suffix(".checkpoint.json").read_text())
    assert signatures.facts_of(beside["statement"])["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert x509.load_pem_x509_certificate(beside["certificate"].encode()) == issuer.certificate
    assert database.rows("SELECT count(*) AS n FROM lookups WHERE seq <= 250")[0]["n"] == 0
    (_, newest), *_ = events.page(database, Filter())
    assert (newest.kind, newest.detail["first"], newest.detail["seq"]) == ("events.removed", 1, 250)
    checked = run(home, "events", "--check")
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.startswith("OK: 6 events, head 256:")
    assert f"has signed the place {kept}" in checked.stdout
    assert run(home, "events", "--check", "--expect", str(kept)).exit_code == 0
    assert event_retention.remove_old(config(home), database, issuer, NOW) == 0


def test_what_was_kept_of_before_is_answered_in_words(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 10, OLD)
    fill(database, 2, NEW)
    event_retention.remove_old(config(home), database, issuer, NOW)
    wrong = "0" * 64
    for options, sentence in (
        (("--expect", f"3:{wrong}"), "compare it with its line in the export events-000000000001-000000000010.ndjson"),
        (("--expect", f"10:{wrong}"), "the place that was signed there is another"),
        (("--from", "4"), "events 1 to 10 are in exports and no longer here; begin at event 11"),
    ):
        done = run(home, "events", "--check", *options)
        assert (done.exit_code, sentence in done.stderr) == (1, True), done.output
    assert "begin with --after 10" in run(home, "events", "--follow", "--after", "3").stderr


def test_nothing_goes_by_default_nor_before_a_day_of_waiting(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 3, OLD)
    fill(database, 1, NEW)
    off = replace(config(home), retention=replace(config(home).retention, events=None, events_export=None))
    assert event_retention.remove_old(off, database, issuer, NOW) == 0
    assert event_retention.remove_old(config(home), database, issuer, OLD + 400 * DAY + DAY // 2) == 0
    assert event_retention.remove_old(config(home), database, issuer, OLD + 402 * DAY) == 3


def test_the_latest_event_stays_however_old(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 3, OLD)
    # The event that says so comes a little later in PostgreSQL; the third one keeps its place until then.
    assert event_retention.remove_old(config(home), database, issuer, NOW) >= 2
    fill(database, 1, NEW)
    left = [link.seq for link in events.check(database)]
    assert left == list(range(left[0], left[-1] + 1))
    assert left[-1] == events.head(database).seq >= 5


def test_no_event_goes_past_a_sink(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 10, OLD)
    fill(database, 1, NEW)
    sink = SinkSettings("siem", "syslog+tls://localhost")
    assert event_retention.remove_old(config(home, sink), database, issuer, NOW) == 0
    turn = perform(database, lambda _reader: sinks.take("siem", NOW, 60))
    assert turn is not None
    perform(database, lambda _reader: sinks.move_on("siem", turn, 4, NOW, 60))
    put(database, Statement("UPDATE sinks SET lease = :now", {"now": NOW}))
    # By another server's ca.toml, too.
    assert event_retention.remove_old(config(home), database, issuer, NOW) == 4
    assert event_retention.remove_old(config(home, sink), database, issuer, NOW) == 0
    week = event_retention.FORGOTTEN_SINK + 1
    assert event_retention.remove_old(config(home), database, issuer, NOW + week) == 6


def test_a_sink_that_is_new_begins_behind_what_goes(home: Path, database: Database, issuer: Issuer) -> None:
    """Between the checkpoint and the removal, which takes its time."""
    fill(database, 150, OLD)
    fill(database, 1, NEW)
    steps = iter([True, True, False, False, False])
    event_retention.remove_old(config(home), database, issuer, NOW, lambda: next(steps))
    checkpoint = checkpoints.latest(database)
    assert checkpoint is not None
    assert events.removed(database).seq < checkpoint.place.seq
    turn = perform(database, lambda _reader: sinks.take("siem", NOW, 60))
    assert turn is not None
    assert turn.last == checkpoint.place.seq


def test_a_sink_that_begins_while_events_are_exported_keeps_them(
    home: Path, database: Database, issuer: Issuer
) -> None:
    """By a server with another ca.toml, right before the checkpoint is committed."""
    fill(database, 10, OLD)
    fill(database, 1, NEW)
    begins = Statement("INSERT INTO sinks (name, last_seq, lease) VALUES ('siem', 0, :now)", {"now": NOW})
    raced = Meanwhile(database, lambda other: put(other, begins))
    assert event_retention.remove_old(config(home), raced, issuer, NOW) == 0
    assert (checkpoints.latest(database), len(numbers(database))) == (None, 11)


def test_drop_after_lets_events_go_and_is_told(
    home: Path, database: Database, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    fill(database, 10, OLD)
    fill(database, 1, NEW)
    perform(database, lambda _reader: sinks.take("siem", NOW, 60))
    sink = SinkSettings("siem", "syslog+tls://localhost", drop_after=450 * DAY)
    assert event_retention.remove_old(config(home, sink), database, issuer, NOW) == 10
    assert sinks.cursors(database)[0].last == 10
    assert "The sink siem never gets events 1 to 10" in caplog.text
    database.seal()
    (_, newest), *_ = events.page(database, Filter())
    assert newest.detail["missed_by"] == {"siem": 0}


def test_a_broken_chain_and_a_full_disk_keep_every_event(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 10, OLD)
    fill(database, 1, NEW)
    before = database.rows("SELECT * FROM events WHERE seq = 5")[0]["detail"]
    put(database, Statement("UPDATE events SET detail = :detail WHERE seq = 5", {"detail": '{"by": "nobody"}'}))
    with pytest.raises(BrokenChainError, match="event 5 does not follow event 4"):
        event_retention.remove_old(config(home), database, issuer, NOW)
    put(database, Statement("UPDATE events SET detail = :detail WHERE seq = 5", {"detail": before}))
    (home / "exports").rmdir()
    with pytest.raises(FileNotFoundError):
        event_retention.remove_old(config(home), database, issuer, NOW)
    assert (len(numbers(database)), checkpoints.latest(database)) == (11, None)


def test_an_interrupted_removal_is_whole_at_each_step_and_goes_on(
    home: Path, database: Database, issuer: Issuer
) -> None:
    fill(database, 350, OLD)
    fill(database, 1, NEW)
    steps = iter([True, True, True, False, False, False])
    event_retention.remove_old(config(home), database, issuer, NOW, lambda: next(steps))
    left = numbers(database)[0]
    assert 100 < left < 351
    checked = run(home, "events", "--check")
    assert checked.exit_code == 0, checked.output
    assert event_retention.remove_old(config(home), database, issuer, NOW) == 351 - left
    assert len(list((home / "exports").glob("*.ndjson"))) == 1


def removed(home: Path, database: Database, issuer: Issuer) -> None:
    fill(database, 10, OLD)
    fill(database, 5, NEW)
    event_retention.remove_old(config(home), database, issuer, NOW)
    database.seal()


def other_issuer(issuer: Issuer) -> Signer:
    return Signer(issuer.certificate, ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("DELETE FROM events WHERE seq <= 12", "events 11 to 12 were removed"),
        ("DELETE FROM event_checkpoints", "removed without a checkpoint"),
        ("UPDATE events_removed SET seq = 12, hash = (SELECT hash FROM events WHERE seq = 12)", "events up to 12"),
        ("UPDATE event_checkpoints SET seq = 12, hash = (SELECT hash FROM events WHERE seq = 12)", "another place"),
        ("UPDATE event_checkpoints SET statement = statement || ' '", "was not signed by"),
        ("UPDATE events_removed SET hash = 'ff'", "events up to 10 were removed, and the checkpoint"),
        ("UPDATE event_checkpoints SET issuer_id = 'ff'", "which no root of this home leads to"),
        ("DELETE FROM events WHERE seq > 9", "were cut off: the checkpoint there was signed"),
        ("UPDATE events SET seq = 3 WHERE seq = 16", "an event with the number 3 was inserted"),
    ],
)
def test_whoever_writes_to_the_store_removes_nothing_unseen(
    home: Path, database: Database, issuer: Issuer, statement: str, sentence: str
) -> None:
    removed(home, database, issuer)
    put(database, Statement(statement, {}))
    done = run(home, "events", "--check")
    assert (done.exit_code, sentence in done.stderr) == (1, True), done.output


def test_a_checkpoint_by_another_key_is_refused(home: Path, database: Database, issuer: Issuer) -> None:
    removed(home, database, issuer)
    known = checkpoints.latest(database)
    assert known is not None
    forged = signatures.signed(other_issuer(issuer), known.statement)
    put(database, Statement("UPDATE event_checkpoints SET signature = :forged", {"forged": forged}))
    done = run(home, "events", "--check")
    assert (done.exit_code, "was not signed by the issuer" in done.stderr) == (1, True), done.output


def test_a_leaf_of_this_ca_signs_no_checkpoint(issuer: Issuer) -> None:
    """Whoever has a certificate and writes to the store could otherwise name it as an issuer there."""
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    names = [from_text("localhost")]
    issued = issuer.issue_serving(leaf_key.public_key(), names, issuer.not_after, int(issuer.not_after) - DAY)
    leaf = x509.load_der_x509_certificate(issued.der)
    chain = (leaf, issuer.certificate)
    found = signatures.issuer_in([chain], [issuer.root], key_id(leaf.public_key()))
    assert found is None
    assert signatures.issuer_in([chain[1:]], [issuer.root], issuer.id) == issuer.certificate


def test_what_is_left_before_a_checkpoint_leads_to_it(home: Path, database: Database, issuer: Issuer) -> None:
    """How far removal has come is not signed; but no other place leads to the one that is."""
    fill(database, 150, OLD)
    fill(database, 2, NEW)
    steps = iter([True, True, False, False, False])
    event_retention.remove_old(config(home), database, issuer, NOW, lambda: next(steps))
    gone = events.removed(database)
    assert 0 < gone.seq < 151
    forged, entries = Link(gone.seq, "ab" * 32), stream.after(database, gone.seq, 1000)
    put(database, Statement("UPDATE events_removed SET hash = :hash", {"hash": forged.hash}))
    for one in entries:
        forged = Link(one.entry.seq, one.entry.hash_after(forged.hash))
        put(database, Statement("UPDATE events SET hash = :hash WHERE seq = :seq", forged._asdict()))
    done = run(home, "events", "--check")
    assert (done.exit_code, "with which the checkpoint there was signed" in done.stderr) == (1, True), done.output
