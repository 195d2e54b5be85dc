"""From one release to the next and back, with both beside each other, and what is left behind: in both engines."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import postgresql
import pytest
import releases
import requests
from releases import AFTER_NEXT, CONTRACTING, EXPANDING, NEXT, THIS, Release, ReleasedCA
from running import ACCOUNT, SECONDS, answer
from wire import Account, Key, b64, csr

from acme_iid.simulator import aws
from acme_iid.store import fence, schema
from acme_iid.store.database import connect, open_store

SENTENCE = f"only programs that know its schema file {fence.WRITER + 1} may write to it; this one knows {fence.WRITER}"
NOT_READY_SECONDS = 30
"""The longest that it takes until a load balancer is told."""


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return releases.make(tmp_path_factory.mktemp("releases") / "next", NEXT)


@pytest.fixture(scope="module")
def one_after_next(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return releases.make(tmp_path_factory.mktemp("releases") / "after", AFTER_NEXT)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def ca(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ReleasedCA]:
    """A CA of the release that is tested."""
    made = ReleasedCA(tmp_path / "ca")
    made.init(in_a_file=request.param == "SQLite", in_postgresql=request.param == "PostgreSQL")
    yield made
    end(made)


def end(*servers: ReleasedCA) -> None:
    for server in servers:
        if server.process is not None:
            server.kill()


def orders(ca: ReleasedCA, number: int) -> Account:
    """Have a new instance get a certificate, with a new account."""
    account = ca.account()
    instance = aws.Instance(account=ACCOUNT, instance_id=f"i-{number:017x}")
    account.obtain(f"n{number}.local", answer=answer(instance))
    return account


@contextmanager
def registering(ca: ReleasedCA) -> Iterator[list[int]]:
    """Have a client make accounts all the while, and for some time more; the statuses of its answers."""
    statuses: list[int] = []
    wire, ending = ca.wire(), threading.Event()

    def register() -> None:
        more = 5
        while more > 0:
            statuses.append(wire.post(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, Key()).status_code)
            more -= ending.is_set()

    thread = threading.Thread(target=register)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while len(statuses) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield statuses
    finally:
        ending.set()
        thread.join()


def number_of_accounts(ca: ReleasedCA) -> int:
    """How many there are, behind the servers' backs."""
    with closing(connect(ca.store_url)) as store:
        number: int = store.rows("SELECT count(*) AS number FROM accounts")[0]["number"]
        return number


def until_not_ready(ca: ReleasedCA) -> None:
    """Wait until a load balancer is told to go elsewhere."""
    deadline = time.monotonic() + NOT_READY_SECONDS
    while (said := requests.get(f"{ca.url}/readyz", verify=str(ca.root), timeout=30)).status_code != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "store" in said.text


def moved(account: Account, source: ReleasedCA, target: ReleasedCA) -> Account:
    """An account of one server as its client uses it at another one."""
    return Account(target.wire(), account.key, target.seen_from(source, account.url))


def test_both_releases_serve_beside_each_other_and_back_again(
    ca: ReleasedCA, next_release: Release, tmp_path: Path
) -> None:
    ca.serve()
    early = orders(ca, 1)
    min_writer = json.loads(ca.try_cli("status", "--json").stdout)["store"]["min_writer"]
    newer = ca.beside(tmp_path / "newer", next_release)
    try:
        newer.serve()
        orders(newer, 2)
        orders(ca, 3)
        # What the one has begun, the other one goes on with.
        for number, source, target in ((4, ca, newer), (5, newer, ca)):
            account = source.account()
            instance = aws.Instance(account=ACCOUNT, instance_id=f"i-{number:017x}")
            ordered, answers = account.prove(f"n{number}.local", answer=answer(instance))
            assert [entry.json()["status"] for entry in answers] == ["valid"]
            finalize = target.seen_from(source, ordered.json()["finalize"])
            there = moved(account, source, target)
            done = there.post(finalize, {"csr": b64(csr(f"n{number}.local")[1])})
            assert (done.status_code, done.json()["status"]) == (200, "valid"), done.text
        for server in (ca, newer):
            shown = json.loads(server.cli("store", "servers", "--json").stdout)
            assert {(row["version"], row["schema"]) for row in shown} == {
                (THIS, schema.latest()), (NEXT, EXPANDING),
            }  # fmt: skip
            state = json.loads(server.try_cli("status", "--json").stdout)
            assert state["store"] == {"schema": EXPANDING, "min_writer": min_writer}
            assert f"Servers of different versions run: {THIS}, {NEXT}." in {row["text"] for row in state["troubles"]}
        # The old one starts on what the new one has made of the store, with it and without it.
        assert ca.stop() == 0
        ca.serve()
        orders(ca, 6)
        assert newer.stop() == 0
        assert ca.stop() == 0
        ca.serve()
        orders(ca, 7)
        assert early.post(early.url).json()["status"] == "valid"
        newer.serve()
        orders(newer, 8)
        assert len(json.loads(newer.cli("certificate", "list", "--json").stdout)) == 8
        newer.cli("events", "--check")
        assert not any("Traceback" in line for server in (ca, newer) for line in server.log)
    finally:
        end(newer)


