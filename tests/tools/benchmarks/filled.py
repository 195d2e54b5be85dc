"""Stores that hold as many certificates as are asked for, each as the server would have written it."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.generator import Account, Generator, jobs_of_instances, with_iid01
from running import CA

from acme_iid.config import ca_toml
from acme_iid.operations.fleet_sampling import MOST_OWNERS, SHOWN_HOURS, SPARE_HOURS
from acme_iid.store import fleet_samples, lookups, refusal_counts
from acme_iid.store.chain import Entry, Link
from acme_iid.store.database import open_store
from acme_iid.store.fleet import OTHERS, Ending, Owned
from acme_iid.store.fleet_samples import KEPT_SECONDS, Sample
from acme_iid.store.writes import Row, Write

DAYS = 90
PER_INSTANCE = 4
BATCH = 5000
REVOKED = 50


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
    tables = ("accounts", "orders", "certificates", "instances", "events", "lookups", "holders", "traits", "issuers")
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
    """Writes the order of a home many times more.

    :param days: the days up to now over which they are spread.
    """

    def __init__(self, home: Home, count: int, days: int = DAYS) -> None:
        self._home, self._count, self._days = home, count, days
        self._instances = max(1, count // PER_INSTANCE)
        self._random = random.Random(1)
        row = {table: rows[0] for table, rows in home.rows.items()}
        of_instance = {
            row["accounts"]["id"]: "account",
            home.account.key.jwk["x"]: "x",
            home.account.key.jwk["y"]: "y",
            row["accounts"]["thumbprint"]: "thumbprint",
            row["instances"]["instance_id"]: "instance",
            name_of(home): "name",
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
        while batch := list(islice(made, BATCH)):
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
            if done % (20 * BATCH) == 0:
                print(f"{done} certificates after {time.monotonic() - begun:.0f} s", file=sys.stderr)
        connection.execute("UPDATE followings SET seq = ?", (self._latest.seq,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()

    def _rows(self) -> Iterator[dict[str, list[list[Any]]]]:
        known: dict[int, dict[str, str]] = {0: self._own}
        start = int(time.time()) - 3600 - self._days * 86400
        lifetime = self._home.rows["certificates"][0]["not_after"] - self._made
        left = REVOKED
        for number in range(self._count):
            at = start + number * self._days * 86400 // self._count
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
                del made["accounts"], made["instances"], made["events"][0], made["holders"], made["traits"]
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


def add_hours(home: Home, now: int) -> None:
    """Write what a server has counted in ninety days, as much as there can be: all owners and causes that are apart."""
    hours = range(now - KEPT_SECONDS + 3600, now, 3600)
    owners = tuple(Owned("aws", f"{number:012}", 1000, 2000 - number) for number in range(MOST_OWNERS))
    store = open_store(ca_toml.load(home.ca.home).store.url)
    for hour in hours:
        ending = tuple(
            Ending((hour // 3600 + number) * 3600, 5000, 4000) for number in range(SHOWN_HOURS + SPARE_HOURS)
        )
        sample = Sample(hour, (*owners, Owned(OTHERS, None, 10, 20)), ending)
        store.commit(Write([fleet_samples.add(sample)], lambda _rows: None))
    store.close()
    connection = sqlite3.connect(home.file)
    connection.executemany(
        "INSERT INTO refusal_counts (hour, step, rule, refusals) VALUES (?, ?, ?, ?)",
        (
            (hour // 3600 * 3600, "admission", f"accounts of provisioner-{number}", 100 + number)
            for hour in hours
            for number in range(refusal_counts.MOST)
        ),
    )
    connection.commit()
    connection.close()


def name_of(home: Home) -> str:
    """The name that the home's order was for."""
    found: str = json.loads(home.rows["orders"][0]["doc"])["names"][0][1]
    return found
