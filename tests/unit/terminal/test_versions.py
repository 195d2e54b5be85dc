"""``--version`` of both commands."""

from __future__ import annotations

import ssl
from importlib.metadata import version

import pytest
from cryptography.hazmat.backends.openssl import backend
from running import run_module


@pytest.mark.parametrize(("module", "name"), [("acme_iid_client", "acme-iid"), ("acme_iid.cli", "acme-iid-ca")])
def test_version_names_both_openssls(module: str, name: str) -> None:
    done = run_module(module, "--version")
    assert done.code == 0, done.stderr
    first, python, library = done.stdout.splitlines()
    assert first == f"{name} {version('acme-iid')}"
    assert python.endswith(f"({ssl.OPENSSL_VERSION})")
    assert library == f"cryptography {version('cryptography')} ({backend.openssl_version_text()})"
