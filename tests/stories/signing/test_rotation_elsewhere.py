"""From an issuer with its key in a file to one whose key is behind a program, while the server runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import rotating
from cryptography import x509
from pki.rotating import activate, certificate, hang_up
from running import CA
from signing.elsewhere import SOON, Elsewhere, finalize, finalized, move_key, must_be_unsigned, seconds_of, status


def test_orders_that_were_ready_before_are_signed_by_the_new_key(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start()
    first = own_ca.issuer_id
    elsewhere = Elsewhere(own_ca, move_key(own_ca, second := rotating.prepare(own_ca.home), tmp_path / "program"))
    hang_up(own_ca)
    under_first = [elsewhere.ready() for _ in range(4)]
    stories = [elsewhere.ready() for _ in range(4)]
    for story in under_first:
        (_, issuer) = x509.load_pem_x509_certificates(finalized(story).encode())
        assert issuer == certificate(own_ca, first)
    elsewhere.program.fail_always("hangs")
    activate(own_ca, second, "--compromised")
    session = own_ca.wire().session
    # The server learns of the new issuer by these requests, in the midst of them: the former one signs no more.
    with ThreadPoolExecutor(len(stories)) as pool:
        waiting = [pool.submit(finalize, story) for story in stories]
        times = []
        while not all(done.done() for done in waiting):
            times.append(seconds_of(partial(session.get, own_ca.directory, timeout=30)))
    assert len(times) > 10
    assert max(times) < SOON
    for story, done in zip(stories, waiting, strict=True):
        must_be_unsigned(done.result())
        assert status(story) == "ready"
    elsewhere.program.recover()
    for story in stories:
        leaf, issuer = x509.load_pem_x509_certificates(finalized(story).encode())
        assert issuer == certificate(own_ca, second)
        leaf.verify_directly_issued_by(issuer)
    # The server's own certificate follows, without a restart.
    own_ca.until_logged("The server has a new certificate")
    assert own_ca.cli("events", "--check").stdout.startswith("OK: ")
    elsewhere.program.close()
