"""A machine that boots with systemd, the CA's package, and the lines of the page."""

from __future__ import annotations

import shutil
import ssl
import urllib.request
from pathlib import Path

from booted import Container, container
from packages.debian import deb
from pages import commands
from ports import free_port

ROOT_CERTIFICATE = "var/lib/acme-iid-ca/certs/root_ca.crt"


def is_healthy(machine: Container, port: int) -> bool:
    context = ssl.create_default_context(cafile=str(machine.root / ROOT_CERTIFICATE))
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(f"https://127.0.0.1:{port}/health", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_after_one_pasted_line_the_ca_serves_and_after_a_reboot_too(tmp_path: Path, debs: Path) -> None:
    port = free_port()
    lines = f"{commands('install-ca')}\n{commands('install-serve')}".splitlines()
    pasted = " && ".join(line for line in lines if line)
    assert pasted.count("https://ca.local") == 1
    pasted = pasted.replace("https://ca.local", f"https://127.0.0.1:{port}")
    with container(tmp_path / "machine") as machine:
        # The network is the test's own, where 443 is not to be taken.
        machine.write(
            "/etc/systemd/system/acme-iid-ca.socket.d/port.conf",
            f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n",
        )
        (machine.root / "packages").mkdir()
        shutil.copy(deb(debs, "acme-iid-ca"), machine.root / "packages")
        with machine.booted():
            done = machine.run(
                "bash", "-c", f"cd /packages && apt-get update -qq && {pasted}", DEBIAN_FRONTEND="noninteractive"
            )
            assert done.returncode == 0, (done.stdout, done.stderr)
            assert is_healthy(machine, port)
            before = (machine.root / ROOT_CERTIFICATE).read_bytes()
        assert not is_healthy(machine, port)
        with machine.booted():
            machine.until(lambda: is_healthy(machine, port), 60)
            assert (machine.root / ROOT_CERTIFICATE).read_bytes() == before
            failed = machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout
            assert "acme-iid" not in failed
