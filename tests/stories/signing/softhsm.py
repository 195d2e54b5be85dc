"""Tokens of SoftHSM, and a module around it that fails on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from acme_iid.signing import places
from acme_iid.signing.places import TokenPlace

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"
HERE = Path(__file__).parent
DERIVING = """
import sys, pkcs11
session = pkcs11.lib(sys.argv[1]).get_token(token_label="acme").open(rw=True, user_pin=sys.argv[2])
curve = bytes.fromhex("06082a8648ce3d030107")
parameters = session.create_domain_parameters(pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True)
parameters.generate_keypair(label=sys.argv[3], id=b"derive", store=True, capabilities=pkcs11.MechanismFlag.DERIVE)
"""


@dataclass(frozen=True, slots=True)
class SoftHSM:
    """Tokens in a folder of their own.

    :ivar pin: the file of their PIN.
    """

    folder: Path
    pin: Path

    def add_token(self, label: str = "acme") -> None:
        """Make a token."""
        self._softhsm2("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "87654321")

    def remove_token(self, label: str = "acme") -> None:
        """Remove a token with all of its keys."""
        self._softhsm2("--delete-token", "--token", label)

    def pkcs11_tool(self, *arguments: str) -> str:
        """Run OpenSC's tool on the token, logged in."""
        command = ["pkcs11-tool", "--module", str(MODULE), "--login", "--pin", PIN, "--token-label", "acme", *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout

    def add_key_that_derives(self, label: str) -> None:
        """Make an EC key in the token that may not sign."""
        command = [sys.executable, "-c", DERIVING, str(MODULE), PIN, label]
        subprocess.run(command, check=True, timeout=60)

    def place(self, key: str = "object=key", *, module: Path = MODULE, token: str = "acme") -> TokenPlace:  # noqa: S107 - a name
        """Where a key is in a token."""
        place = places.parse(f"pkcs11:token={token};{key}?module-path={module}&pin-source=file:{self.pin}")
        assert isinstance(place, TokenPlace)
        return place

    def private_keys(self) -> int:
        """The number of private keys in the token."""
        return self.pkcs11_tool("--list-objects", "--type", "privkey").count("Private Key Object")

    def _softhsm2(self, *arguments: str) -> None:
        subprocess.run(["softhsm2-util", *arguments], capture_output=True, check=True, timeout=60)


def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHSM:
    """Return a SoftHSM with one token, ``acme``; the processes that a test starts find it by their environment."""
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
    pin = folder / "pin"
    pin.touch(mode=0o600)
    pin.write_text(f"{PIN}\n")
    softhsm = SoftHSM(folder, pin)
    softhsm.add_token()
    return softhsm


@dataclass(frozen=True, slots=True)
class Shim:
    """A module that passes all on to SoftHSM, but for the fault that a file names.

    :ivar module: the shared library.
    """

    module: Path
    control: Path
    calls: Path

    def fail(self, fault: str) -> None:
        """Have the module fail from its next call on, as its source says."""
        partial = self.control.with_suffix(".new")
        partial.write_text(fault)
        partial.rename(self.control)

    def recover(self) -> None:
        """End a fault that does not end by itself."""
        self.control.unlink(missing_ok=True)

    def count(self, call: str) -> int:
        """The number of times that a function was called."""
        return self.calls.read_text().split().count(call) if self.calls.exists() else 0


def build_shim(folder: Path) -> Path:
    """Compile the module."""
    library = folder / "shim.so"
    command = ["gcc", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


def use_shim(library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shim:
    """Return the module for one test."""
    shim = Shim(library, folder / "fault", folder / "calls")
    monkeypatch.setenv("SHIM_FAULT", str(shim.control))
    monkeypatch.setenv("SHIM_CALLS", str(shim.calls))
    monkeypatch.setenv("SHIM_MODULE", os.fspath(MODULE))
    return shim


def signer_processes(token: SoftHSM) -> list[int]:
    """The processes that sign with a token of this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"acme_iid.signing.token" in command and str(token.folder).encode() in command:
            found.append(int(path.parent.name))
    return found
