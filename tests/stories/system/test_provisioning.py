"""The cloud-init and Ansible examples: what their own programs say of them. test_booted_examples.py runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import EXAMPLES, system


def test_nothing_is_installed_from_an_index_by_our_name() -> None:
    for file in sorted(EXAMPLES.iterdir()):
        # What follows "pip install" is a path or URL that the operator gives.
        for line in file.read_text().splitlines():
            assert not re.search(r"pip3? install (?:-\S+ )*[\"']?acme[-_]iid\b(?!\S*/)", line), (file.name, line)
            assert not re.fullmatch(r"\s*name: acme[-_]iid\s*", line), (file.name, line)


def test_cloud_init_takes_its_example() -> None:
    done = system("cloud-init", "schema", "--config-file", EXAMPLES / "cloud-init.yaml")
    assert done.returncode == 0, done.stderr
    assert "Valid" in done.stdout + done.stderr


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ansible-playbook, in an environment of its own."""
    folder = tmp_path_factory.mktemp("ansible")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "ansible-core"], check=True, timeout=300)
    return folder / "bin" / "ansible-playbook"


def test_ansible_takes_its_example(ansible: Path) -> None:
    done = system(ansible, "--syntax-check", "-i", "localhost,", EXAMPLES / "ansible.yml")
    assert done.returncode == 0, done.stdout + done.stderr
