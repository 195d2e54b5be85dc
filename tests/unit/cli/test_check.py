"""``acme-iid-ca check``: its words and exit statuses, and the same words of a server and of ``provisioner add``."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import CA

ANY_NAME = "any instance that 'Web' admits may hold any name in local, internal."
WIDE = "any client in 0.0.0.0/0 is believed about the sender of a request (X-Forwarded-For)"


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    made = CA(tmp_path / "ca")
    made.init()
    made.cli("provisioner", "update", provisioner_of(made), "--allow", "{instance_id}.local")
    yield made
    if made.process is not None:
        made.stop()


def provisioner_of(ca: CA) -> str:
    """The name of the provisioner that the CA was made with."""
    (entry,) = json.loads(ca.cli("provisioner", "list", "--json").stdout)
    return str(entry["name"])


def edit(ca: CA, old: str, new: str) -> None:
    """Change ca.toml."""
    file = ca.home / "ca.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_it_ends_with_0_where_nothing_is_unsafe(ca: CA) -> None:
    done = ca.try_cli("check")
    assert (done.code, done.stdout) == (0, f"Nothing unsafe in {ca.home / 'ca.toml'}.\n")
    assert (ca.try_cli("check", "--json").stdout).strip() == "[]"


def test_it_ends_with_1_and_says_what_is_unsafe(ca: CA) -> None:
    added = ca.cli("provisioner", "add", "Web", "--type", "AWS", "--aws-account", "123456789042")
    edit(ca, "[server]\n", '[server]\nproxies = ["0.0.0.0/0"]\n')
    done = ca.try_cli("check")
    assert done.code == 1
    lines = done.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["[wide-proxies]", "[any-name]"]
    assert lines[0].startswith(f"unsafe: {WIDE}")
    assert lines[1].startswith(f"unsafe: {ANY_NAME}")
    # provisioner add says the same of the provisioner.
    words = lines[1].removeprefix("unsafe: ").removesuffix(" [any-name]")
    assert f"Warning: {words}\n" in added.stderr
    found = json.loads(ca.try_cli("check", "--json").stdout)
    assert [(entry["code"], entry["severity"], entry["where"]) for entry in found] == [
        ("wide-proxies", "unsafe", "server.proxies"),
        ("any-name", "unsafe", "provisioner 'Web'"),
    ]
    assert f"{found[1]['sentence']} {found[1]['remedy']}" == words


def test_it_ends_with_2_where_a_file_cannot_be_used(ca: CA) -> None:
    missing = ca.try_cli("check", "--password-file", ca.home / "nowhere")
    assert missing.code == 2
    assert "nowhere" in missing.stderr
    assert ca.try_cli("check", "--unknown").code == 2
    edit(ca, "test-roots.pem", "none.pem")
    done = ca.try_cli("check")
    assert done.code == 2
    assert "none.pem cannot be read" in done.stderr
    edit(ca, "none.pem", "test-roots.pem")
    edit(ca, "\ndomains = ", "\ndomanis = ")
    done = ca.try_cli("check")
    assert done.code == 2
    assert "unknown key 'domanis'" in done.stderr


def test_a_server_logs_the_findings_at_start_and_at_reload(ca: CA) -> None:
    ca.cli("provisioner", "add", "Web", "--type", "AWS", "--aws-account", "123456789042")
    (ca.home / "ca.toml").chmod(0o622)
    first = ca.try_cli("check").stdout.splitlines()
    assert len(first) == 2
    ca.start()
    assert [line for line in first if any(line in logged for logged in ca.log)] == first
    assert not any("wide-proxies" in line for line in ca.log)
    edit(ca, "[server]\n", '[server]\nproxies = ["0.0.0.0/0"]\n')
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    ca.until_logged("[wide-proxies]")
    assert any(ca.try_cli("check").stdout.splitlines()[0] in logged for logged in ca.log)


def test_hosts_without_networks_are_warned_of_when_they_are_added(ca: CA) -> None:
    hosts = ("--type", "ACME", "--challenge", "http-01")
    done = ca.cli("provisioner", "add", "Racks", *hosts)
    assert (
        "Warning: anybody who can point a name in local, internal to an address can have this CA connect" in done.stderr
    )
    assert "networks (--network) says where the hosts are." in done.stderr
    assert "Warning" not in ca.cli("provisioner", "update", "Racks", "--network", "10.20.0.0/16").stderr
