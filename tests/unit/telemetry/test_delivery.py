"""TLS connections to receivers: to whichever address answers, and with no question to a terminal."""

from __future__ import annotations

import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from event_receivers import receiving

from acme_iid.telemetry import delivery
from acme_iid.telemetry.delivery import Deadline


def test_an_address_that_is_silent_leaves_time_for_the_next(tmp_path: Path) -> None:
    """As those of a family that a network does not carry are."""
    with receiving(tmp_path, "https") as receiver, socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = [(socket.AF_INET, listener) for listener in (silent.getsockname(), ("127.0.0.1", receiver.port))]
        begun = time.monotonic()
        context = delivery.tls_context(receiver.roots, None)
        delivery.connect_to(addresses, "localhost", context, Deadline(30)).close()
        assert time.monotonic() - begun < 25


def test_all_addresses_together_have_the_one_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        context, addresses = delivery.tls_context(None, None), [(socket.AF_INET, silent.getsockname())] * 99
        with pytest.raises(TimeoutError):
            delivery.connect_to(addresses, "localhost", context, Deadline(2))
        assert time.monotonic() - begun < 30


def test_a_key_with_a_password_is_an_error_and_no_question(tmp_path: Path) -> None:
    """OpenSSL would ask on the terminal, and a server would wait there."""
    with receiving(tmp_path, "https"):
        pair = (tmp_path / "hostile.pem").read_bytes()
    key = load_pem_private_key(pair, None)
    certificate = x509.load_pem_x509_certificate(pair).public_bytes(Encoding.PEM)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush"))
    (tmp_path / "client.pem").write_bytes(certificate + locked)
    program = """
import pathlib, sys
from acme_iid.telemetry import delivery
delivery.tls_context(None, pathlib.Path(sys.argv[1]))
"""
    ours, theirs = pty.openpty()
    with open(ours, "rb"), open(theirs, "rb") as terminal:  # noqa: PTH123 - file descriptors
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "client.pem"],
            stdin=terminal, capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "SSLError" in done.stderr
