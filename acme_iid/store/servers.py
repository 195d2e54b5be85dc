"""Which servers share the store now: each has a row that it writes again every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from acme_iid.store.statements import NOW, SKIP_LOCKED
from acme_iid.store.writes import Reader, Statement

FORGOTTEN_SECONDS = 600
"""The seconds that a row stays after it was last written: its server was killed."""


@dataclass(frozen=True, slots=True)
class Server:
    """One process of a server.

    :ivar id: random; another one each time it starts.
    :ivar schema: the latest of the schema's files that it knows.
    :ivar config_hash: the SHA-256 of its ca.toml, in hex.
    :ivar issuers: the ids of those whose keys it holds.
    :ivar clock: the time by its clock when it wrote this, seconds.
    :ivar seen_at: the time by the store's clock then.
    """

    id: str
    version: str
    schema: str
    config_hash: str
    issuers: tuple[str, ...]
    clock: int
    seen_at: int


def write(server: Server) -> list[Statement]:
    """Write a server's row, seen now, and forget those of servers that were killed.

    :param server: its ``seen_at`` does not count where the store has a clock of its own.
    """
    values = {
        "id": server.id,
        "version": server.version,
        "schema": server.schema,
        "config_hash": server.config_hash,
        "issuers": " ".join(server.issuers),
        "clock": server.clock,
        "now": server.seen_at,
    }
    return [
        Statement(
            f"""INSERT INTO servers (id, version, schema, config_hash, issuers, clock, seen_at)
               VALUES (:id, :version, :schema, :config_hash, :issuers, :clock, {NOW})
               ON CONFLICT (id) DO UPDATE
               SET issuers = excluded.issuers, clock = excluded.clock, seen_at = excluded.seen_at""",  # noqa: S608
            values,
        ),
        Statement(
            f"""DELETE FROM servers WHERE id IN
               (SELECT id FROM servers WHERE seen_at < {NOW} - :kept {SKIP_LOCKED})""",  # noqa: S608 - our own words
            {"now": server.seen_at, "kept": FORGOTTEN_SECONDS},
        ),
    ]


def remove(server_id: str) -> Statement:
    """Take away the row of a server that stops."""
    return Statement("DELETE FROM servers WHERE id = :id", {"id": server_id})


def difference(running: Sequence[Server]) -> str | None:
    """The sentence that says that servers have different configurations; None if they have the same.

    :param running: those of :func:`seen`.
    """
    numbers = Counter(server.config_hash for server in running)
    if len(numbers) < 2:
        return None
    listed = ", ".join(f"{config_hash[:12]} ({number})" for config_hash, number in sorted(numbers.items()))
    return f"Servers run with different ca.toml, by SHA-256 and processes: {listed}."


def seen(reader: Reader, now: int, within: int) -> list[Server]:
    """The servers that wrote their rows in the last ``within`` seconds, in the order of their ids."""
    rows = reader.rows(
        f"SELECT * FROM servers WHERE seen_at > {NOW} - :within ORDER BY id",  # noqa: S608 - our own words
        now=now,
        within=within,
    )
    return [
        Server(
            row["id"], row["version"], row["schema"], row["config_hash"], tuple(row["issuers"].split()), row["clock"],
            row["seen_at"],
        )
        for row in rows
    ]  # fmt: skip
