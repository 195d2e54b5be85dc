"""Whether cost stays flat: the same requests and lists on a store with some thousand orders, and on one with a million.

Run it with ``python tests/tools/benchmarks/million.py --certificates 1000000`` (some 7 GB of disk). One order is
placed at a server for real; its rows are then written again and again under fresh ids, names and times, the record of
events with right hashes. Ninety days of them, so most have expired; a tenth are of one account and instance, and as
many of those that are in force are revoked in either store. Signed certificates alone are copies, since a million
signatures would be most of the work. In the end both are pruned of what ended thirty days ago, as far as a few
transactions come.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import requests
from benchmarks import processes
from benchmarks.generator import Account, Generator, jobs_of_instances, with_iid01
from benchmarks.orders import show
from running import CA

from acme_iid.config import ca_toml
from acme_iid.operations import pruning
from acme_iid.store import (
    accounts,
    certificates,
    events,
    instances,
    lookups,
    order_counts,
    orders,
    proven,
    revocation_lists,
)
from acme_iid.store.chain import Entry, Link
from acme_iid.store.database import open_store
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Question, Reader, Row

_DAYS = 90
_PER_INSTANCE = 4
_BATCH = 5000
_REVOKED = 50
_KEPT_DAYS = 30
_PRUNED_BATCHES = 30
_RUNS = 15


@dataclass(frozen=True)
class Home:
    """A CA that has issued once, and what it was.

    :ivar account: whose the order was; its key can sign.
    :ivar rows: what the order left in each table.
    """

    ca: CA
    account: Account
    rows: Mapping[str, Sequence[Row]]

    @property
    def file(self) -> Path:
        return self.ca.home / "ca.db"


def make(folder: Path) -> Home:
    """Make a CA and place an order at it."""
    ca = CA(folder)
    ca.init()
    settings = ca.home / "ca.toml"
    settings.write_text(settings.read_text().replace("[ca]\n", "[ca]\ncrl = true\n", 1))
    ca.start()
    generator = Generator(ca.directory, ca.root, with_iid01, 1)
    found = generator.accounts(1)
    generator.run(jobs_of_instances(found, 1), 60)
    generator.close()
    ca.stop()
    store = open_store(ca_toml.load(ca.home).store.url)
    lookups.follow(store)
    store.close()
    tables = ("accounts", "orders", "certificates", "instances", "events", "lookups", "holders", "issuers")
    with sqlite3.connect(ca.home / "ca.db") as connection:
        connection.row_factory = sqlite3.Row
        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}  # noqa: S608
    connection.close()
    return Home(ca, found[0], rows)


class Pattern:
    """A row of the template, ready to be written under other ids.

    :param known: what each of the template's own strings is called.
    :param at: when the template was made, seconds.
    """

    def __init__(self, row: Row, known: Mapping[str, str], at: int) -> None:
        self._parts: list[tuple[Any, bool, int | None]] = []
        self.columns = tuple(row.keys())
        for value in row:
            if isinstance(value, str):
                text = value.replace("%", "%%")
                for own, name in known.items():
                    text = text.replace(own, f"%({name})s")
                changes = text != value.replace("%", "%%")
                self._parts.append((text if changes else value, changes, None))
            elif isinstance(value, int) and abs(value - at) < 10**7:
                self._parts.append((None, False, value - at))
            else:
                self._parts.append((value, False, None))

    def fill(self, names: Mapping[str, str], at: int) -> list[Any]:
        """The row under other ids and at another time."""
        return [
            at + offset if offset is not None else value % names if changes else value
            for value, changes, offset in self._parts
        ]


class Copies:
    """Writes the order of a home many times more."""

    def __init__(self, home: Home, count: int) -> None:
        self._home, self._count = home, count
        self._instances = max(1, count // _PER_INSTANCE)
        self._random = random.Random(1)
        row = {table: rows[0] for table, rows in home.rows.items()}
        of_instance = {
            row["accounts"]["id"]: "account",
            home.account.key.jwk["x"]: "x",
            home.account.key.jwk["y"]: "y",
            row["accounts"]["thumbprint"]: "thumbprint",
            row["instances"]["instance_id"]: "instance",
            _name(home): "name",
        }
        of_order = {
            f"{row['orders']['n']}.{row['orders']['tag']}": "order",
            row["orders"]["tag"]: "tag",
            json.loads(row["orders"]["doc"])["authorizations"][0]["challenges"][0][1]: "token",
            row["certificates"]["serial"]: "serial",
        }
        self._own = {name: own for own, name in of_instance.items()}
        self._made = row["orders"]["created_at"]
        known = of_instance | of_order
        self._patterns = {
            table: [Pattern(one, known, self._made) for one in rows]
            for table, rows in home.rows.items()
            if table != "issuers"
        }
        self._latest = Link(home.rows["events"][-1]["seq"], home.rows["events"][-1]["hash"])
        self._first = home.rows["events"][0]["seq"]

    def write(self) -> None:
        """Write them all; the file is safe only when this has returned."""
        connection = sqlite3.connect(self._home.file, isolation_level=None)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -4000000")
        made = self._rows()
        begun, done = time.monotonic(), 0
        connection.execute("BEGIN")
        while batch := list(islice(made, _BATCH)):
            for table in self._patterns:
                rows = [row for one in batch for row in one.get(table, ())]
                if rows:
                    columns = self._patterns[table][0].columns
                    marks = ", ".join("?" * len(columns))
                    connection.executemany(
                        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - the schema's names
                        rows,
                    )
            done += len(batch)
            if done % (20 * _BATCH) == 0:
                print(f"{done} certificates after {time.monotonic() - begun:.0f} s", file=sys.stderr)
        connection.execute("UPDATE followed SET seq = ?", (self._latest.seq,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()

    def _rows(self) -> Iterator[dict[str, list[list[Any]]]]:
        known: dict[int, dict[str, str]] = {0: self._own}
        start = int(time.time()) - 3600 - _DAYS * 86400
        lifetime = self._home.rows["certificates"][0]["not_after"] - self._made
        left = _REVOKED
        for number in range(self._count):
            at = start + number * _DAYS * 86400 // self._count
            owner = 0 if number % 10 == 0 else number % self._instances
            first = owner not in known
            if first:
                known[owner] = self._instance(owner)
            names = known[owner] | self._order(number + 2)
            made = {table: [one.fill(names, at) for one in patterns] for table, patterns in self._patterns.items()}
            in_force = at + lifetime > time.time() + 3600
            if (number % 2 and left > 0) if in_force else number % 500 == 1:
                left -= in_force
                columns = self._patterns["certificates"][0].columns
                for column, value in (("revoked_at", at + 60), ("revocation_reason", 1), ("revoked_by", "operator")):
                    made["certificates"][0][columns.index(column)] = value
            if not first:
                at_seq = self._patterns["lookups"][0].columns.index("seq")
                made["lookups"] = [row for row in made["lookups"] if row[at_seq] != self._first]
                del made["accounts"], made["instances"], made["events"][0], made["holders"]
            for table in ("orders", "certificates", "lookups"):
                at_n = self._patterns[table][0].columns.index("n")
                for row in made[table]:
                    row[at_n] = None if row[at_n] is None else number + 2
            self._chain(made)
            yield made

    def _chain(self, made: dict[str, list[list[Any]]]) -> None:
        columns = self._patterns["events"][0].columns
        seqs = {}
        for row in made["events"]:
            entry = Entry.of(dict(zip(columns, row, strict=True)))._replace(seq=self._latest.seq + 1)
            self._latest = Link(entry.seq, entry.hash_after(self._latest.hash))
            seqs[row[columns.index("seq")]] = self._latest.seq
            row[columns.index("seq")], row[columns.index("hash")] = self._latest
        at_seq = self._patterns["lookups"][0].columns.index("seq")
        for row in made["lookups"]:
            row[at_seq] = seqs[row[at_seq]]

    def _instance(self, number: int) -> dict[str, str]:
        return {
            "account": self._id(16),
            "x": self._id(32),
            "y": self._id(32),
            "thumbprint": self._id(32),
            "instance": "i-" + self._random.randbytes(9).hex()[:17],
            "name": f"host-{number}.local",
        }

    def _order(self, n: int) -> dict[str, str]:
        tag = self._id(12)
        serial = "6" + self._random.randbytes(11).hex()[1:] + f"{n:016x}"
        return {"tag": tag, "order": f"{n}.{tag}", "token": self._id(32), "serial": serial}

    def _id(self, size: int) -> str:
        return base64.urlsafe_b64encode(self._random.randbytes(size)).rstrip(b"=").decode()


def _name(home: Home) -> str:
    """The name that the home's order was for."""
    found: str = json.loads(home.rows["orders"][0]["doc"])["names"][0][1]
    return found


