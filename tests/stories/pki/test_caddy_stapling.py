"""Caddy staples our OCSP answers to certificates that it was given, those of ten minutes as well."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from machine import Machine, ec2_machine
from pki import http_status
from pki.rotating import SECONDS, serving
from ports import free_port
from programs import system
from running import CA

from acme_iid.simulator import aws


@contextmanager
def caddy(vm: Machine, port: int) -> Iterator[None]:
    """Caddy with the machine's pair, on a port of loopback."""
    configuration = {
        "admin": {"disabled": True},
        "storage": {"module": "file_system", "root": str(vm.folder / "storage")},
        "apps": {
            "http": {"servers": {"ours": {
                "listen": [f"127.0.0.1:{port}"],
                "automatic_https": {"disable": True},
                "tls_connection_policies": [{}],
                "routes": [{"handle": [{"handler": "static_response", "body": "here"}]}],
            }}},
            "tls": {"certificates": {"load_files": [{"certificate": str(vm.crt), "key": str(vm.key)}]}},
        },
    }  # fmt: skip
    path = vm.folder / "caddy.json"
    path.write_text(json.dumps(configuration))
    environment = {"HOME": str(vm.folder), "PATH": "/usr/bin:/bin"}
    with (vm.folder / "caddy.log").open("w") as log:
        process = subprocess.Popen(["caddy", "run", "--config", path], env=environment, stderr=log, stdout=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def stapled(ca: CA, port: int) -> str:
    """What a client sees of the staple, once Caddy listens."""
    deadline = time.monotonic() + SECONDS
    while True:
        done = system("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "foo.local", "-status",
                      "-verify_return_error", "-CAfile", ca.root)  # fmt: skip
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


def time_of(label: str, text: str) -> datetime:
    found = re.search(rf"{label}: (.+) GMT", text)
    assert found, text
    return datetime.strptime(found[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC)


@pytest.mark.parametrize("life", ["10m", "24h"])
def test_caddy_staples_an_answer_that_does_not_outlive_the_leaf(
    tmp_path: Path, instance: aws.Instance, life: str
) -> None:
    ca, port = CA(tmp_path / "ca"), free_port()
    ca.init(constrained=True)
    http_status.turn_on(ca, free_port())
    with serving(ca), ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        vm.order("--not-after", life)
        leaf = x509.load_pem_x509_certificate(vm.crt.read_bytes())
        with caddy(vm, port):
            seen = stapled(ca, port)
    assert "OCSP Response Status: successful" in seen, (vm.folder / "caddy.log").read_text()
    assert "Cert Status: good" in seen
    assert datetime.now(UTC) < time_of("Next Update", seen) <= leaf.not_valid_after_utc
