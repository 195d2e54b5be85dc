"""The pages on another address, a lost disk and leaving, typed on the CA's machine and on a VM."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from pages import blocks, commands
from running import CA

from acme_iid.simulator import aws


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance, own_ca: CA) -> Iterator[Machine]:
    """A VM with a certificate of the CA, which runs."""
    own_ca.start()
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(own_ca)
        machine.order()
        yield machine


def typed(where: CA | Machine, folder: Path, name: str, **values: str) -> str:
    """Type a block in a folder, for a CA's home or on a VM, with values for the page's words; what it printed."""
    text = commands(name)
    for word, value in values.items():
        shown = word.replace("_", ".")
        assert shown in text
        text = text.replace(shown, value)
    own = {"ACME_IID_CA_HOME": str(where.home)} if isinstance(where, CA) else where.environment
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ACME_IID")}
    env = {**kept, **own, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_ca_moves_to_another_name_as_the_page_says(own_ca: CA, vm: Machine, tmp_path: Path) -> None:
    before, after = f"127.0.0.1:{own_ca.port}", f"localhost:{own_ca.port}"
    if own_ca.url != f"https://{before}":
        before, after = after, before
    shown = typed(own_ca, tmp_path, "move-url", ca_internal=before, ca2_internal=after)
    assert "url" in shown
    own_ca.stop()
    moved = CA(own_ca.home, own_ca.port)
    moved.start()
    try:
        typed(vm, vm.folder, "move-vm", ca2_internal=after, FINGERPRINT=own_ca.fingerprint)
        assert vm.json("account", "show")["ca"].startswith(f"https://{after}")
    finally:
        moved.kill()


def test_a_lost_disk_is_replaced_by_the_backup_as_the_page_says(own_ca: CA, vm: Machine, tmp_path: Path) -> None:
    own_ca.cli("backup", tmp_path / "ca-backup.tar")
    own_ca.stop()
    shutil.rmtree(own_ca.home)
    assert "never runs again" in typed(own_ca, tmp_path, "lost-restore")
    own_ca.start()
    vm.run("renew", "--force", vm.crt, vm.key)


def test_who_leaves_takes_the_record_along_as_the_page_says(own_ca: CA, vm: Machine, tmp_path: Path) -> None:
    typed(own_ca, tmp_path, "leave-export")
    assert len(json.loads((tmp_path / "certificates.json").read_text())) == 1
    assert json.loads((tmp_path / "events.json").read_text())
    typed(vm, vm.folder, "leave-vm")
    assert "foo.local" not in typed(own_ca, tmp_path, "leave-close")


def test_each_block_of_the_pages_is_typed() -> None:
    named = {block.name for page in ("move", "lost-disk", "leave") for block in blocks("sh", f"docs/how-to/{page}.md")}
    assert named == {"move-url", "move-vm", "lost-restore", "leave-export", "leave-vm", "leave-close"}
