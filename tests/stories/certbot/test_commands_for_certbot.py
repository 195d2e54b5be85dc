"""The commands of docs/how-to/certbot.md, as typed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certbots import Program, bash, source
from pages import commands
from running import ACCOUNT, CA
from stand_ins import ec2

from acme_iid.simulator import aws


@pytest.fixture
def ca_of_the_page(tmp_path: Path) -> Iterator[CA]:
    """A CA under the name that the page has, at a port that is free."""
    ca = CA(tmp_path / "ca")
    ca.init()
    configuration = ca.home / "ca.toml"
    configuration.write_text(configuration.read_text().replace(ca.url, f"https://localhost:{ca.port}"))
    ca.start()
    yield ca
    if ca.process is not None:
        ca.stop()


def test_the_commands_for_certbot_work_as_typed(ca_of_the_page: CA, program: Program, tmp_path: Path) -> None:
    folder, home = tmp_path / "vm", tmp_path / "home"
    folder.mkdir()
    (folder / "root_ca.crt").write_bytes(ca_of_the_page.root.read_bytes())
    configuration = home / ".config" / "letsencrypt" / "cli.ini"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(
        "".join(f"{name}-dir = {folder / name}\n" for name in ("config", "work", "logs"))
        + "no-random-sleep-on-renew = true\nnon-interactive = true\n"
    )
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        env = {
            **program.env,
            "XDG_CONFIG_HOME": str(home / ".config"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url,
        }
        typed = commands("certbot").replace("https://localhost:8443/", f"https://localhost:{ca_of_the_page.port}/")
        done = bash(typed, folder, env)
    said = done.stdout + done.stderr
    assert done.code == 0, said
    assert "Successfully received certificate." in said
    assert "successfully revoked" in said
    assert "Traceback" not in said


def test_the_newest_certbot_is_installed_as_typed(tmp_path: Path, newest: Program) -> None:
    folder = source(tmp_path)
    start = time.monotonic()
    done = bash(commands("certbot-pip"), folder, {**newest.env, "PATH": "/usr/bin:/bin"})
    assert done.code == 0, done.stdout + done.stderr
    listed = subprocess.run(
        [folder / ".certbot" / "bin" / "certbot", "plugins", "--config-dir", folder / "etc", "--work-dir",
         folder / "var", "--logs-dir", folder / "log"],
        env=newest.env, capture_output=True, text=True, check=True)  # fmt: skip
    assert "* acme-iid" in listed.stdout
    assert time.monotonic() - start < 600
