"""The services that renew do what is asked of them, confined as they are shipped, where systemd has booted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted import Container, container, wheels
from cryptography import x509
from pages import commands
from programs import EXAMPLES, system
from running import CA
from stand_ins import ec2

from acme_iid.simulator import aws

SERVICES = sorted(file.name for file in EXAMPLES.glob("*.service"))
PAIRS = "/etc/ssl/acme-iid"
# A stand-in: what matters is that a confined process may have systemd reload another service.
NGINX = """\
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reloaded >> /var/nginx.reloads'
"""
SCRIPT = """\
#!/bin/sh
set -e
cp "$ACME_IID_CERTIFICATE" /var/lib/app/served.crt
runuser -u postgres -- sh -c 'id -un > /var/lib/postgresql/ran-as'
"""
# As its timer would find it once the certificate is due.
DUE = """\
[Service]
ExecCondition=
ExecStart=
ExecStart=/usr/local/bin/acme-iid renew --force /etc/ssl/acme-iid/%i.crt /etc/ssl/acme-iid/%i.key
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_exposed_to_little(tmp_path: Path, service: str) -> None:
    name = service.replace("@.", "@foo.local.")
    shutil.copy(EXAMPLES / service, tmp_path / name)
    done = system("systemd-analyze", "security", "--offline=yes", "--threshold=35", "--no-pager", tmp_path / name)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@pytest.fixture
def machine(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, shared_ca: CA, instance: aws.Instance
) -> Iterator[Container]:
    """A machine with the client and its services, an nginx and a user postgres."""
    with container(tmp_path / "machine") as made, ec2(instance) as service:
        own = wheels(tmp_path_factory.mktemp("wheels"))
        shutil.copytree(own.parent, made.root / "wheels")
        for unit in EXAMPLES.glob("acme-iid-*"):
            shutil.copy(unit, made.root / "etc/systemd/system")
        endpoint = f"AWS_EC2_METADATA_SERVICE_ENDPOINT={service.url}"
        made.write("/etc/systemd/system.conf.d/metadata.conf", f"[Manager]\nDefaultEnvironment={endpoint}\n")
        made.write("/etc/environment.sh", f"export {endpoint}\n")
        made.write("/etc/systemd/system/nginx.service", NGINX)
        made.write("/etc/systemd/system/acme-iid-renew@web.service.d/due.conf", DUE)
        made.write("/var/lib/app/hook", SCRIPT)
        (made.root / "var/lib/app/hook").chmod(0o755)
        with made.booted():
            succeed(
                made,
                "useradd --system --home-dir /var/lib/postgresql --create-home postgres",
                "python3 -m venv /opt/acme-iid",
                f"/opt/acme-iid/bin/pip install --quiet --no-index --find-links /wheels /wheels/{own.name}",
                "ln -s /opt/acme-iid/bin/acme-iid /usr/local/bin/acme-iid",
                "systemctl start nginx",
                f"acme-iid bootstrap --ca-url {shared_ca.url} --fingerprint {shared_ca.fingerprint}",
                f"mkdir {PAIRS}",
            )
            yield made


def succeed(machine: Container, *lines: str) -> None:
    """Have a shell of root's run lines, each of which must succeed."""
    done = machine.run("bash", "-ec", "\n".join((". /etc/environment.sh", *lines)))
    assert done.returncode == 0, done.stdout + done.stderr


def read(machine: Container, path: str) -> str:
    file = machine.root / path.lstrip("/")
    return file.read_text() if file.exists() else ""


def serial(text: str) -> int:
    return x509.load_pem_x509_certificate(text.encode()).serial_number if text else 0


def test_commands_of_certificates_do_their_work_in_the_sandbox(machine: Container) -> None:
    installed = ("db.crt", "db.key")
    succeed(
        machine,
        commands("own-commands"),
        f"acme-iid order app.local {PAIRS}/app.crt {PAIRS}/app.key --exec /var/lib/app/hook",
        "acme-iid trust install",
        "systemctl start acme-iid-renew",
    )
    before = {name: serial(read(machine, f"{PAIRS}/{name}.crt")) for name in ("web", "db", "app")}
    # What has been done outside of the sandbox counts for nothing.
    for file in ("var/nginx.reloads", "var/lib/app/served.crt", "var/lib/postgresql/ran-as",
                 *(f"var/lib/postgresql/{name}" for name in installed)):  # fmt: skip
        (machine.root / file).unlink()
    (store,) = (machine.root / "usr/local/share/ca-certificates").iterdir()
    store.unlink()
    succeed(machine, "systemctl reload acme-iid-renew")

    def done() -> bool:
        log = machine.run("journalctl", "--unit=acme-iid-renew", "--output=cat").stdout
        assert "ERROR" not in log, log
        return log.count("certificate renewed, next in") == len(before) and store.exists()

    machine.until(done, 120)
    after = {name: serial(read(machine, f"{PAIRS}/{name}.crt")) for name in before}
    assert all(after[name] != before[name] for name in before)
    assert read(machine, "/var/nginx.reloads") == "reloaded\n"
    owners = machine.run("stat", "--format=%U %a", *(f"/var/lib/postgresql/{name}" for name in installed)).stdout
    assert owners == "postgres 600\n" * 2
    assert serial(read(machine, "/var/lib/postgresql/db.crt")) == after["db"]
    assert serial(read(machine, "/var/lib/app/served.crt")) == after["app"]
    assert read(machine, "/var/lib/postgresql/ran-as") == "postgres\n"
    # The service of a timer, for one certificate.
    succeed(machine, "systemctl stop acme-iid-renew", "systemctl start acme-iid-renew@web.service")
    assert serial(read(machine, f"{PAIRS}/web.crt")) != after["web"]
    assert read(machine, "/var/nginx.reloads") == "reloaded\n" * 2
    # And outside of what it is for, it may write nothing.
    machine.write("/etc/systemd/system/acme-iid-renew@web.service.d/due.conf", DUE + "ExecStartPost=touch /usr/x\n")
    assert machine.run("sh", "-c", "systemctl daemon-reload && systemctl start acme-iid-renew@web").returncode != 0
    log = machine.run("journalctl", "--unit=acme-iid-renew@web", "--output=cat").stdout
    assert "cannot touch '/usr/x': Read-only file system" in log, log
