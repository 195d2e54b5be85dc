"""The cloud-init and Ansible examples: what their own programs say of them, and their commands, run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import EXAMPLES, PROGRAM, system
from running import CA
from vms import VM, ec2

from acme_iid.simulator import aws


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance) -> Iterator[VM]:
    """A VM that knows no CA yet."""
    with ec2(tmp_path / "vm", instance) as machine:
        yield machine


def test_cloud_init_takes_its_example() -> None:
    done = system("cloud-init", "schema", "--config-file", EXAMPLES / "cloud-init.yaml")
    assert done.returncode == 0, done.stderr
    assert "Valid" in done.stdout + done.stderr


def test_the_commands_for_cloud_init_get_a_certificate(vm: VM, shared_ca: CA) -> None:
    text = (EXAMPLES / "cloud-init.yaml").read_text()
    # Folded as YAML folds them: '>-' joins the lines that are indented further.
    commands = [
        " ".join(line.strip() for line in item.removeprefix(">-").splitlines()).strip()
        for item in re.split(r"^  - ", text.partition("runcmd:\n")[2], flags=re.MULTILINE)[1:]
    ]
    ours = [command for command in commands if command.startswith("acme-iid ")]
    assert [command.split()[1] for command in ours] == ["bootstrap", "order"]
    for command in ours:
        changed = re.sub(r"--fingerprint \S+", f"--fingerprint {shared_ca.fingerprint}", command)
        changed = changed.replace("https://ca.local", shared_ca.url).replace("/etc/ssl/acme-iid", str(vm.folder))
        done = system("sh", "-euc", changed, env=vm.environment)
        assert done.returncode == 0, done.stderr
    assert vm.json("inspect", vm.folder / "foo.local.crt")["names"] == ["foo.local"]
    assert any(command.startswith("systemctl enable --now acme-iid-renew") for command in commands)
    for name in re.findall(r"share/acme-iid/examples/(\S+)", text):
        assert (EXAMPLES / name).is_file()


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


def test_the_playbook_gets_a_certificate_once(ansible: Path, vm: VM, shared_ca: CA) -> None:
    folder = vm.folder / "certificates"
    given = {
        "ca_url": shared_ca.url, "ca_fingerprint": shared_ca.fingerprint, "certificate_name": "foo.local",
        "certificates": folder, "acme_iid": PROGRAM.parents[1], "as_root": "false",
        "ansible_python_interpreter": sys.executable,
    }  # fmt: skip
    variables: list[str | Path] = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    environment = {**vm.environment, "ANSIBLE_LOCAL_TEMP": str(vm.folder), "HOME": str(vm.folder)}
    command = (
        ansible,
        "-i",
        "localhost,",
        "-c",
        "local",
        "--tags",
        "certificate",
        *variables,
        EXAMPLES / "ansible.yml",
    )
    first = system(*command, env=environment)
    assert first.returncode == 0, first.stdout + first.stderr
    assert vm.json("inspect", folder / "foo.local.crt")["names"] == ["foo.local"]
    assert "changed=2 " in first.stdout
    before = (folder / "foo.local.crt").read_bytes()
    second = system(*command, env=environment)
    assert "changed=0 " in second.stdout, second.stdout + second.stderr
    assert (folder / "foo.local.crt").read_bytes() == before
