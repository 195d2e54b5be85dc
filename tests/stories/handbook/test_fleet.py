"""The tutorial on a fleet: its rule, and a look at machines; tests/stories/system boots with its user data."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import forge
from machine import ec2_machine
from pages import blocks, commands, page
from running import ACCOUNT, CA

from acme_iid.simulator import aws

PAGE = "docs/tutorials/fleet.md"
MACHINES = 3
OF_CLOUDS = [block for block in blocks("sh") if block.name.startswith("cloud-")]
"""The blocks that need a real cloud."""


def typed(ca: CA, folder: Path, name: str, *instead: tuple[str, str]) -> str:
    """Type a block of the page on the CA's machine; what it printed."""
    text = commands(name)
    for shown, real in instead:
        assert shown in text
        text = text.replace(shown, real)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACME_IID")}
    env = {**kept, "ACME_IID_CA_HOME": str(ca.home), "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_fleet_is_let_in_looked_at_and_renewed_as_typed(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    (tmp_path / "roots.pem").write_bytes(forge.keys().certificates)
    real = ("--aws-account 123456789042", f"--iid-roots roots.pem --aws-account {ACCOUNT}")
    assert "web.local" in typed(ca, tmp_path, "fleet-rule", real, ("account=123456789042", f"account={ACCOUNT}"))
    ca.start()
    try:
        with ExitStack() as stack:
            for number in range(MACHINES):
                instance = aws.Instance(account=ACCOUNT)
                vm = stack.enter_context(ec2_machine(tmp_path / f"vm-{number}", instance))
                vm.bootstrap(ca)
                vm.run("order", "web.local", vm.crt, vm.key)
        shown = typed(ca, tmp_path, "fleet-watch")
        assert shown.count(f"{ACCOUNT}:") >= MACHINES
        assert f"Asked for the renewal of {MACHINES} certificates" in typed(ca, tmp_path, "fleet-renew")
    finally:
        ca.kill()


def test_what_needs_a_real_cloud_is_on_two_pages_and_can_be_parsed() -> None:
    assert len({block.page for block in OF_CLOUDS}) <= 2
    for block in OF_CLOUDS:
        assert "\nThis block needs a real cloud:\n\n```sh cloud-" in page(block.page)
        subprocess.run(["bash", "-n", "-c", block.text], check=True)


def test_each_block_of_the_tutorial_is_typed() -> None:
    named = {block.name for block in blocks("sh", PAGE)}
    assert named == {"fleet-rule", "fleet-user-data", "cloud-launch", "fleet-watch", "fleet-renew"}
