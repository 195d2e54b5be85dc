"""Rotations of the intermediate, as an operator does them; and servers that follow."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import wire
from cryptography import x509
from programs import system
from running import CA

SECONDS = 240
"""The longest that anything takes here on a machine that has much else to do; no test is about how long it takes."""


def until(succeeds: Callable[[], bool]) -> None:
    """Wait until something is so; it is asked twice a second."""
    deadline = time.monotonic() + SECONDS
    while not succeeds():
        assert time.monotonic() < deadline, f"not in {SECONDS} seconds"
        time.sleep(0.5)


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
    return {folder.name for folder in (ca.home / "issuers").iterdir() if not folder.name.startswith(".")}


def prepare(ca: CA, *options: str) -> str:
    """Prepare the next issuer under the home's root and have the server read its key; its id."""
    before = issuers(ca)
    ca.cli("issuer", "rotate", "prepare", *options)
    (prepared,) = issuers(ca) - before
    hang_up(ca)
    return prepared


def hang_up(ca: CA) -> None:
    """Have the server read its files again."""
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)


def activate(ca: CA, issuer: str, *options: str) -> str:
    """Activate an issuer as soon as the server says that it has its key; what the command says."""
    deadline = time.monotonic() + SECONDS
    while (done := ca.try_cli("issuer", "rotate", "activate", issuer, *options)).code:
        assert "lack the issuer's key" in done.stderr, done.stderr
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return done.stdout


def certificate(ca: CA, issuer: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((ca.home / "issuers" / issuer / "certificate.pem").read_bytes())


def until_signing(ca: CA, issuer: str) -> None:
    """Wait until the server signs with an issuer: its revocation list without an id is that issuer's."""
    expected, session = certificate(ca, issuer).subject, ca.wire().session

    def signs() -> bool:
        shown = x509.load_der_x509_certificate(session.get(f"{ca.url}/issuer.cer", timeout=SECONDS).content)
        return shown.subject == expected

    until(signs)


def until_shown_under(ca: CA, root: Path) -> None:
    """Wait until whoever trusts nothing but a root, PEM, can connect to the server."""
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{ca.port}", "-verify_return_error", "-CAfile", root)
    until(lambda: system(*command).returncode == 0)
