"""OpenSSL's library in one of the versions that cryptography's wheels have in them."""

from __future__ import annotations

import sys
from pathlib import Path

from pki.verifiers import fetched
from pki.verifiers.verifier import ChainVerifier, Shown, said
from programs import system

PROGRAM = Path(__file__).with_name("by_pyopenssl.py")
PYOPENSSL = "pyOpenSSL==26.4.0"
WHEELS = {"4.0.0": "48.0.0", "4.0.1": "48.0.1", "4.0.2": "50.0.1"}
"""The version of cryptography for each version of OpenSSL."""


class OpenSSLLibrary(ChainVerifier):
    """One version of it.

    :param folder: for the packages; empty at first.
    :param version: one of :data:`WHEELS`.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.name = f"OpenSSL {version}"
        self._packages = fetched.packages(folder, f"cryptography=={WHEELS[version]}", PYOPENSSL)

    def chain(self, shown: Shown) -> str | None:
        done = system(sys.executable, PROGRAM, shown.root_file, shown.chain_file,
                      env={"PYTHONPATH": str(self._packages)})  # fmt: skip
        assert done.stdout.startswith(f"{self.name} "), said(done)
        return None if done.returncode == 0 else said(done)
