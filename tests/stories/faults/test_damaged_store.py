"""What is left of a store when its files are damaged while no server runs: a whole store, or a refusal with its reason.

SQLite has sums over its log and none over its pages: a damaged log ends where the damage begins, and a damaged page is
found when it is read.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from running import ACCOUNT, CA, answer
from wire import Account, Wire, problem

from acme_iid.simulator import aws

HEADER, FRAME = 32, 24 + 4096
"""The octets of a log's header and of a frame in it (sqlite.org/fileformat.html, section 4.1)."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[CA, list[Account]]:
    """A CA whose server was killed while clients ordered and its log was long, and the clients' accounts."""
    ca = CA(tmp_path_factory.mktemp("killed") / "ca")
    ca.init(in_a_file=True)
    ca.start()
    accounts = [ca.account() for _ in range(2)]
    log = ca.home / "ca.db-wal"

    def order(account: Account) -> None:
        try:
            while True:
                account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
        except (requests.RequestException, AssertionError, KeyError):
            return  # the server was killed

    threads = [threading.Thread(target=order, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    while log.stat().st_size < HEADER + 350 * FRAME:
        assert any(thread.is_alive() for thread in threads)
        time.sleep(0.05)
    ca.kill()
    for thread in threads:
        thread.join(timeout=60)
    return ca, accounts


@pytest.fixture
def ca(tmp_path: Path, killed: tuple[CA, list[Account]]) -> Iterator[CA]:
    """A copy of it."""
    made = CA(tmp_path / "ca", port=killed[0].port)
    shutil.copytree(killed[0].home, made.home)
    yield made
    if made.process is not None:
        made.kill()


def garble(path: Path, at: int, octets: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        old = stream.read(octets)
        stream.seek(at)
        stream.write(bytes(octet ^ 0xA5 for octet in old))


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(size)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a frame in the middle is garbled": lambda log: garble(log, HEADER + 250 * FRAME + 100, 512),
    "a frame's own header is garbled": lambda log: garble(log, HEADER + 300 * FRAME, 24),
    "the last frame is garbled": lambda log: garble(log, log.stat().st_size - FRAME // 2, 8),
    "it is cut in the middle of a frame": lambda log: cut(log, HEADER + 200 * FRAME + 1000),
    "it is cut off within its header": lambda log: cut(log, 10),
    "its header is garbled": lambda log: garble(log, 0, HEADER),
    "all of it is garbled": lambda log: garble(log, 0, log.stat().st_size),
    "it is gone": Path.unlink,
}


def check_whole(ca: CA) -> None:
    with closing(sqlite3.connect(ca.home / "ca.db")) as there:
        assert there.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert there.execute("PRAGMA foreign_key_check").fetchall() == []
        doubled = "SELECT serial FROM certificates GROUP BY serial HAVING count(*) > 1"
        assert there.execute(doubled).fetchall() == []
    assert ca.cli("events", "--check").stdout.startswith("OK: ")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_log_leaves_a_whole_store_of_an_earlier_moment(
    ca: CA, killed: tuple[CA, list[Account]], how: str
) -> None:
    DAMAGE[how](ca.home / "ca.db-wal")
    ca.start()
    again = [Account(Wire(ca.directory, ca.root), account.key, account.url) for account in killed[1]]
    for account in again:
        found = account.post(account.url)
        # The account may be of later than that moment; then its client is told that there is none.
        if found.status_code != 200:
            assert problem(found) == "accountDoesNotExist"
            account.url = Account.new(account.wire, account.key).url
        assert account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT))).chain
    assert ca.stop() == 0
    assert "Traceback" not in "".join(ca.log)
    check_whole(ca)


def write_back(ca: CA) -> None:
    """Have all that the log holds in the database itself, and no log."""
    with closing(sqlite3.connect(ca.home / "ca.db")) as there:
        assert there.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


@pytest.mark.parametrize("octets", [16, 100, 4096])
def test_a_database_that_is_damaged_where_every_start_reads_it_is_refused(ca: CA, octets: int) -> None:
    write_back(ca)
    garble(ca.home / "ca.db", 0, octets)
    said = ca.start_refused()
    assert str(ca.home / "ca.db") in said
    assert "malformed" in said or "not a database" in said


def page_of(ca: CA, table: str) -> int:
    """The number of the first page of a table."""
    with closing(sqlite3.connect(ca.home / "ca.db")) as there:
        found = there.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        assert isinstance(found[0], int)
        return found[0]


def test_a_damaged_page_is_503_where_it_is_read_and_nothing_else_stops(
    ca: CA, killed: tuple[CA, list[Account]]
) -> None:
    write_back(ca)
    account = killed[1][0]
    with closing(sqlite3.connect(ca.home / "ca.db")) as there:
        held = """SELECT c.n || '.' || o.tag FROM certificates c JOIN orders o ON o.n = c.n
                  WHERE c.account_id = ? ORDER BY c.n DESC LIMIT 1"""
        (certificate,) = there.execute(held, (account.url.rpartition("/")[2],)).fetchone()
    garble(ca.home / "ca.db", (page_of(ca, "certificates") - 1) * 4096, 4096)
    ca.start()
    again = Account(Wire(ca.directory, ca.root), account.key, account.url)
    assert again.post(again.url).status_code == 200
    ordered = again.order("foo.local")
    assert ordered.status_code == 201
    refused = again.post(f"{ca.url}/acme/certificate/{certificate}")
    assert refused.status_code == 503, refused.text
    assert problem(refused) == "serverInternal"
    assert int(refused.headers["Retry-After"]) > 0
    ca.until_logged("database disk image is malformed")
    assert "Traceback" not in "".join(ca.log)
