"""Copying a store from one engine to the other, table by table in batches.

A store in a SQLite file is moved into PostgreSQL, and then compared row by row; one in PostgreSQL is saved as it is at
one moment in a SQLite file, which is what a backup holds.

Of a store that is moved, how far each table has come stands in the target's table ``copied``, which each batch moves on
in its own transaction. So a copy that was cut off goes on where it was, a target that is half full opens as no store,
and one that holds something else is known by having none of these rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from acme_iid.store import migration
from acme_iid.store.database import Database, Transaction
from acme_iid.store.writes import Reader, Row

BATCH = 200
"""Rows that are copied, or compared, at a time."""
_AT_ONCE = 25
"""Batches that are saved in one transaction."""
_OWN = ("schema_migrations", "event_inbox", "sealing", "servers", "spent_nonces", "nonce_epochs", "copied", "fence")
_ALL = "all"

Progress = Callable[[str, int], None]
"""Told what is being done with which table, and with how many more rows."""


class CopyError(Exception):
    """The store cannot be copied, or the copy is not what the store is; the text says what to do."""


class Table(NamedTuple):
    """A table of the schema: its columns in order, those that are its primary key, and those that hold octets."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    octets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Copied:
    """A table that was copied and compared, and how many rows it has."""

    table: str
    rows: int


def tables(source: Reader) -> list[Table]:
    """The tables that hold a CA's facts, those first that others refer to.

    :param source: a SQLite store, of which the schema is read.
    """
    tables = []
    # In the order in which they were made, so what a table refers to comes before it.
    for row in source.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"):
        if row["name"] not in _OWN:
            columns = source.rows("SELECT name, pk, type FROM pragma_table_info(:name) ORDER BY cid", name=row["name"])
            key = sorted((column["pk"], column["name"]) for column in columns if column["pk"])
            octets = frozenset(column["name"] for column in columns if column["type"] == "BLOB")
            names = tuple(column["name"] for column in columns)
            tables.append(Table(row["name"], names, tuple(name for _, name in key), octets))
    return tables


def count(source: Reader) -> int:
    """The number of rows to copy."""
    return sum(_count(source, table) for table in tables(source))


def copy(
    source: Database,
    target: Database,
    progress: Progress,
    put_to_use: Callable[[Transaction], None] = lambda _transaction: None,
) -> list[Copied]:
    """Copy all that the source holds into the target, and compare every column of every row.

    :param source: a SQLite store that no server uses.
    :param target: a store in PostgreSQL with the same schema, which is empty or was partly copied from the same source.
    :param put_to_use: changes the copy in the transaction from which on it opens as a store.
    :raises CopyError: if the target holds something else, or the two are not the same at the end.
    """
    _require_known(source, target)
    identity = _identity(source)
    done = _begin(source, target, identity)
    version = _version(source)
    for table in tables(source):
        last = done.get(table.name)
        for batch in _batches(source, table, None if last is None else json.loads(last)):
            with target.transaction() as transaction:
                if _done(transaction, identity).get(table.name) != last:
                    raise CopyError("somebody else is copying the store into the same database")
                last = json.dumps([batch[-1][column] for column in table.key])
                _insert(transaction, table, batch)
                _note(transaction, identity, table.name, last)
            progress(f"copying {table.name}", len(batch))
    copied = [Copied(table.name, _compare(source, target, table, progress)) for table in tables(source)]
    # Tables that were compared earlier may have been changed since, where a server still runs.
    if _version(source) != version:
        raise CopyError(
            "the store was written to while it was copied; stop the server that uses it, empty the target "
            "and copy again"
        )
    with target.transaction() as transaction:
        if not _done(transaction, identity):
            raise CopyError("somebody else has copied the same store into the database, and it may be in use by now")
        put_to_use(transaction)
        # The engine's numbers go on behind those that were copied.
        transaction.rows("SELECT setval(pg_get_serial_sequence('orders', 'n'), max(n)) FROM orders HAVING max(n) > 0")
        transaction.run("DELETE FROM copied")
    return copied


def save(source: Reader, target: Database) -> None:
    """Copy all that the source holds into a SQLite store that is new.

    :param source: a snapshot of a store in PostgreSQL with the same schema.
    :raises CopyError: if the copy is not whole.
    """
    _require_known(source)
    for table in tables(target):
        batches = _batches(source, table, None)
        while several := list(islice(batches, _AT_ONCE)):
            with target.transaction() as transaction:
                for batch in several:
                    _insert(transaction, table, batch)
        if _count(target, table) != _count(source, table):
            raise CopyError(f"the copy's table {table.name} does not have as many rows as the store's")


def _require_known(*stores: Reader) -> None:
    """Refuse stores with tables or columns that this program does not know, and would leave out."""
    for store in stores:
        if migration.is_newer(store):
            raise CopyError(
                f"a newer acme-iid has changed the database (it has {migration.latest_applied(store)}), and this one "
                "would not copy all of it; use that version's command"
            )


