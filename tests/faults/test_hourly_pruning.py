"""A server with two workers prunes once, and says and records what it removed."""

from __future__ import annotations

import json
import time

from running import CA


def test_one_of_two_workers_prunes_and_leaves_one_event(own_ca: CA) -> None:
    key = json.loads(own_ca.cli("eab", "add", "--expires", "1s", "--json").stdout)
    config = own_ca.home / "ca.toml"
    config.write_text(config.read_text() + '\n[retention]\norders = "1h"\n')
    time.sleep(1.1)  # the key runs out
    own_ca.start("--workers", "2", prefix=("faketime", "-f", "+2h"))
    deadline = time.monotonic() + 30
    while not any("Pruned the store" in line for line in own_ca.log) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)  # the other worker has looked by then
    own_ca.stop()
    assert [line.partition("Pruned")[2] for line in own_ca.log if "Pruned" in line] == [" the store: 1 external keys\n"]
    told = json.loads(own_ca.cli("events", "--json").stdout)
    assert [event["removed"] for event in told if event["kind"] == "store.pruned"] == [{"external_keys": 1}]
    assert key["key_id"] not in own_ca.cli("eab", "list", "--json").stdout