@dataclass
class Watched:
    """A store that is read, and how SQLite goes about what it was last asked."""

    connection: sqlite3.Connection
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        self.asked.append((statement, parameters))
        return self.connection.execute(statement, parameters).fetchall()

    def ahead(self, *_questions: Question) -> Reader:
        return self

    def plan(self) -> str:
        """The steps of what was asked that are more than a search in an index."""
        steps = []
        for statement, parameters in self.asked:
            for row in self.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters):
                step = row["detail"]
                if step.startswith("SCAN") or "TEMP B-TREE" in step:
                    steps.append(step)
        return "; ".join(dict.fromkeys(steps))


def questions(home: Home, reader: Watched) -> Iterable[tuple[str, Callable[[], object]]]:
    """What is asked of the store, by what it is called in the table."""
    now = int(time.time())
    row = {table: rows[0] for table, rows in home.rows.items()}
    instance, account = row["instances"]["id"], row["accounts"]["id"]
    owner, name, issuer = row["instances"]["owner"], _name(home), row["issuers"]["id"]
    middle = Position(now - _DAYS * 43200, 0)
    filters = {
        "": Filter(),
        " of a cloud": Filter(cloud="aws"),
        " of another cloud": Filter(cloud="gcp"),
        " of an owner": Filter(owner=owner),
        " of an account": Filter(account=account),
        " of a name": Filter(name=name),
        " of an owner and a name": Filter(owner=owner, name=name),
        " of a day": Filter(since=now - 80 * 86400, until=now - 79 * 86400),
        ", a page in the middle": Filter(before=middle),
        " of an owner, a page in the middle": Filter(owner=owner, before=middle),
    }
    for text, wanted in filters.items():
        yield f"certificate list{text}", partial(certificates.page, reader, wanted, None, now)
    statuses: tuple[certificates.Status, ...] = ("valid", "expired", "revoked")
    for status in statuses:
        yield f"certificate list --status {status}", partial(certificates.page, reader, Filter(), status, now)
        yield (
            f"certificate list --status {status} of an owner",
            partial(certificates.page, reader, Filter(owner=owner), status, now),
        )
    for text, image in (("an image", row["certificates"]["image"]), ("an image that nobody has", "ami-0")):
        yield f"valid certificates of {text}", partial(certificates.page, reader, Filter(image=image), "valid", now)
    for text, wanted in filters.items():
        before = None if wanted.before is None else Position(middle.time, "")
        yield f"instance list{text}", partial(instances.page, reader, replace(wanted, before=before))
    middle_event = Filter(before=Position(middle.time, 1))
    for text, wanted in filters.items():
        if "middle" not in text:
            yield f"events{text}", partial(events.page, reader, wanted)
    yield "events of an instance", partial(events.page, reader, Filter(instance=instance))
    yield "events, a page in the middle", partial(events.page, reader, middle_event)
    yield "account list", partial(accounts.page, reader, Filter())
    yield "orders list of an account", partial(orders.of_account, reader, account, None, 100)
    yield "open orders of an account", partial(order_counts.count_open, reader, account, now, 100)
    yield "waiting authorizations of an account", partial(order_counts.count_waiting, reader, account, now, 300)
    yield "names of an account", partial(proven.controlled_names, reader, account, now)
    yield "revoked certificates, counted", partial(revocation_lists.count, reader, issuer, now)
    yield "revoked certificates, for a list", partial(revocation_lists.revoked, reader, issuer, now)


