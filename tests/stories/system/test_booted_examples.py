"""The cloud-init and Ansible examples as they are shipped, run whole in a machine that boots with systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted import Container, container, wheels
from cryptography import x509
from pages import commands
from programs import EXAMPLES
from running import CA
from stand_ins import StandIn, ec2

from acme_iid.simulator import aws

CRT = "etc/ssl/acme-iid/foo.local.crt"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, beside those that it needs."""
    return wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def service(instance: aws.Instance) -> Iterator[StandIn]:
    with ec2(instance) as stand_in:
        yield stand_in


@pytest.fixture
def machine(tmp_path: Path, package: Path, service: StandIn) -> Iterator[Container]:
    """A machine that is an instance of the cloud, with wheels that an operator has put there, and nothing installed."""
    with container(tmp_path / "machine") as made:
        shutil.copytree(package.parent, made.root / "wheels")
        made.write("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\n")
        endpoint = f"AWS_EC2_METADATA_SERVICE_ENDPOINT={service.url}"
        made.write("/etc/systemd/system.conf.d/metadata.conf", f"[Manager]\nDefaultEnvironment={endpoint}\n")
        yield made


def listed(machine: Container) -> list[tuple[str, str]]:
    done = machine.run("/usr/local/bin/acme-iid", "list", "--json")
    return [(row["certificate"], row["status"]) for row in json.loads(done.stdout)]


def is_renewed_on_reload(machine: Container) -> None:
    """The service that renews runs, and may write where certificates are."""
    before = (machine.root / CRT).read_bytes()
    machine.until(lambda: "foo.local" in machine.run("journalctl", "-u", "acme-iid-renew").stdout, 60)
    assert machine.run("systemctl", "is-active", "acme-iid-renew").stdout == "active\n"
    assert machine.run("systemctl", "reload", "acme-iid-renew").returncode == 0
    machine.until(lambda: (machine.root / CRT).read_bytes() != before, 60)
    leaf = x509.load_pem_x509_certificate((machine.root / CRT).read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["foo.local"]


def restarts(machine: Container, unit: str) -> int:
    return int(machine.run("systemctl", "show", "--value", "--property=NRestarts", unit).stdout.strip() or 0)


def seed(machine: Container, package: Path, ca: CA, name: str) -> None:
    """Have the machine's first boot do what the example says, and then something of its owner's that succeeds."""
    # By the tutorial's own commands, on the CA's machine.
    text = commands("fleet-user-data")
    for shown, real in (
        ("https://ca.internal", ca.url),
        ("https://packages.internal/acme_iid-0.1.0-py3-none-any.whl", f"/wheels/{package.name}"),
        ("name=web.local", f"name={name}"),
    ):
        assert text.count(shown) == 1
        text = text.replace(shown, real)
    text = text.replace("client/examples", str(EXAMPLES))
    env = {
        **os.environ,
        "ACME_IID_CA_HOME": str(ca.home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=machine.root, env=env, check=True, capture_output=True)
    text = (machine.root / "user-data.yaml").read_text()
    machine.write("/var/lib/cloud/seed/nocloud/user-data", text + "runcmd:\n  - touch /their-own\n")
    machine.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: first\nlocal-hostname: foo\n")
    # What an image says of itself: no other cloud is looked for, the network is there, and locales are not installed.
    own = "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: false\n"
    machine.write("/etc/cloud/cloud.cfg.d/99.cfg", own)


def test_cloud_init_brings_up_a_machine_whose_ca_is_away_at_first(
    machine: Container, package: Path, own_ca: CA
) -> None:
    seed(machine, package, own_ca, "foo.local")
    with machine.booted():
        units = ("acme-iid-bootstrap.service", "acme-iid-order@foo.local.service")
        machine.until(lambda: min(restarts(machine, unit) for unit in units) > 2, 300)
        assert "status: running" in machine.run("cloud-init", "status").stdout
        own_ca.start()
        machine.until((machine.root / CRT).exists, 60)
        status = machine.run("cloud-init", "status", "--wait", "--long")
        log = machine.root / "var/log/cloud-init-output.log"
        assert "status: done" in status.stdout, (status.stdout, log.read_text()[-3000:])
        assert (machine.root / "their-own").exists()
        machine.until(lambda: listed(machine) == [(f"/{CRT}", "valid")], 30)
        is_renewed_on_reload(machine)
        enabled = machine.run("systemctl", "is-enabled", "acme-iid-renew").stdout
        assert enabled == "enabled\n"


def test_cloud_init_is_in_error_and_says_why_if_the_ca_refuses(
    machine: Container, package: Path, shared_ca: CA
) -> None:
    seed(machine, package, shared_ca, "foo.example")
    with machine.booted():
        status = machine.run("cloud-init", "status", "--wait", "--long")
        assert "status: error" in status.stdout, status.stdout
        assert "acme-iid: " in status.stdout
        assert "foo.example is outside this CA" in status.stdout, status.stdout
        # What came after it went well, and does not hide it.
        assert (machine.root / "their-own").exists()
        log = (machine.root / "var/log/cloud-init-output.log").read_text()
        assert "foo.example is outside this CA's domains" in log, log[-3000:]


def test_the_playbook_sets_up_a_machine_once(
    machine: Container, package: Path, service: StandIn, shared_ca: CA
) -> None:
    shutil.copy(EXAMPLES / "ansible.yml", machine.root / "root")
    given = {
        "acme_iid_package": f"/wheels/{package.name}", "ca_url": shared_ca.url,
        "ca_fingerprint": shared_ca.fingerprint, "certificate_name": "foo.local",
    }  # fmt: skip
    options = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    command = ("ansible-playbook", "-i", "localhost,", "-c", "local", *options, "/root/ansible.yml")
    with machine.booted():
        first = machine.run(*command, AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
        assert first.returncode == 0, first.stdout + first.stderr
        assert listed(machine) == [(f"/{CRT}", "valid")]
        second = machine.run(*command, AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url)
        assert second.returncode == 0, second.stdout + second.stderr
        assert "changed=0 " in second.stdout, second.stdout
        is_renewed_on_reload(machine)


def test_an_order_is_tried_again_soon_or_after_hours_if_refused(machine: Container) -> None:
    for name in ("acme-iid-order@.service", "acme-iid-order@.timer"):
        shutil.copy(EXAMPLES / name, machine.root / "etc/systemd/system")
    program = machine.root / "usr/local/bin/acme-iid"
    program.write_text('#!/bin/sh\ncase "$2" in refused.*) exit 10;; esac\nexit 1\n')
    program.chmod(0o755)
    with machine.booted():
        units = ("acme-iid-order@away.local.service", "acme-iid-order@refused.local.service")
        machine.run("systemctl", "start", "--no-block", *units)
        machine.until(lambda: restarts(machine, units[0]) > 0, 120)
        assert machine.run("systemctl", "is-failed", units[1]).stdout == "failed\n"
        assert restarts(machine, units[1]) == 0
        left = machine.run("systemctl", "list-timers", "--no-legend", "acme-iid-order@refused.local.timer").stdout
        assert re.search(r"\b[12]h .*left", left), left