def test_a_server_two_releases_behind_stops_writing_and_says_so(
    ca: ReleasedCA, next_release: Release, one_after_next: Release, tmp_path: Path
) -> None:
    ca.serve()
    orders(ca, 1)
    middle = ca.beside(tmp_path / "middle", next_release)
    latest = ca.beside(tmp_path / "latest", one_after_next)
    try:
        middle.serve()
        with registering(ca) as statuses:
            latest.serve()
        # From one moment on all is refused, and what was said to be done is in the store.
        done = statuses.index(503)
        assert (set(statuses[:done]), set(statuses[done:])) == ({201}, {503})
        assert number_of_accounts(ca) == 1 + done
        until_not_ready(ca)
        ca.until_logged(SENTENCE)
        assert ca.stop() == 0
        assert SENTENCE in ca.start_refused()
        refused = ca.try_cli("account", "list")
        assert (refused.code, SENTENCE in refused.stderr) == (1, True), refused.stderr
        # The release in between goes on.
        orders(middle, 2)
        orders(latest, 3)
        state = json.loads(middle.try_cli("status", "--json").stdout)
        assert state["store"] == {"schema": CONTRACTING, "min_writer": fence.WRITER + 1}
        assert not any("Traceback" in line for server in (ca, middle, latest) for line in server.log)
    finally:
        end(middle, latest)


def test_an_older_backup_is_restored_by_the_next_release(ca: ReleasedCA, next_release: Release, tmp_path: Path) -> None:
    ca.serve()
    account = orders(ca, 1)
    ca.cli("backup", tmp_path / "backup.tar")
    assert ca.stop() == 0
    restored = ReleasedCA(tmp_path / "restored", ca.port, release=next_release)
    to = ("--to", postgresql.cluster().create()) if ca.store_url.startswith("postgresql") else ()
    restored.cli("restore", tmp_path / "backup.tar", *to)
    try:
        restored.serve()
        assert account.post(account.url).json()["status"] == "valid"
        orders(restored, 2)
        state = json.loads(restored.try_cli("status", "--json").stdout)
        assert state["store"]["schema"] == EXPANDING
    finally:
        end(restored)


def test_a_newer_backup_is_refused_by_the_release_before(
    ca: ReleasedCA, next_release: Release, one_after_next: Release, tmp_path: Path
) -> None:
    to = ("--to", postgresql.cluster().create()) if ca.store_url.startswith("postgresql") else ()
    for release, sentence in (
        (next_release, "the backup was made by a newer acme-iid"),
        (one_after_next, SENTENCE),
    ):
        newer = ca.beside(tmp_path / release.version, release)
        archive = tmp_path / f"{release.version}.tar"
        newer.cli("account", "list")  # which brings the schema up to date
        newer.cli("backup", archive)
        restored = ReleasedCA(tmp_path / "restored")
        refused = restored.try_cli("restore", archive, *to)
        assert (refused.code, sentence in refused.stderr) == (1, True), refused.stderr
        assert not restored.home.exists()
        # Nothing was begun in the database either: the release that made it restores it there.
        again = ReleasedCA(tmp_path / f"again-{release.version}", release=release)
        database = ("--to", postgresql.cluster().create()) if to else ()
        again.cli("restore", archive, *database)


def test_the_fence_is_raised_behind_the_writes_that_are_under_way(tmp_path: Path, one_after_next: Release) -> None:
    ca = ReleasedCA(tmp_path / "ca")
    ca.init(in_postgresql=True)
    open_store(ca.store_url).close()
    latest = ca.beside(tmp_path / "latest", one_after_next)
    with postgresql.as_somebody(ca.store_url) as writing, postgresql.as_somebody(ca.store_url) as looking:
        writing.execute("BEGIN")
        writing.execute("SELECT min_writer FROM fence")
        with ThreadPoolExecutor() as pool:
            listing = pool.submit(latest.try_cli, "account", "list")
            waits = "SELECT 1 FROM pg_locks WHERE relation = 'fence'::regclass AND NOT granted"
            deadline = time.monotonic() + SECONDS
            while looking.execute(waits).fetchone() is None:
                assert not listing.done(), "it has not waited"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            writing.execute("INSERT INTO secrets (name, value) VALUES ('late', 'but whole')")
            writing.execute("COMMIT")
            assert listing.result(timeout=SECONDS).code == 0
        assert looking.execute("SELECT min_writer FROM fence").fetchone() == (fence.WRITER + 1,)


def test_a_former_key_is_honoured_and_told_with_its_successor(
    tmp_path: Path, next_release: Release, one_after_next: Release
) -> None:
    ca = ReleasedCA(tmp_path / "ca", release=next_release)
    ca.init()
    file = ca.home / "ca.toml"
    text = file.read_text()
    file.write_text(text.replace("[ca]\n", '[ca]\nduration = "1h"\n'))
    words = (
        f"duration in [ca] is called lifetime by now; {AFTER_NEXT} will refuse the former name. "
        "Write lifetime in its place."
    )
    try:
        ca.serve()
        ca.until_logged(words)
        checked = ca.try_cli("check")
        assert (checked.code, f"remark: {words} [former-key]" in checked.stdout) == (1, True), checked.stdout
        instance = aws.Instance(account=ACCOUNT)
        leaf = ca.account().obtain("foo.local", answer=answer(instance)).leaf
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(hours=2)
        # It says so again at a reload.
        ca.log.clear()
        assert ca.process is not None
        ca.process.send_signal(signal.SIGHUP)
        ca.until_logged("The configuration was reloaded.")
        ca.until_logged(words)
        # Beside its successor nobody knows which one counts.
        file.write_text(text.replace("[ca]\n", '[ca]\nduration = "1h"\nlifetime = "2h"\n'))
        refused = ca.try_cli("check")
        assert (refused.code, "[ca] duration: stands beside lifetime" in refused.stderr) == (2, True), refused.stderr
        file.write_text(text.replace("[ca]\n", '[ca]\nduration = "1h"\n'))
        later = ReleasedCA(ca.home, ca.port, release=one_after_next).try_cli("check")
        assert (later.code, "unknown key 'duration' in [ca]" in later.stderr) == (2, True), later.stderr
    finally:
        end(ca)