def ask(home: Home) -> dict[str, tuple[float, str]]:
    """The median CPU milliseconds of each question, and its plan."""
    connection = sqlite3.connect(home.file)
    connection.row_factory = sqlite3.Row
    reader, found = Watched(connection), {}
    for name, question in questions(home, reader):
        taken = []
        for _ in range(_RUNS):
            reader.asked.clear()
            begun = time.process_time_ns()
            question()
            taken.append(time.process_time_ns() - begun)
        found[name] = (statistics.median(taken) / 1e6, reader.plan())
    connection.close()
    return found


def serve(home: Home, count: int) -> dict[str, tuple[float, str]]:
    """What orders and revocation lists take of a server: CPU milliseconds an order, milliseconds a list."""
    with sqlite3.connect(home.file) as connection:
        connection.execute("DELETE FROM revocation_lists")
    connection.close()
    home.ca.start("--workers", "2")
    try:
        return {**_orders(home, count), **_lists(home.ca)}
    finally:
        home.ca.stop()


def _orders(home: Home, count: int) -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    ca = home.ca
    assert ca.process is not None
    generator = Generator(ca.directory, ca.root, with_iid01, 8)
    for name, which in (("order", generator.accounts(8)), ("order of an account with many", [home.account])):
        jobs = jobs_of_instances(which, count + 40)
        generator.run(jobs[:40], 120)
        before = processes.cpu(ca.process.pid)
        load = generator.run(jobs[40:], 120)
        taken = sum(processes.cpu(ca.process.pid).since(before))
        found[f"{name}, CPU"] = (1000 * taken / len(load.latencies), "")
        found[f"{name}, p99"] = (1000 * sorted(load.latencies)[len(load.latencies) * 99 // 100], "")
    generator.close()
    return found


def _lists(ca: CA) -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    for name in ("revocation list, signed", "revocation list, kept"):
        begun = time.perf_counter()
        answer = requests.get(f"{ca.url}/crl", verify=str(ca.root), timeout=60)
        answer.raise_for_status()
        found[name] = (1000 * (time.perf_counter() - begun), f"{len(answer.content)} bytes")
    return found


def prune(home: Home) -> dict[str, tuple[float, str]]:
    """What it takes to remove what ended long ago, CPU milliseconds and milliseconds a transaction."""
    settings = ca_toml.load(home.ca.home)
    settings = replace(settings, retention=replace(settings.retention, certificates=_KEPT_DAYS * 86400))
    database, now = open_store(settings.store.url), int(time.time())
    marks = [(time.process_time(), time.perf_counter())]

    def goes_on() -> bool:
        marks.append((time.process_time(), time.perf_counter()))
        return len(marks) <= _PRUNED_BATCHES

    removed = pruning.prune(settings, database, "operator", now, goes_on)
    database.close()
    cpu, taken = (
        statistics.median(after - before for before, after in pairwise(column)) for column in zip(*marks, strict=True)
    )
    name = f"pruning {pruning.BATCH} certificates"
    # Between two transactions it waits as long as the one took.
    return {f"{name}, CPU": (1000 * cpu, str(removed)), f"{name}, with its pause": (1000 * taken, "")}


def least(rounds: Sequence[Mapping[str, tuple[float, str]]]) -> dict[str, tuple[float, str]]:
    """Each line's least figure: what else the machine does only adds to it."""
    return {name: min(found[name] for found in rounds) for name in rounds[0]}


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description="Whether cost stays flat with many certificates in the store.")
    parser.add_argument("--certificates", type=int, default=20_000, help="how many the one store has (20000)")
    parser.add_argument("--few", type=int, default=10_000, help="how many the other has (10000)")
    parser.add_argument("--orders", type=int, default=400, help="orders that are measured on each (400)")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured in turn (3)")
    parser.add_argument("--folder", type=Path, help="an empty folder for its home, which is kept")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acme-iid-million-") as temporary:
        folder = options.folder or Path(temporary)
        many = make(folder / "many")
        shutil.copytree(many.ca.home, Path(temporary) / "few")
        few = Home(CA(Path(temporary) / "few", port=many.ca.port), many.account, many.rows)
        for home, count in ((few, options.few), (many, options.certificates)):
            begun = time.monotonic()
            Copies(home, count).write()
            size = home.file.stat().st_size
            print(
                f"{count} certificates, {size / 1e6:.0f} MB, {size / 1000 / count:.2f} kB each, "
                f"{time.monotonic() - begun:.0f} s",
                file=sys.stderr,
            )
        homes = (few, many)
        rounds = [[{**ask(home), **serve(home, options.orders)} for home in homes] for _ in range(options.rounds)]
        found = [least(of_one) for of_one in zip(*rounds, strict=True)]
        before, after = ({**figures, **prune(home)} for figures, home in zip(found, homes, strict=True))
    lines = [["what", f"{options.few} certificates, ms", f"{options.certificates}, ms", "ratio", "notes"]]
    for name, (taken, _) in before.items():
        then, notes = after[name]
        lines.append([name, f"{taken:.2f}", f"{then:.2f}", f"{then / taken:.1f}", notes])
    show(lines, options.markdown)


if __name__ == "__main__":
    main()
