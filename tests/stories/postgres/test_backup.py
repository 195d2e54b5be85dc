"""A CA whose store is in PostgreSQL: its backup is of one moment, and what was restored from it issues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import disks
import postgresql
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from running import ACCOUNT, CA, answer
from wire import Account as Client
from wire import Wire, b64
from writing import put

from acme_iid.errors import StoreUnavailableError
from acme_iid.protocol.resources import Account
from acme_iid.simulator import aws
from acme_iid.store import accounts, copying, events
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store
from acme_iid.store.postgresql import PostgreSQL

NOW = 1_800_000_000


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA whose store is in PostgreSQL."""
    made = CA(tmp_path / "ca")
    made.init(in_postgresql=True)
    yield made
    if made.process is not None:
        made.kill()


def revoke(account: Client, chain: str) -> int:
    leaf = x509.load_pem_x509_certificate(chain.encode()).public_bytes(Encoding.DER)
    return account.post(account.wire.directory["revokeCert"], {"certificate": b64(leaf), "reason": 4}).status_code


def add_events(url: str, many: int) -> None:
    """Let a store have something to copy."""
    with closing(open_store(url)) as store:
        for start in range(0, many, 1000):
            put(store, events=[Event("test", NOW, detail={"number": number}) for number in range(start, start + 1000)])
        store.seal()


def killed_at(call: str, number: int, ca: CA, *command: str | Path) -> None:
    """Run a command that SIGKILL ends at this one of its system calls."""
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
         "-e", f"inject={call}:signal=SIGKILL:when={number}",
         sys.executable, "-m", "acme_iid.cli", "--home", ca.home, *command],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr


def kinds(url: str, kind: str) -> int:
    """How many events of a kind there are; the chain of them all is whole."""
    with closing(open_store(url)) as store:
        chain = len(list(events.check(store)))
        (found,) = store.rows("SELECT count(*) AS number, sum(CASE kind WHEN :kind THEN 1 END) AS of_kind FROM events",
                              kind=kind)  # fmt: skip
        assert found["number"] == chain
        return int(found["of_kind"])


def left_behind(folder: Path) -> list[str]:
    """What there is in a folder beside the CA."""
    return sorted(path.name for path in folder.iterdir() if path.name != "ca")


def test_a_store_that_a_newer_release_has_expanded_is_not_saved(ca: CA, tmp_path: Path) -> None:
    with closing(open_store(ca.store_url)) as store, store.transaction() as transaction:
        transaction.run("INSERT INTO schema_migrations VALUES ('99_later.sql')")
    refused = ca.try_cli("backup", tmp_path / "backup.tar")
    assert (refused.code, "(it has 99_later.sql)" in refused.stderr) == (1, True), refused.stderr
    assert left_behind(tmp_path) == []


def test_what_is_saved_is_the_store_at_one_moment(tmp_path: Path) -> None:
    with (
        closing(open_store(postgresql.cluster().create())) as source,
        closing(open_store(f"sqlite:{tmp_path / 'copy.db'}")) as copy,
    ):
        assert isinstance(source, PostgreSQL)
        before = [
            Event("before", NOW, account_id=f"ä{number}", detail={"detail": "'\"%s :x \\ \t"})
            for number in range(3 * copying.BATCH)
        ]
        put(source, events=before)
        for number in range(copying.BATCH):
            names = (f"a-{number}", f"A_{number}", f"-{number}")  # SQLite sorts them otherwise
            put(source, *(accounts.add(Account(name, "{}", name, (), NOW)) for name in names))
        source.seal()
        head = events.head(source)
        with source.snapshot() as snapshot:
            put(source, events=[Event("after", NOW)])
            source.seal()
            copying.save(snapshot, copy)
        assert events.head(copy) == head != events.head(source)
        assert len(list(events.check(copy))) == 3 * copying.BATCH
        everyone = "SELECT id FROM accounts"
        assert {row["id"] for row in copy.rows(everyone)} == {row["id"] for row in source.rows(everyone)}


