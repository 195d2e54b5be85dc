"""The pages' commands, as typed: in a fresh clone, in fresh environments, in two terminals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import REPOSITORY, blocks

NAMED = {block.name: block.text for block in blocks("sh") if block.name}
STEPS = (
    "terminal-2",
    "terminal-2-refused",
    "terminal-1-operator",
    "terminal-2-more",
    "terminal-2-daemon",
    "terminal-2-look",
    "terminal-2-enroll",
    "terminal-1-rules",
    "terminal-1-clouds",
    "terminal-1-hosts",
    "terminal-1-eab",
    "terminal-1-fleet",
    "terminal-1-night",
    "terminal-1-proxy",
    "terminal-1-release",
    "terminal-1-block",
    "terminal-1-keep",
)
TYPED_ELSEWHERE = ("pki-", "keys-", "operators-", "first-", "fleet-", "cloud-", "move-", "lost-", "leave-", "evidence-")
ELSEWHERE = {
    "certbot",
    "certbot-debian",
    "certbot-pip",
    "root-crl",
    "init-store",
    "store-migrate",
    "admin-ask",
    "trust",
    "own-commands",
    "service-start",
    "service-reload",
    "service-credential",
    "service-move",
    "proxy-certificate",
    "install-ca",
    "install-serve",
    "install-vm",
    "install-certbot",
    "install-purge",
} | {name for name in NAMED if name.startswith(TYPED_ELSEWHERE)}
"""Run by certbot, pki, signing, postgres, steered, system, packages and handbook of tests/stories."""
OF_CONTRIBUTORS = {"set-up", "one-test", "static"}
"""The first two are run below; the third has what tox -e static runs (tests/unit/test_map.py)."""
PLAIN = [block.text.strip() for block in blocks("sh", "README.md") if not block.name]
SHORT = """\
X.509v3 TLS Certificate (ECDSA P-256) [Serial: 0000...0000]
  Subject:     foo.local
  Issuer:      My Intermediate CA
  Provisioner: AWS IID Provisioner [ID: 1234...9042]
  Valid from:  TIME
          to:  TIME
"""


def masked(output: str) -> str:
    """``output`` without what differs from run to run."""
    output = re.sub(r"\[Serial: \d{4}\.\.\.\d{4}\]", "[Serial: 0000...0000]", output)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", output)


def clone(target: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, target], check=True)
    return target


def python() -> str:
    """The distribution's own Python where there is one, since that is what people have."""
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user's environment with nothing of ours in it, whose python3 is the distribution's."""
    home = tmp_path_factory.mktemp("home")
    shims = home / "bin"
    shims.mkdir()
    (shims / "python3").symlink_to(python())
    # A proxy of the walk's own, which has only to be told.
    (shims / "nginx").write_text('#!/bin/sh\necho "nginx was told: $*"\n')
    (shims / "nginx").chmod(0o755)
    kept = {name: os.environ[name] for name in ("LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PATH": f"{shims}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ACME_IID_CA_HOME": str(home / "ca"),
        "ACME_IID_CONFIG_DIR": str(home / "config"),
        "ACME_IID_STATE_DIR": str(home / "state"),
        "PYTHONWARNINGS": "error::DeprecationWarning:acme_iid",
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> tuple[Path, str]:
    """A fresh clone after the README's first command, and what that printed."""
    folder = clone(tmp_path_factory.mktemp("fresh") / "acme-iid")
    (command,) = [text for text in PLAIN if "demo" in text]
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_first_command_sets_everything_up_and_shows_the_whole_way(installed: tuple[Path, str]) -> None:
    _, output = installed
    assert SHORT in masked(output)
    for line in (
        "The root certificate has been saved in ",
        "\u2714 Provisioner: AWS IID Provisioner (AWS)",
        "\u2714 Certificate: foo.local.crt",
        "\u2714 Private Key: foo.local.key",
        "Your certificate has been saved in foo.local.crt.",
        "has been revoked.",
    ):
        assert line in output
    assert output.index("has been revoked.") < output.index("closed to this instance when its certificate was revoked")


def test_the_second_command_is_toxs() -> None:
    assert "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox" in PLAIN


def test_the_base_install_brings_no_flask_and_orders(
    tmp_path: Path, installed: tuple[Path, str], environment: dict[str, str]
) -> None:
    subprocess.run([python(), "-m", "venv", tmp_path / "venv"], check=True, env=environment)
    bin_ = tmp_path / "venv" / "bin"
    subprocess.run([bin_ / "pip", "install", "--quiet", installed[0]], check=True, env=environment, timeout=300)
    listed = subprocess.run([bin_ / "pip", "list"], check=True, env=environment, capture_output=True, text=True).stdout
    names = {line.split()[0].lower() for line in listed.splitlines()[2:]}
    assert "acme-iid" in names
    assert not names & {"flask", "werkzeug", "aiohttp", "sqlite-utils", "tomlkit"}
    script = tmp_path / "walk"
    run_walk(script, installed[0], environment, client=bin_)
    assert (script / "foo.crt").is_file()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port}")


