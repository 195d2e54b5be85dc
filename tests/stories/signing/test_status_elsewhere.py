"""Revocation lists and OCSP under an issuer whose key is behind a program: signed once, and served without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import requests
from certificate_status_requests import fetch, intermediate, question, revoke
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from running import CA, answer
from signing.elsewhere import SOON, Elsewhere, made, must_be_unsigned, seconds_of, until
from writing import put

from acme_iid.issuance.issuer import key_id
from acme_iid.signing.asker import ANSWER_SECONDS
from acme_iid.simulator import aws
from acme_iid.store import unrecorded_revocations
from acme_iid.store.database import connect
from acme_iid.store.unrecorded_revocations import UnrecordedRevocation
from acme_iid.store.writes import Statement

HOUR = 3600


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    with made(tmp_path) as elsewhere:
        elsewhere.ca.start()
        yield elsewhere
        elsewhere.come_back()
        if elsewhere.ca.process is not None:
            elsewhere.ca.stop()


def add_revoked(ca: CA, first: int, count: int) -> None:
    """Have that many certificates, numbered from the first one on, be revoked."""
    issuer, now = key_id(intermediate(ca).public_key()), int(time.time())
    made = [
        UnrecordedRevocation(issuer, f"{(7 << 100) + number:x}", now + HOUR, "key", b"der", now, 1)
        for number in range(first, first + count)
    ]
    with closing(connect(ca.store_url)) as store:
        put(store, *map(unrecorded_revocations.add, made))


def make_due(ca: CA) -> None:
    """Have the lists be relied on for another hour, so that it is time to sign the next ones."""
    with closing(connect(ca.store_url)) as store:
        put(store, Statement("UPDATE revocation_lists SET next_update = :at", {"at": int(time.time()) + HOUR}))


def entries(ca: CA, response: requests.Response) -> int:
    """The number of certificates in a list, once its signature is right."""
    assert response.status_code == 200, response.text
    found, key = x509.load_der_x509_crl(response.content), intermediate(ca).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert found.is_signature_valid(key)
    return len(found)


def test_lists_longer_than_a_key_service_takes_are_signed(elsewhere: Elsewhere) -> None:
    ca, count = elsewhere.ca, 0
    for more, size in ((210, 4096), (600, 16 * 1024)):
        add_revoked(ca, count, more)
        count += more
        response = fetch(ca)
        assert entries(ca, response) == count
        assert len(response.content) > size


def test_a_list_that_is_due_is_served_while_the_signer_hangs(elsewhere: Elsewhere) -> None:
    ca, program = elsewhere.ca, elsewhere.program
    known = fetch(ca)
    make_due(ca)
    program.fail_always("hangs")
    with ThreadPoolExecutor(20) as pool:
        lists = list(pool.map(lambda session: session.get(f"{ca.url}/crl", timeout=30), _sessions(ca, 20)))
    assert [entry.content for entry in lists] == [known.content] * 20
    times = sorted(entry.elapsed.total_seconds() for entry in lists)
    # One waited for the signer, the others did not.
    assert times[10] < SOON
    program.recover()
    until(lambda: fetch(ca).content != known.content)


def test_a_list_without_a_revocation_is_not_served_without_the_signer(
    elsewhere: Elsewhere, instance: aws.Instance
) -> None:
    ca = elsewhere.ca
    account = ca.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    assert entries(ca, fetch(ca)) == 0
    elsewhere.go_away()
    revoke(account, issued)
    until(lambda: fetch(ca).status_code == 503)
    must_be_unsigned_page(fetch(ca))
    # By OCSP the revocation is seen at once: the responder's key is in the home.
    asked = question(intermediate(ca), issued.leaf.serial_number)
    response = ca.wire().session.post(f"{ca.url}/ocsp", data=asked, timeout=30)
    assert ocsp.load_der_ocsp_response(response.content).certificate_status is ocsp.OCSPCertStatus.REVOKED
    elsewhere.come_back()
    until(lambda: fetch(ca).status_code == 200)
    assert entries(ca, fetch(ca)) == 1


def test_fetches_that_wait_for_a_list_delay_no_other_page(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    assert fetch(ca).status_code == 200
    add_revoked(ca, 0, 1)
    elsewhere.program.fail_always("hangs")
    session = ca.wire().session
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(one.get, f"{ca.url}/crl", timeout=30) for one in _sessions(ca, 20)]
        times = []
        while not all(done.done() for done in waiting):
            times += [
                seconds_of(partial(session.get, ca.url + path, timeout=30))
                for path in ("/health", "/roots.pem", "/issuer.cer")
            ]
    assert len(times) > 6
    assert max(times) < SOON
    for done in waiting:
        must_be_unsigned_page(done.result())
    # Those that wait together fail together, and not one after the other.
    assert max(done.result().elapsed.total_seconds() for done in waiting) < ANSWER_SECONDS + SOON


def test_fetches_that_come_together_cost_one_signature(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    assert fetch(ca).status_code == 200
    elsewhere.program.fail_always("takes half a second")
    add_revoked(ca, 0, 1)
    before = len(elsewhere.program.asked())
    with ThreadPoolExecutor(20) as pool:
        lists = list(pool.map(lambda session: session.get(f"{ca.url}/crl", timeout=30), _sessions(ca, 20)))
    assert {entries(ca, entry) for entry in lists} == {1}
    # The other question that there may be is the one that is asked each minute.
    assert len(elsewhere.program.asked()) - before <= 2


def must_be_unsigned_page(refused: requests.Response) -> None:
    refused.headers.setdefault("Replay-Nonce", "pages have none")
    must_be_unsigned(refused)


def _sessions(ca: CA, count: int) -> list[requests.Session]:
    return [ca.wire().session for _ in range(count)]