def test_a_ca_goes_on_in_another_database_from_a_backup_made_under_load(ca: CA, tmp_path: Path) -> None:
    ca.start("--workers", "2")
    account, instance = ca.account(), aws.Instance(account=ACCOUNT)
    before = account.obtain("foo.local", answer=answer(instance)).chain
    stop, served = threading.Event(), [0]

    def load() -> None:
        other, another = ca.account(), aws.Instance(account=ACCOUNT, instance_id="i-0123456789abcdef0")
        while not stop.is_set() and served[0] < 500:
            other.obtain("bar.local", answer=answer(another))
            served[0] += 1

    running = threading.Thread(target=load)
    running.start()
    try:
        while served[0] < 2:
            assert running.is_alive()
            stop.wait(0.05)
        ca.cli("backup", tmp_path / "backup.tar")
    finally:
        stop.set()
        running.join(timeout=60)
    after = account.obtain("foo.local", answer=answer(instance)).chain
    ca.stop()

    url = postgresql.cluster().create()
    restored = CA(tmp_path / "restored", port=ca.port)
    restored.cli("restore", tmp_path / "backup.tar", "--to", url)
    assert restored.store_url == url
    assert not list(restored.home.glob("ca.db*"))
    assert restored.cli("events", "--check").stdout.startswith("OK")
    restored.start()
    try:
        again = Client(Wire(restored.directory, restored.root), account.key, account.url)
        renewed = again.obtain("foo.local", answer=answer(instance)).chain
        assert revoke(again, before) == 200
        assert revoke(again, renewed) == 200
        assert revoke(again, after) == 404
    finally:
        restored.stop()
    # What another CA uses is not written over.
    refused = CA(tmp_path / "third").try_cli("restore", tmp_path / "backup.tar", "--to", url)
    assert refused.code == 1
    assert "not empty" in refused.stderr
    assert left_behind(tmp_path) == ["backup.tar", "restored"]
    assert restored.cli("events", "--check").stdout.startswith("OK")


def test_where_the_database_ends_during_a_backup_nothing_is_left(ca: CA, tmp_path: Path) -> None:
    add_events(ca.store_url, 5000)
    backing_up = subprocess.Popen(
        [sys.executable, "-m", "acme_iid.cli", "--home", ca.home, "backup", tmp_path / "backup.tar"],
        stderr=subprocess.PIPE,
        text=True,
    )
    with closing(psycopg.connect(ca.store_url, autocommit=True)) as there:
        ended = None
        while backing_up.poll() is None and ended is None:
            ended = there.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'SELECT seq, at%'"
            ).fetchone()
    _, told = backing_up.communicate(timeout=60)
    assert ended is not None
    assert backing_up.returncode == 1
    assert "cannot be used now" in told
    assert left_behind(tmp_path) == []


def test_a_kill_during_a_backup_leaves_nothing_with_its_name(ca: CA, tmp_path: Path) -> None:
    add_events(ca.store_url, 2000)
    target = tmp_path / "backup.tar"
    for number in (1, 40):
        killed_at("pwrite64", number, ca, "backup", target)
        assert not target.exists()
    ca.cli("backup", target)
    restored = CA(tmp_path / "restored")
    restored.cli("restore", target)
    with closing(open_store(restored.store_url)) as store:
        assert restored.store_url.startswith("sqlite:")
        assert accounts.get(store, "nobody") is None
        assert len(list(events.check(store))) > 2000


def test_where_the_disk_is_full_a_backup_says_so_and_leaves_nothing(ca: CA) -> None:
    add_events(ca.store_url, 2000)
    with disks.small() as disk:
        for leaving in (0, 200_000):
            filler = disks.fill(disk, leaving)
            refused = ca.try_cli("backup", disk / "backup.tar")
            assert refused.code == 1
            assert "full" in refused.stderr or "No space left" in refused.stderr
            assert "Traceback" not in refused.stderr
            assert list(disk.iterdir()) == [filler]
            filler.unlink()
        ca.cli("backup", disk / "backup.tar")


def test_a_killed_restoration_into_a_database_goes_on_where_it_was(ca: CA, tmp_path: Path) -> None:
    add_events(ca.store_url, 2000)
    ca.cli("backup", tmp_path / "backup.tar")
    url = postgresql.cluster().create()
    restored = CA(tmp_path / "restored")
    for number in (150, 30):  # the schema takes the first ninety of the first command
        killed_at("sendto", number, restored, "restore", tmp_path / "backup.tar", "--to", url)
        assert not restored.home.exists()
        with pytest.raises(StoreUnavailableError, match="a part of a store"):
            open_store(url)
    restored.cli("restore", tmp_path / "backup.tar", "--to", url)
    assert kinds(url, "test") == 2000
    assert kinds(url, "store.restored") == 1
    assert restored.cli("events", "--check").stdout.startswith("OK")


def test_of_two_restorations_into_one_database_one_takes_place(ca: CA, tmp_path: Path) -> None:
    add_events(ca.store_url, 2000)
    ca.cli("backup", tmp_path / "backup.tar")
    url = postgresql.cluster().create()
    homes = [tmp_path / "one", tmp_path / "two"]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "acme_iid.cli", "--home", home, "restore", tmp_path / "backup.tar", "--to", url],
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    told = [process.communicate(timeout=60)[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 1], told
    assert "Traceback" not in "".join(told)
    assert [home.exists() for home in homes] == [process.returncode == 0 for process in running]
    assert kinds(url, "store.restored") == 1
