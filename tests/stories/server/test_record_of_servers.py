"""Starts, reloads, changes of ca.toml, backups and restorations stand in the record, whoever made them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from running import CA
from serving import wait_until


def found(ca: CA, *kinds: str) -> list[dict[str, Any]]:
    """The events of some kinds, the first one first."""
    shown = json.loads(ca.cli("events", "--json", "--limit", "1000").stdout)
    return [event for event in reversed(shown) if event["kind"] in kinds]


def reload(ca: CA, times: int) -> None:
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sum("The configuration was reloaded." in line for line in ca.log) >= times)


def test_a_server_of_two_processes_starts_and_reloads_once(own_ca: CA) -> None:
    own_ca.start("--workers", "2")
    (started,) = found(own_ca, "server.started")
    before = found(own_ca, "ca.made", "configuration.changed")
    file = own_ca.home / "ca.toml"
    text = file.read_text()
    file.write_text(text.replace("[ca]", '[ca]\nwebsite = "https://ca.example/"', 1))
    reload(own_ca, 2)
    (reloaded,) = found(own_ca, "server.reloaded")
    assert reloaded["run"] == started["run"]
    *same, changed = found(own_ca, "ca.made", "configuration.changed")
    assert same == before
    assert [event["before"] for event in (*same[1:], changed)] == [
        same[0]["configuration"], *(event["after"] for event in same[1:])
    ]  # fmt: skip
    assert changed["difference"] == ['+ ca.website = "https://ca.example/"']
    assert started["configuration"] == changed["before"]
    assert reloaded["configuration"] == changed["after"]
    assert ["actor" in event for event in (started, reloaded, changed)] == [True, False, False]


def test_what_changed_while_no_server_ran_is_seen_at_the_start(own_ca: CA) -> None:
    own_ca.start()
    own_ca.stop()
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]", '[ca]\nwebsite = "https://ca.example/"', 1))
    own_ca.start()
    assert len(found(own_ca, "server.started")) == 2
    assert found(own_ca, "configuration.changed")[-1]["difference"] == ['+ ca.website = "https://ca.example/"']


def test_a_provisioner_command_names_its_operator_and_not_the_next_reload(own_ca: CA) -> None:
    own_ca.start()
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]", '[ca]\nwebsite = "https://ca.example/"', 1))
    own_ca.cli("provisioner", "add", "Batch", "--type", "GCP", "--gcp-project", "p-17", "--reason", "ticket 17")
    reload(own_ca, 1)
    *_, by_hand, by_command = found(own_ca, "configuration.changed")
    assert ("actor" in by_hand, by_hand["difference"]) == (False, ['+ ca.website = "https://ca.example/"'])
    assert by_command["actor"]["reason"] == "ticket 17"
    assert '+ provisioner["Batch"].type = "GCP"' in by_command["difference"]


def test_a_backup_and_a_restoration_name_their_operators(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    made = json.loads(own_ca.cli("backup", tmp_path / "backup", "--json", "--reason", "weekly").stdout)
    (written,) = found(own_ca, "backup.written")
    assert (written["head"], written["actor"]["reason"], written["encrypted"]) == (made["head"], "weekly", False)
    restored = CA(tmp_path / "restored")
    restored.cli("restore", tmp_path / "backup", "--reason", "a drill")
    (event,) = found(restored, "store.restored")
    assert (event["actor"]["reason"], event["actor"]["via"]) == ("a drill", "direct")
    assert "backup.written" not in restored.cli("events").stdout
    restored.cli("events", "--check")
