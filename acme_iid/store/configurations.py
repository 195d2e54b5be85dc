"""The ca.toml that was recorded last, and which servers have said that they took one up."""

from __future__ import annotations

from typing import NamedTuple

from acme_iid.store.statements import NOW
from acme_iid.store.writes import Reader, Statement, again

RUN_SECONDS = 90 * 86400
"""The seconds that a server's row stays after it last said something."""
SAME_SECONDS = 10
"""The seconds in which a server's processes, told by one signal, take up the same file."""


class Recorded(NamedTuple):
    """A ca.toml: its SHA-256 in hex, and its values, a line each and without secrets."""

    sha256: str
    content: str


def latest(reader: Reader) -> Recorded | None:
    """The one that was recorded last; None if none ever was."""
    rows = reader.rows("SELECT sha256, content FROM recorded_configuration WHERE id = 1")
    return Recorded(rows[0]["sha256"], rows[0]["content"]) if rows else None


def record(before: Recorded | None, after: Recorded) -> Statement:
    """Record another one, unless somebody has done so meanwhile."""
    return Statement(
        """INSERT INTO recorded_configuration (id, sha256, content) VALUES (1, :sha256, :content)
           ON CONFLICT (id) DO UPDATE SET sha256 = excluded.sha256, content = excluded.content
           WHERE recorded_configuration.sha256 = :before""",
        {**after._asdict(), "before": "" if before is None else before.sha256},
        again,
    )


def is_started(reader: Reader, run: str) -> bool:
    """Whether a process of a server has noted that it was started."""
    return bool(reader.rows("SELECT 1 FROM server_runs WHERE id = :id", id=run))


def started(run: str, sha256: str, now: int) -> list[Statement]:
    """Note that a server was started, unless another of its processes has; those of long ago are forgotten."""
    return [
        Statement(
            f"""INSERT INTO server_runs (id, config_hash, noted_at) VALUES (:id, :sha256, {NOW})
                ON CONFLICT DO NOTHING""",  # noqa: S608 - our own words
            {"id": run, "sha256": sha256, "now": now},
            again,
        ),
        Statement(
            f"DELETE FROM server_runs WHERE noted_at < {NOW} - :kept",  # noqa: S608 - as above
            {"now": now, "kept": RUN_SECONDS},
        ),
    ]


def has_taken_up(reader: Reader, run: str, sha256: str, now: int) -> bool:
    """Whether a process of a server has noted just now that it took up this file."""
    return bool(
        reader.rows(
            f"""SELECT 1 FROM server_runs
                WHERE id = :id AND config_hash = :sha256 AND noted_at > {NOW} - :same""",  # noqa: S608 - as above
            id=run,
            sha256=sha256,
            now=now,
            same=SAME_SECONDS,
        )
    )


def reloaded(run: str, sha256: str, now: int) -> Statement:
    """Note that a server has taken up a file, unless another of its processes has just now."""
    return Statement(
        f"""INSERT INTO server_runs (id, config_hash, noted_at) VALUES (:id, :sha256, {NOW})
            ON CONFLICT (id) DO UPDATE SET config_hash = excluded.config_hash, noted_at = excluded.noted_at
            WHERE server_runs.config_hash <> :sha256 OR server_runs.noted_at <= {NOW} - :same""",  # noqa: S608 - as above
        {"id": run, "sha256": sha256, "now": now, "same": SAME_SECONDS},
        again,
    )
