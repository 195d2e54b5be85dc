"""Signing programs: one that fails on demand, and others of a few lines."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from processes import runs

from acme_iid.errors import SignerError
from acme_iid.signing import signers
from acme_iid.signing.keys import ForeignKey
from acme_iid.signing.places import ProgramPlace

HERE = Path(__file__).parent
ECDSA = ec.ECDSA(hashes.SHA256())


def write(path: Path, source: str) -> Path:
    """Write a Python program that can be run."""
    path.touch(mode=0o700)
    path.write_text(f"#!{sys.executable}\n{source}")
    return path


@dataclass
class Program:
    """The program that fails on demand, and the key that is asked through it."""

    folder: Path
    file: Path
    key: ForeignKey

    @property
    def place(self) -> ProgramPlace:
        """Where the key is."""
        return ProgramPlace((str(self.file), str(self.folder)), "acme")

    def fail(self, fault: str) -> None:
        """Have it fail once, as its source says."""
        partial = self.folder / "fault.new"
        partial.write_text(fault)
        partial.rename(self.folder / "fault")

    def fail_always(self, fault: str) -> None:
        """Have it fail each time until it recovers."""
        partial = self.folder / "always.new"
        partial.write_text(fault)
        partial.rename(self.folder / "always")

    def recover(self) -> None:
        """End a fault that stays."""
        (self.folder / "always").unlink(missing_ok=True)

    def asked(self) -> list[int]:
        """The numbers of its processes, once for each question."""
        file = self.folder / "asked"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def starts(self) -> int:
        """The number of times that it was started."""
        return len(self.processes())

    def processes(self) -> list[int]:
        """The processes that it was started as."""
        return [int(line) for line in (self.folder / "starts").read_text().split()]

    def sign(self, data: bytes = b"a text") -> bytes:
        """Ask for a signature with SHA-256."""
        assert isinstance(self.key, ec.EllipticCurvePrivateKey)
        return self.key.sign(data, ECDSA)

    def close(self) -> None:
        """End it."""
        signers.close(self.key)


def make(folder: Path, private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> Program:
    """Return a program in a folder of its own."""
    private_key = private_key or ec.generate_private_key(ec.SECP256R1())
    folder.mkdir()
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    file = write(folder / "sign", (HERE / "faulty_program.py").read_text())
    key = signers.open_key(ProgramPlace((str(file), str(folder)), "acme"), private_key.public_key())
    return Program(folder, file, key)


def answers_soon(key: object, seconds: float = 40) -> None:
    """Ask until the key answers: its process is started again after a pause that grows."""
    end = time.monotonic() + seconds
    while True:
        try:
            return signers.answers(key)
        except SignerError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def has_ended(process: int, seconds: float = 5) -> bool:
    """Return whether a process is gone, or will be in this time; one that nobody reaps is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not runs(process):
            return True
        time.sleep(0.02)
    return False
