"""Rotations of the intermediate, as an operator does them; and servers that follow."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import wire
from cryptography import x509
from running import CA

SECONDS = 60
"""The longest that anything takes here on a busy machine."""


@contextmanager
def serving(ca: CA) -> Iterator[None]:
    """A CA that serves; its end is not kept waiting by what a test has left open."""
    ca.start()
    try:
        yield
    finally:
        while wire.OPEN:
            wire.OPEN.pop().close()
        ca.stop()


def issuers(ca: CA) -> set[str]:
    """The beginnings of the ids of all issuers in the home."""
    return {folder.name for folder in (ca.home / "issuers").iterdir()}


def prepare(ca: CA, *options: str) -> str:
    """Prepare the next issuer under the home's root and have the server read its key; its id."""
    before = issuers(ca)
    ca.cli("issuer", "rotate", "prepare", *options)
    (prepared,) = issuers(ca) - before
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    return prepared


def activate(ca: CA, issuer: str) -> None:
    """Activate an issuer as soon as the server says that it has its key."""
    deadline = time.monotonic() + SECONDS
    while (done := ca.try_cli("issuer", "rotate", "activate", issuer)).code:
        assert "lack the issuer's key" in done.stderr
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.5)


def certificate(ca: CA, issuer: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((ca.home / "issuers" / issuer / "certificate.pem").read_bytes())


def until_signing(ca: CA, issuer: str) -> None:
    """Wait until the server signs with an issuer: its revocation list without an id is that issuer's."""
    expected = certificate(ca, issuer).subject
    session, deadline = ca.wire().session, time.monotonic() + SECONDS
    while x509.load_der_x509_certificate(session.get(f"{ca.url}/issuer.cer", timeout=30).content).subject != expected:
        assert time.monotonic() < deadline
        time.sleep(0.2)
