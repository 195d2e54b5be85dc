"""How long it takes to revoke ten thousand certificates of a store that holds a hundred thousand revoked ones.

Run from the project's root: ``python -m benchmarks.bulk FOLDER [COUNT] [REVOKED]`` with ``tests/tools`` and
``tests/support`` on the path, as CONTRIBUTING.md says. It prints seconds: for the command, for one revocation beside
it, and for the one list that is signed afterwards.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

from acting import authority_of
from benchmarks import filled

from acme_iid.authority import certificate_status, revocation
from acme_iid.operations import issuers
from acme_iid.store import certificates, lookups, revocation_lists
from acme_iid.store.listing import Filter


def main(folder: Path, count: int, revoked: int) -> None:
    """Fill a store, revoke, and say how long it took."""
    home = filled.make(folder / "ca")
    filled.Copies(home, count + revoked + 10).write()
    with sqlite3.connect(home.file) as connection:
        connection.execute("UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL, revoked_by = NULL")
        connection.execute("UPDATE certificates SET not_after = ?", (int(time.time()) + 86400,))
        connection.execute(
            """UPDATE certificates SET revoked_at = ?, revocation_reason = 0, revoked_by = 'operator'
               WHERE n IN (SELECT n FROM certificates ORDER BY issued_at, n LIMIT ?)""",
            (int(time.time()), revoked),
        )
    connection.close()
    with authority_of(home.ca.home) as authority:
        database, now = authority.database, int(time.time())
        issuers.begin(database, authority.ca, now)
        lookups.follow(database)
        (one,) = certificates.page(database, Filter(limit=1), "valid", now)
        began = time.monotonic()
        revocation.revoke_by_operator(database, one, 0, now)
        print(f"one revocation: {(time.monotonic() - began) * 1000:.1f} ms")
        began = time.monotonic()
        said = home.ca.cli("bulk", "revoke", "--all", "--yes").stdout
        print(f"{said.strip()}\nthe command: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        signed = certificate_status.current_list(authority, authority.ca.current, now)
        listed = revocation_lists.count(database, signed.key_id, signed.since)
        print(f"the list of {listed}: {time.monotonic() - began:.1f} s, {len(signed.der) / 1e6:.1f} MB")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[2:]]
    main(Path(sys.argv[1]), *numbers, *(10_000, 100_000)[len(numbers) :])
