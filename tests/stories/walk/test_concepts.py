"""The examples of docs/concepts, typed as they stand: each prints what its page says.

An example is a block ```console: a line with ``$`` is typed, and the lines below it are what it prints, standard error
included. There a ``…`` stands for anything. Each page's examples run on a CA and a VM of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forge
import pytest
from pages import REPOSITORY, blocks
from ports import free_port
from running import ACCOUNT, CA

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve

PAGES = [path.relative_to(REPOSITORY).as_posix() for path in sorted((REPOSITORY / "docs" / "concepts").glob("*.md"))]
WITH_EXAMPLES = [name for name in PAGES if list(blocks("console", name))]
INSTANCE = "i-05e360db6e50b5eda"


def examples(page: str) -> Iterator[tuple[str, str]]:
    """The commands of a page, each with what it prints."""
    for block in blocks("console", page):
        for example in re.findall(r"^\$ .*\n(?:(?!\$ ).*\n)*", block.text, re.MULTILINE):
            command, _, printed = example.partition("\n")
            yield command.removeprefix("$ "), printed


def fits(printed: str, expected: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of whoever types on the pages: a CA that is served, and a VM that trusts it."""
    ca = CA(tmp_path / "ca", free_port())
    roots = tmp_path / "simulator.pem"
    roots.write_bytes(forge.keys().certificates)
    ca.cli("init", "--name", "My CA", "--domain", "internal", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    ca.cli("provisioner", "add", "My AWS", "--type", "AWS", "--aws-account", ACCOUNT, "--iid-roots", roots,
           "--allow", "*.web.internal", "--allow", "{instance_id}.vm.internal")  # fmt: skip
    ca.start()
    with serve(aws.tree(aws.Instance(account=ACCOUNT, instance_id=INSTANCE), forge.keys())) as metadata:
        places = {"ACME_IID_CONFIG_DIR": str(tmp_path / "config"), "ACME_IID_STATE_DIR": str(tmp_path / "state")}
        env = {
            **os.environ,
            **places,
            "ACME_IID_CA_HOME": str(ca.home),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "NO_PROXY": "*",
        }
        bootstrap = f"acme-iid bootstrap --ca-url {ca.url} --fingerprint {ca.fingerprint}"
        assert typed(bootstrap, tmp_path, env)
        yield env
    ca.kill()


def typed(command: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_the_examples_of_a_page_print_what_it_says(page: str, shell: dict[str, str], tmp_path: Path) -> None:
    if page.endswith("/events.md"):
        # Its examples begin after a certificate and a refusal.
        typed("acme-iid order a.web.internal a.crt a.key", tmp_path, shell)
        typed("acme-iid order db.internal b.crt b.key", tmp_path, shell)
    for command, expected in examples(page):
        printed = typed(command, tmp_path, shell)
        assert fits(printed, expected), f"{page}: {command}\n{printed}"


def test_what_a_page_says_is_compared_whole() -> None:
    assert len(WITH_EXAMPLES) >= 4
    assert fits("OK: 9 events, head 9:ab\n", "OK: … events, head …\n")
    assert not fits("OK: 9 events, head 9:ab\nand more\n", "OK: 9 events, head 9:ab\n")
    assert not fits("", "OK")
