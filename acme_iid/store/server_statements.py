"""What PostgreSQL is sent at the beginning of each kind of transaction, and with each write."""

from __future__ import annotations

from acme_iid.store import fence
from acme_iid.store.deadlines import BEGUN
from acme_iid.store.writes import Statement

SNAPSHOT_SECONDS = 600
"""The seconds for which an answer in a snapshot is waited for."""
_MIGRATION_SECONDS = 60
_MIGRATION_LOCK = 0x61636D6569696401  # "acmeiid" and 1: nobody else's
_TIME = "extract(epoch FROM clock_timestamp())::float8"

BEGIN = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {BEGUN}; "  # noqa: S608 - our own words
    f"SELECT {_TIME} AS time, min_writer FROM fence"
).encode()
"""A transaction of several round trips. Its row: the server's time, and who may write, which stays so until the end."""
FIRST = (
    f"SELECT {BEGUN}, {_TIME} AS time, "
    f"1 / CASE WHEN abs({_TIME} - CAST(:time AS float8)) <= :most THEN 1 ELSE 0 END AS exact"
)
"""The first statement of a write: what holds until its end, the server's time, and whether the two clocks agree."""
FENCE = Statement(f"SELECT 1 / CAST(min_writer <= {fence.WRITER} AS INT) AS held FROM fence", {})  # noqa: S608 - as above
"""The second one, which fails where this program may not write; the first one's limits count for it already."""
INBOX = "INSERT INTO event_inbox (at, entry) VALUES (:at, :entry)"
BEGIN_MIGRATION = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; "
    f"SET LOCAL lock_timeout = '{_MIGRATION_SECONDS}s'; SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"
).encode()
BEGIN_SNAPSHOT = (
    f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '{SNAPSHOT_SECONDS - 10}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{SNAPSHOT_SECONDS - 10}s'; SELECT 1 AS one"
).encode()
