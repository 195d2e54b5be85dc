"""Other people's clients, as Debian has them, get certificates by an enrolment: what 'acme-iid enroll' prints is typed.

None of them can answer iid-01, and none has anything to answer: nothing listens for a challenge, and no hook is given.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from enrolling import whole_id
from machine import Machine, ec2_machine
from ports import free_port
from running import CA

from acme_iid.simulator import aws

NAME = "foo.local"
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
RELEASED = "the instance was released to another account key"


@pytest.fixture
def vm(tmp_path: Path, shared_ca: CA, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        machine.bootstrap(shared_ca)
        yield machine


def typed(text: str, folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Type commands, on a machine where only the distribution's own programs are."""
    return subprocess.run(
        [*before, "sh", "-eu", "-c", text],
        cwd=folder,
        env={"PATH": SYSTEM, "HOME": str(folder), "LANG": "C.UTF-8", "no_proxy": "*"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def check(pem: Path) -> None:
    """A certificate for the name."""
    leaf = x509.load_pem_x509_certificate(pem.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]


def printed(vm: Machine, kind: str) -> str:
    """What the machine's owner gets to see."""
    return vm.run("enroll", NAME, "--format", kind).stdout


def release(ca: CA, instance: aws.Instance) -> None:
    ca.cli("instance", "release", whole_id(instance), "--to", "A" * 43)


def test_lego(tmp_path: Path, vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    command = printed(vm, "lego")
    done = typed(command, tmp_path)
    assert done.returncode == 0, said(done)
    check(tmp_path / ".lego" / "certificates" / f"{NAME}.crt")
    renew = command.rstrip().removesuffix("run") + "renew --days 36500 --no-random-sleep"
    assert typed(renew, tmp_path).returncode == 0
    release(shared_ca, instance)
    done = typed(renew, tmp_path)
    assert done.returncode != 0
    assert RELEASED in said(done)


def test_certbot_without_the_plugin(tmp_path: Path, vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    folders = " ".join(f"--{kind}-dir {tmp_path / kind}" for kind in ("config", "work", "logs"))
    command = f"{printed(vm, 'certbot').rstrip()} --non-interactive {folders}"
    done = typed(command, tmp_path)
    assert done.returncode == 0, said(done)
    check(tmp_path / "config" / "live" / NAME / "cert.pem")
    assert typed(f"{command} --force-renewal", tmp_path).returncode == 0
    release(shared_ca, instance)
    assert typed(f"{command} --force-renewal", tmp_path).returncode != 0
    # Debian's certbot stumbles over the library's error before it prints it.
    assert RELEASED in (tmp_path / "logs" / "letsencrypt.log").read_text()


def test_uacme(tmp_path: Path, vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    text = printed(vm, "uacme").replace("\nuacme ", f"\nuacme --confdir {tmp_path / 'uacme'} ")
    # It trusts whom the system trusts: in a mount namespace of its own, that is the CA.
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    trusting = ["unshare", "--mount", "sh", "-c", f'mount --bind "$0" {bundle} && exec "$@"', str(shared_ca.root)]
    done = typed(text, tmp_path, *trusting)
    assert done.returncode == 0, said(done)
    check(tmp_path / "uacme" / NAME / "cert.pem")
    issue = text.rstrip().rpartition("\n")[2].replace(" issue ", " --force --verbose issue ")
    assert typed(issue, tmp_path, *trusting).returncode == 0
    release(shared_ca, instance)
    done = typed(issue, tmp_path, *trusting)
    assert done.returncode != 0
    assert RELEASED in said(done)


def test_dehydrated(tmp_path: Path, vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    (tmp_path / "config").write_text(printed(vm, "dehydrated") + f"BASEDIR={tmp_path}\nWELLKNOWN={tmp_path}\n")
    done = typed("dehydrated --register --accept-terms --config config", tmp_path)
    assert done.returncode == 0, said(done)
    cron = f"dehydrated --cron --config config --domain {NAME}"
    done = typed(cron, tmp_path)
    assert done.returncode == 0, said(done)
    check(tmp_path / "certs" / NAME / "cert.pem")
    assert typed(f"{cron} --force", tmp_path).returncode == 0
    release(shared_ca, instance)
    done = typed(f"{cron} --force", tmp_path)
    assert done.returncode != 0
    assert RELEASED in said(done)


def until(condition: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_caddy(tmp_path: Path, vm: Machine, shared_ca: CA, instance: aws.Instance) -> None:
    # A port that nobody else has, and nothing of its own CA's in the system's trust.
    ours = f"http_port {free_port()}\nhttps_port {free_port()}\nstorage file_system {tmp_path}/kept\n"
    settings = f"{{\nadmin off\nskip_install_trust\n{ours}}}\n"
    (tmp_path / "Caddyfile").write_text(settings + printed(vm, "caddy"))
    log = tmp_path / "caddy.log"

    def run(condition: Callable[[], bool]) -> None:
        with log.open("w") as output:
            process = subprocess.Popen(
                ["/usr/bin/caddy", "run", "--config", "Caddyfile"], cwd=tmp_path, stdout=output, stderr=output,
                env={"PATH": SYSTEM, "HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            until(lambda: condition() or process.poll() is not None, log)
            assert condition(), log.read_text()
        finally:
            process.terminate()
            process.wait(timeout=60)

    def kept() -> list[Path]:
        return list(tmp_path.glob(f"kept/certificates/*/{NAME}/{NAME}.*"))

    run(lambda: len(kept()) == 3)
    check(next(file for file in kept() if file.suffix == ".crt"))
    for file in kept():
        file.unlink()
    release(shared_ca, instance)
    run(lambda: RELEASED in log.read_text())
    assert kept() == []
