"""Whether cost stays flat: the same requests and lists on a store with some thousand orders, and on one with a million.

Run it with ``python tests/tools/benchmarks/million.py --certificates 1000000`` (some 7 GB of disk). One order is
placed at a server for real; its rows are then written again and again under fresh ids, names and times, the record of
events with right hashes. Ninety days of them, so most have expired; a tenth are of one account and instance, and as
many of those that are in force are revoked in either store. Signed certificates alone are copies, since a million
signatures would be most of the work. In the end both are pruned of what ended thirty days ago, as far as a few
transactions come. With ``--days 1`` nearly all certificates are in force, which is the most that the hourly count of
the fleet can meet; ``--reads`` leaves the servers and the pruning out.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import cast

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import requests
from benchmarks import processes
from benchmarks.filled import DAYS, Copies, Home, add_hours, make, name_of
from benchmarks.generator import Generator, jobs_of_instances, with_iid01
from benchmarks.orders import show
from running import CA

from acme_iid.config import ca_toml
from acme_iid.operations import chain_proof, fleet_sampling, over_time, pruning
from acme_iid.operations.descriptions import instances as described
from acme_iid.store import (
    accounts,
    certificates,
    events,
    fleet,
    instances,
    order_counts,
    orders,
    proven,
    revocation_lists,
)
from acme_iid.store.database import Database, open_store
from acme_iid.store.fleet_samples import KEPT_SECONDS
from acme_iid.store.listing import Filter, Position
from acme_iid.store.sealing import Unsealed
from acme_iid.store.writes import Question, Reader, Row

_KEPT_DAYS = 30
_PRUNED_BATCHES = 30
_RUNS = 15
_COUNTED, _COUNTS = "fleet, counted", 3
"""What reads all certificates in force is asked fewer times."""


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

    def unsealed(self) -> Unsealed:
        return Unsealed(0, None)

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
    owner, name, issuer = row["instances"]["owner"], name_of(home), row["issuers"]["id"]
    middle = Position(now - DAYS * 43200, 0)
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
    yield from _pages(home, reader, now, instance)


def _pages(home: Home, reader: Watched, now: int, instance: str) -> Iterable[tuple[str, Callable[[], object]]]:
    """What a page asks."""
    yield "fleet over a week", partial(over_time.fleet, reader, now)
    yield "fleet over 90 days", partial(over_time.fleet, reader, now, KEPT_SECONDS)
    yield "what ends in 48 hours", partial(over_time.ending, reader, now)
    yield "refusals over a week", partial(over_time.refusals, reader, now)
    yield "refusals over 90 days", partial(over_time.refusals, reader, now, KEPT_SECONDS)
    yield (
        f"the latest {chain_proof.MOST} events, proven",
        partial(chain_proof.prove, home.ca.home, cast("Database", reader)),
    )
    yield (
        "certificate list of an instance with many",
        partial(certificates.page, reader, Filter(instance=instance), None, now),
    )
    yield "instance show of one with many", partial(described.whole, reader, instance, now)
    yield "refusals of an instance with many", partial(events.page, reader, Filter(refused=instance))
    for name, question in (
        ("fleet, counted", fleet.count),
        ("fleet, counted by owner", partial(fleet.owned, most=fleet_sampling.MOST_OWNERS)),
        ("fleet, counted by end", partial(fleet.ending, hours=fleet_sampling.SHOWN_HOURS)),
    ):
        yield name, partial(question, reader, now=now)


def ask(home: Home) -> dict[str, tuple[float, str]]:
    """The median CPU milliseconds of each question, and its plan."""
    connection = sqlite3.connect(home.file)
    connection.row_factory = sqlite3.Row
    reader, found = Watched(connection), {}
    for name, question in questions(home, reader):
        taken = []
        for _ in range(_COUNTS if name.startswith(_COUNTED) else _RUNS):
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
    parser.add_argument("--days", type=int, default=DAYS, help=f"the days over which they were issued ({DAYS})")
    parser.add_argument("--reads", action="store_true", help="only what is asked of the store")
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
            Copies(home, count, options.days).write()
            add_hours(home, int(time.time()))
            size = home.file.stat().st_size
            print(
                f"{count} certificates, {size / 1e6:.0f} MB, {size / 1000 / count:.2f} kB each, "
                f"{time.monotonic() - begun:.0f} s",
                file=sys.stderr,
            )
        homes = (few, many)
        rounds = [
            [{**ask(home), **({} if options.reads else serve(home, options.orders))} for home in homes]
            for _ in range(options.rounds)
        ]
        found = [least(of_one) for of_one in zip(*rounds, strict=True)]
        pruned = [{} if options.reads else prune(home) for home in homes]
        before, after = ({**figures, **also} for figures, also in zip(found, pruned, strict=True))
    lines = [["what", f"{options.few} certificates, ms", f"{options.certificates}, ms", "ratio", "notes"]]
    for name, (taken, _) in before.items():
        then, notes = after[name]
        lines.append([name, f"{taken:.2f}", f"{then:.2f}", f"{then / taken:.1f}", notes])
    show(lines, options.markdown)


if __name__ == "__main__":
    main()
