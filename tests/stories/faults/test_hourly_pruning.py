"""A server with two workers prunes once, and says and records what it removed."""

from __future__ import annotations

import json
import time

from running import CA
from writing import put

from acme_iid.protocol.resources import ExternalKey
from acme_iid.store import external_keys
from acme_iid.store.database import SQLite
from acme_iid.store.migration import migrate


def test_one_of_two_workers_prunes_and_leaves_one_event(own_ca: CA) -> None:
    database = SQLite(own_ca.home / "ca.db")
    migrate(database)
    put(database, external_keys.add(ExternalKey("old", "A" * 43, None, reusable=False, created_at=0, expires_at=1)))
    database.close()
    own_ca.start("--workers", "2")
    deadline = time.monotonic() + 30
    while not any("Pruned the store" in line for line in own_ca.log) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)  # the other worker has looked by then
    own_ca.stop()
    assert [line.partition("Pruned")[2] for line in own_ca.log if "Pruned" in line] == [" the store: 1 external keys\n"]
    told = json.loads(own_ca.cli("events", "--json").stdout)
    assert [event["removed"] for event in told if event["kind"] == "store.pruned"] == [{"external_keys": 1}]
    assert json.loads(own_ca.cli("eab", "list", "--json").stdout) == []