def _identity(source: Database) -> str:
    """The identity of a store: the digest of its secrets."""
    rows = source.rows("SELECT name, value FROM secrets ORDER BY name")
    return hashlib.sha256(json.dumps([[row["name"], row["value"]] for row in rows]).encode()).hexdigest()


def _version(source: Reader) -> int:
    """A number that changes with what other connections write (sqlite.org/pragma.html#pragma_data_version)."""
    version: int = source.rows("PRAGMA data_version")[0]["data_version"]
    return version


def _begin(source: Database, target: Database, identity: str) -> dict[str, str]:
    """The key of the last row that was copied of each table; claims a target that is empty."""
    with target.transaction() as transaction:
        done = _done(transaction, identity)
        if not done:
            for table in tables(source):
                if transaction.rows(f"SELECT 1 FROM {table.name} LIMIT 1"):  # noqa: S608 - a name of the schema's
                    raise CopyError(
                        f"the target is not empty: its table {table.name} has rows, and they are not part of a copy; "
                        "name an empty database"
                    )
            _note(transaction, identity, _ALL, "[]")
    return done


def _done(reader: Reader, identity: str) -> dict[str, str]:
    rows = reader.rows("SELECT table_name, source, last_key FROM copied")
    if any(row["source"] != identity for row in rows):
        raise CopyError("the target holds a part of another store; name an empty database")
    return {row["table_name"]: row["last_key"] for row in rows}


def _note(transaction: Transaction, identity: str, table: str, last_key: str) -> None:
    transaction.run(
        """INSERT INTO copied (table_name, source, last_key) VALUES (:table_name, :source, :last_key)
           ON CONFLICT (table_name) DO UPDATE SET last_key = excluded.last_key""",
        table_name=table,
        source=identity,
        last_key=last_key,
    )


def _count(reader: Reader, table: Table) -> int:
    number: int = reader.rows(f"SELECT count(*) AS number FROM {table.name}")[0]["number"]  # noqa: S608 - as above
    return number


def _batches(source: Reader, table: Table, last: Sequence[object] | None) -> Iterator[list[Row]]:
    """The source's rows after the key ``last``, in the key's order."""
    key = ", ".join(table.key)
    while True:
        after = "" if last is None else f"WHERE ({key}) > ({', '.join(f':k{i}' for i in range(len(last)))})"
        rows = source.rows(
            f"SELECT {', '.join(table.columns)} FROM {table.name} {after} ORDER BY {key} LIMIT {BATCH}",  # noqa: S608
            **{f"k{i}": value for i, value in enumerate(last or ())},
        )
        if not rows:
            return
        yield rows
        last = [rows[-1][column] for column in table.key]


def _insert(transaction: Transaction, table: Table, batch: list[Row]) -> None:
    parameters: dict[str, object] = {}
    for number, row in enumerate(batch):
        for place, column in enumerate(table.columns):
            value = row[column]
            right = isinstance(value, bytes | None) if column in table.octets else isinstance(value, str | int | None)
            if not right or (isinstance(value, str) and "\0" in value):
                raise CopyError(
                    f"{_named(table, row)} has a value in {column} that acme-iid never writes: {value!r:.80}"
                )
            parameters[f"v{number}_{place}"] = value
    values = ", ".join(
        "(" + ", ".join(f":v{number}_{place}" for place in range(len(table.columns))) + ")"
        for number in range(len(batch))
    )
    transaction.run(
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES {values}",  # noqa: S608 - names of the schema's
        **parameters,
    )


def _compare(source: Reader, target: Reader, table: Table, progress: Progress) -> int:
    """Compare every column of every row; how many there are.

    :raises CopyError: naming the first row that is not the same.
    """
    total = 0
    for batch in _batches(source, table, None):
        places = ", ".join(
            "(" + ", ".join(f":k{number}_{place}" for place in range(len(table.key))) + ")"
            for number in range(len(batch))
        )
        rows = target.rows(
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE ({', '.join(table.key)}) IN ({places})",  # noqa: S608
            **{
                f"k{number}_{place}": row[column]
                for number, row in enumerate(batch)
                for place, column in enumerate(table.key)
            },
        )
        there = {tuple(row[column] for column in table.key): row for row in rows}
        for row in batch:
            copied = there.get(tuple(row[column] for column in table.key))
            if copied is None or any(_value(copied[column]) != row[column] for column in table.columns):
                raise CopyError(
                    f"{_named(table, row)} is {'missing from' if copied is None else 'another in'} the copy: the "
                    "store was changed since its rows were copied; stop the server that uses it, empty the target and "
                    "copy again"
                )
        total += len(batch)
        progress(f"comparing {table.name}", len(batch))
    if _count(target, table) != total:
        raise CopyError(
            f"the copy's table {table.name} has rows that the store does not have: one was removed since it was "
            "copied, or somebody else writes to the target; stop the servers, empty the target and copy again"
        )
    return total


def _value(value: object) -> object:
    """A column's value; a driver may give octets in a type of its own."""
    return bytes(value) if isinstance(value, memoryview) else value


def _named(table: Table, row: Row) -> str:
    return f"the row {', '.join(f'{column} {row[column]!r}' for column in table.key)} of the table {table.name}"