def bash(text: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def walked(tmp_path: Path, installed: tuple[Path, str], environment: dict[str, str]) -> Iterator[dict[str, str]]:
    folder = tmp_path / "walk"
    yield run_walk(folder, installed[0], environment)
    shutil.rmtree(folder)


def run_walk(folder: Path, fresh: Path, environment: dict[str, str], client: Path | None = None) -> dict[str, str]:
    """Type the walk of the README and of docs/ in two terminals; returns what each block printed."""
    folder.mkdir()
    homes = {name: str(folder / name) for name in ("ACME_IID_CA_HOME", "ACME_IID_CONFIG_DIR", "ACME_IID_STATE_DIR")}
    ca_bin = str(fresh / ".venv" / "bin")
    one = environment | homes | {"PATH": f"{ca_bin}:{environment['PATH']}"}
    two = environment | homes | {"PATH": f"{client or ca_bin}:{ca_bin}:{environment['PATH']}"}
    first = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", NAMED["terminal-1"]],
        cwd=folder,
        env=one,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    printed: dict[str, str] = {}
    try:
        wait_for(8443)
        export = NAMED["terminal-2"].splitlines()[0] + "\n"
        for name in STEPS:
            text = export + NAMED[name] if name.startswith("terminal-2-") else NAMED[name]
            if "THUMBPRINT" in text:
                text = text.replace("THUMBPRINT", thumbprint(folder, one))
            done = bash(text, folder, one if "terminal-1" in name else two)
            printed[name] = done.stdout + done.stderr
            assert (done.returncode != 0) == name.endswith("refused"), printed[name]
    finally:
        os.killpg(first.pid, signal.SIGTERM)
        printed["terminal-1"] = first.communicate(timeout=30)[0]
    return printed


def thumbprint(folder: Path, environment: dict[str, str]) -> str:
    """The thumbprint of the account key that the instance belongs to; a rebuilt VM's would be another."""
    shown = bash("acme-iid-ca instance show i-05e360db6e50b5eda --json", folder, environment)
    return str(json.loads(shown.stdout)["key_thumbprint"])


def test_the_walk_works_as_typed_in_two_terminals(walked: dict[str, str]) -> None:
    assert "Root fingerprint: " in walked["terminal-1"]
    assert "Traceback" not in "".join(walked.values())
    second = walked["terminal-2"]
    assert SHORT in masked(second)
    assert "\u2714 CA: https://localhost:8443" in second
    assert "Your certificate has been saved in foo.crt." in second
    assert "has been revoked." in second
    assert "closed to this instance" in walked["terminal-2-refused"]
    assert "challenge.refused" in walked["terminal-1-operator"]
    assert "not yet" in walked["terminal-2-more"]
    assert "has a new key, saved in" in walked["terminal-2-more"]
    assert "INFO: " in walked["terminal-2-daemon"]
    assert "123456789042" in walked["terminal-2-look"]
    assert "a.web.local" in walked["terminal-1-rules"]
    assert "my-project" not in walked["terminal-1"]
    assert "Azure" in walked["terminal-1-clouds"]
    assert "by http-01 or dns-01" in walked["terminal-1-hosts"]
    assert "left the fleet" not in walked["terminal-2-look"]
    assert "caddy on web-1" in walked["terminal-1-eab"]
    assert "Asked for the renewal of " in walked["terminal-1-fleet"]
    assert "challenge.refused, by the rule: closed name" in walked["terminal-1-night"]
    assert "nginx was told: -s reload" in walked["terminal-1-proxy"]
    assert "released" in walked["terminal-1-release"].lower()
    assert "OK" in walked["terminal-1-block"]
    assert "It holds the private keys of the CA's issuers" in walked["terminal-1-keep"]


def test_contributors_set_up_and_run_one_test_as_typed(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = clone(tmp_path / "acme-iid")
    for name in ("set-up", "one-test"):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", NAMED[name]],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert " passed in " in done.stdout


def test_every_block_of_the_pages_is_run_by_a_test() -> None:
    assert set(NAMED) == {"terminal-1", *STEPS, *ELSEWHERE, *OF_CONTRIBUTORS}
    assert len(NAMED) == len([block for block in blocks("sh") if block.name]), "two blocks share a name"
    assert [block for block in blocks("sh") if not block.name and block.page != "README.md"] == []
    assert len(PLAIN) == 2
