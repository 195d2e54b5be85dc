"""The power goes at any moment: what was answered is in what the disk holds, and each effect is there with its event.

A killed process leaves all that it wrote to the kernel; a disk without power has only what was synced for sure, and any
part of the rest. So a server is traced while it works, and its store is built from the trace as such a disk would hold
it at each sync, opened by the product and worked on.
"""

from __future__ import annotations

import heapq
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import wire
from acting import Actor, authority_of
from backing import Answer, Asked, check_whole, unbacked
from power import Call, Disk, calls, tracer
from running import CA

from acme_iid.authority import Authority
from acme_iid.store import events
from acme_iid.store.database import open_store

CLIENTS = 3
SOME = 2
"""How many states are looked at of each sort of which there are very many, between two syncs."""
LONG_LOG = 3950
"""Pages in a log that a few orders make long enough to be written back, at 4,000."""


@dataclass
class Traced(Asked):
    """A CA that is traced while it is asked."""

    traces: list[Path] = field(default_factory=list)

    def _trace(self) -> Path:
        self.traces.append(self.ca.home.parent / f"trace-{len(self.traces)}")
        return self.traces[-1]

    @contextmanager
    def served(self) -> Iterator[None]:
        """Have the CA served, and stopped in good order."""
        trace = self._trace()
        self.ca.start(prefix=tracer(trace, detached=True))
        assert self.ca.process is not None
        pid = self.ca.process.pid
        yield
        # A server that stops waits for clients to say goodbye.
        while wire.OPEN:
            wire.OPEN.pop().close()
        assert self.ca.stop() == 0
        deadline = time.monotonic() + 30
        while f"{pid} " not in (last := trace.read_text().splitlines()[-1]) or "+++ exited" not in last:
            assert time.monotonic() < deadline, "strace has not seen the server end"
            time.sleep(0.02)

    def operator(self, *arguments: str) -> None:
        """Run a command of the CA's."""
        command = (*tracer(self._trace(), detached=False), sys.executable, "-m", "acme_iid.cli", "--home",
                   str(self.ca.home), *arguments)  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def calls(self) -> list[Call]:
        """All that was written and answered, in order."""
        return list(heapq.merge(*(calls(trace, self.ca.home / "ca.db") for trace in self.traces)))

    def given(self, done: list[Call]) -> dict[int, list[Answer]]:
        """The answers, each under the number of the call by which it was on its way."""
        found: dict[int, list[Answer]] = {}
        for entry in self.answers:
            (*_, number) = (
                number
                for number, call in enumerate(done)
                if call.what == "say" and call.name == entry.address and call.at <= entry.had_at
            )
            found.setdefault(number, []).append(entry)
        return found


@dataclass
class Looked:
    """What was looked at of the states of a disk."""

    authority: Authority
    folder: Path
    states: int = 0
    heads: set[int] = field(default_factory=set)

    def at(self, state: Mapping[str, bytes], given: list[Answer]) -> None:
        """See that a store is whole, backs what was answered, and can be worked with."""
        self.states += 1
        home = self.folder / str(self.states)
        home.mkdir()
        for name, content in state.items():
            # The index of the log is memory that processes share, of which a disk has nothing.
            if name in ("ca.db", "ca.db-wal"):
                (home / name).write_bytes(content)
        with closing(open_store(f"sqlite:{home / 'ca.db'}")) as store:
            assert store.rows("PRAGMA integrity_check")[0]["integrity_check"] == "ok"
            check_whole(store)
            assert unbacked(store, given) == []
            self.heads.add(events.head(store).seq)
            Actor(replace(self.authority, database=store)).order()
            check_whole(store)
        for file in home.iterdir():
            file.unlink()


def look(asked: Traced, before: Mapping[str, bytes], folder: Path, seed: int = 1) -> Looked:
    """Take the power away right before each sync has ended, and after all is done.

    What was written by then includes what the disk may hold at any moment before, and no answer is missing that was
    given by then.
    """
    done = asked.calls()
    given = asked.given(done)
    assert sum(map(len, given.values())) == len(asked.answers)
    disk, chance, known = Disk.of(before), random.Random(seed), list[Answer]()
    folder.mkdir()
    with authority_of(asked.ca.home) as authority:
        looked = Looked(authority, folder)
        for number, call in enumerate([*done, Call(time.time(), "sync", "")]):
            if call.what == "sync":
                for what, state in disk.states(chance, SOME):
                    try:
                        looked.at(state, known)
                    except Exception as error:
                        raise AssertionError(f"{what}, at call {number} of {len(done)}: {error}") from error
            disk.do(call)
            known += given.get(number, [])
    assert len(known) == len(asked.answers)
    return looked


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init(in_a_file=True)
    with closing(open_store(made.store_url)):
        pass
    yield made
    if made.process is not None:
        made.kill()


def contents(home: Path) -> dict[str, bytes]:
    """A database's files, of which nobody writes any."""
    return {path.name: path.read_bytes() for path in home.glob("ca.db*") if path.name != "ca.db-shm"}


def test_what_was_answered_is_there_when_the_power_goes_at_any_sync(ca: CA, tmp_path: Path) -> None:
    asked, before = Traced(ca), contents(ca.home)
    with asked.served():
        addresses = [f"127.0.0.{10 + number}" for number in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as clients:
            obtained = list(clients.map(asked.order, addresses))
        asked.revoke(obtained[0])
        asked.block(obtained[1])
        asked.revoke_as_operator(obtained[2])
    # The log was written back and removed; what comes now is in a new one.
    with asked.served():
        asked.revoke(asked.order("127.0.0.20"))
    looked = look(asked, before, tmp_path / "disks")
    assert len(asked.answers) == 5 * (CLIENTS + 1) + 4
    assert looked.states > 100
    # They are stores of many moments, not one over and over.
    assert len(looked.heads) > 10


def test_the_power_goes_while_a_long_log_is_written_back(ca: CA, tmp_path: Path) -> None:
    _lengthen(ca.home / "ca.db")
    asked, before = Traced(ca), contents(ca.home)
    assert len(before["ca.db-wal"]) > LONG_LOG * 4096
    with asked.served():
        obtained = [asked.order("127.0.0.10") for _ in range(4)]
        asked.revoke(obtained[0])
    done = asked.calls()
    # It was written back while orders went on, and then begun anew.
    first = next(number for number, call in enumerate(done) if (call.what, call.name) == ("sync", "ca.db"))
    assert any(call.what == "say" for call in done[first:])
    assert any(call[1:4] == ("write", "ca.db-wal", 0) for call in done[first:])
    assert look(asked, before, tmp_path / "disks").states > 100


_LENGTHEN = """
import os, sqlite3, sys
there = sqlite3.connect(sys.argv[1], isolation_level=None)
for setting in ("journal_mode = WAL", "wal_autocheckpoint = 0", "synchronous = OFF"):
    there.execute(f"PRAGMA {setting}")
for number in range(int(sys.argv[2])):
    there.execute(f"PRAGMA user_version = {number}")
os._exit(0)
"""


def _lengthen(database: Path) -> None:
    """Have a database's log be long: by a process that ends without writing it back."""
    subprocess.run([sys.executable, "-c", _LENGTHEN, str(database), str(LONG_LOG)], check=True)
