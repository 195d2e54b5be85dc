"""Pebble and pebble-challtestsrv, Debian's or others, on loopback, with a TLS certificate of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from conformance_runs.versions import DEBIAN, Programs, challtestsrv_flags
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

EAB_KID = "kid-1"
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass
class TLS:
    """A root of the test's own and a certificate for 127.0.0.1, in files."""

    root: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> TLS:
        """Make all three."""
        now = datetime.now(UTC)
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Root of one test")])
        frame = (
            x509.CertificateBuilder()
            .issuer_name(root_name)
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )
        root = (
            frame.subject_name(root_name)
            .public_key(root_key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        leaf = (
            frame.subject_name(x509.Name([]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        made = cls(folder / "root.pem", folder / "tls.pem", folder / "tls.key")
        made.root.write_bytes(root.public_bytes(Encoding.PEM))
        made.certificate.write_bytes(leaf.public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made


ADDRESS = "127.0.0.2"
"""Where http-01 is answered for an address: 127.0.0.1 is our CA's own, for which nobody gets a certificate."""


@dataclass
class Challenges:
    """A pebble-challtestsrv: where it answers and where it is told what."""

    management: str
    dns: str
    http_port: int
    tls_port: int

    @property
    def options(self) -> tuple[str, ...]:
        """What the suite is told of it."""
        return ("--acme-challtestsrv", self.management, "--acme-http-port", str(self.http_port))


@dataclass
class Pebble:
    """A Pebble that runs."""

    directory: str
    tls: TLS
    challenges: Challenges

    @property
    def options(self) -> tuple[str, ...]:
        """What the suite is told besides the directory and the root."""
        return (*self.challenges.options, "--acme-eab", f"{EAB_KID}:{EAB_KEY}")


@contextmanager
def _process(arguments: list[str], port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    """A process that listens on ``port`` when this returns, and is ended afterwards."""
    with log.open("wb") as stream:
        process = subprocess.Popen(arguments, stdout=stream, stderr=stream, env={**os.environ, **(env or {})})
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, f"{arguments[0]} ended: {log.read_text()}"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, f"{arguments[0]} does not listen: {log.read_text()}"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def challtestsrv(folder: Path, programs: Programs = DEBIAN) -> Iterator[Challenges]:
    """A pebble-challtestsrv that says of every name that it is 127.0.0.1."""
    management, dns, http, tls = free_ports(4)
    arguments = [
        programs.challtestsrv,
        "-management",
        f"127.0.0.1:{management}",
        "-http01",
        f"127.0.0.1:{http},{ADDRESS}:{http}",
        "-tlsalpn01",
        f"127.0.0.1:{tls}",
        *challtestsrv_flags(programs.challtestsrv, f"127.0.0.1:{dns}"),
    ]
    with _process(arguments, management, folder / "challtestsrv.log"):
        yield Challenges(f"http://127.0.0.1:{management}", f"127.0.0.1:{dns}", http, tls)


@contextmanager
def pebble(folder: Path, programs: Programs = DEBIAN, **variables: str) -> Iterator[Pebble]:
    """A Pebble that refuses no good nonce, waits for nothing and reuses no authorization, and its names.

    :param programs: which one, and what answers for its names.
    :param variables: further ones of its environment (PEBBLE_ALTERNATE_ROOTS and so on).
    """
    with challtestsrv(folder, programs) as challenges:
        tls, (port,) = TLS.make(folder), free_ports(1)
        config = {
            "pebble": {
                "listenAddress": f"127.0.0.1:{port}",
                "managementListenAddress": "",
                "certificate": str(tls.certificate),
                "privateKey": str(tls.key),
                "httpPort": challenges.http_port,
                "tlsPort": challenges.tls_port,
                "ocspResponderURL": "",
                "retryAfter": {"authz": 3, "order": 5},
                "externalAccountBindingRequired": False,
                "externalAccountMACKeys": {EAB_KID: EAB_KEY},
            }
        }
        (folder / "pebble.json").write_text(json.dumps(config))
        env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} | variables
        arguments = [programs.pebble, "-config", str(folder / "pebble.json"), "-dnsserver", challenges.dns]
        with _process(arguments, port, folder / "pebble.log", env):
            yield Pebble(f"https://127.0.0.1:{port}/dir", tls, challenges)
