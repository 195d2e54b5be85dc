"""A server whose issuer's key is behind a program: each fault costs its own request a 503, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import certificate_status_requests
import pytest
from cryptography import x509
from running import CA
from signing.elsewhere import (
    SOON,
    Elsewhere,
    finalize,
    finalized,
    made,
    must_be_unsigned,
    request_of,
    seconds_of,
    status,
    until,
)

from acme_iid.signing.asker import ANSWER_SECONDS
from acme_iid.web.pool import MOST_SIGNATURES

FAULTS = (
    "hangs",
    "answers late",
    "dies",
    "closes its output",
    "stops reading",
    "writes without end",
    "signs with another key",
    "signs another digest",
    "answers wrongly, then rightly",
    "answers an id to come",
    "answers an id of before",
    "cuts its JSON",
    "answers with 1 MB",
    "answers without a signature",
    "answers with an error",
)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    with made(tmp_path_factory.mktemp("elsewhere")) as elsewhere:
        elsewhere.ca.start()
        yield elsewhere
        elsewhere.ca.stop()


@pytest.fixture(autouse=True)
def recovered(elsewhere: Elsewhere) -> Iterator[None]:
    yield
    elsewhere.come_back()
    finalized(elsewhere.ready())
    assert elsewhere.ca.cli("events", "--check").stdout.startswith("OK: ")
    assert "Traceback" not in "".join(elsewhere.ca.log)


def issued(ca: CA) -> list[str]:
    """The serial numbers of all certificates, by the record."""
    found = json.loads(ca.cli("events", "--json", "--kind", "certificate.issued", "--limit", "10000").stdout)
    return [event["serial"] for event in found]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_503_and_the_order_stays_ready_for_the_next_try(elsewhere: Elsewhere, fault: str) -> None:
    story, before = elsewhere.ready(), len(issued(elsewhere.ca))
    elsewhere.program.fail_always(fault)
    began = time.monotonic()
    must_be_unsigned(finalize(story))
    assert time.monotonic() - began < ANSWER_SECONDS + 2
    assert status(story) == "ready"
    elsewhere.program.recover()
    chain = finalized(story)
    leaf, issuer = x509.load_pem_x509_certificates(chain.encode())
    leaf.verify_directly_issued_by(issuer)
    assert status(story) == "valid"
    assert len(issued(elsewhere.ca)) == before + 1


def test_an_answer_that_comes_twice_is_one_certificate(elsewhere: Elsewhere) -> None:
    story, before = elsewhere.ready(), len(issued(elsewhere.ca))
    elsewhere.program.fail_always("answers twice")
    finalized(story)
    assert len(issued(elsewhere.ca)) == before + 1


def test_a_signer_that_hangs_delays_no_other_answer(elsewhere: Elsewhere) -> None:
    ca, session = elsewhere.ca, elsewhere.ca.wire().session
    assert certificate_status_requests.fetch(ca).status_code == 200
    stories = [elsewhere.ready() for _ in range(8)]
    other = ca.account()
    elsewhere.program.fail_always("hangs")
    with ThreadPoolExecutor(len(stories)) as pool:
        waiting = [pool.submit(finalize, story) for story in stories]
        times = []
        while not all(done.done() for done in waiting):
            paths = ("/health", "/acme/directory", "/roots.pem", "/crl")
            times += [seconds_of(partial(session.get, ca.url + path, timeout=30)) for path in paths]
            times.append(seconds_of(lambda: session.head(other.wire.directory["newNonce"], timeout=30)))
            times.append(seconds_of(lambda: other.order("foo.local"), 201))
        assert len(times) > 12
        assert max(times) < SOON
        for done in waiting:
            must_be_unsigned(done.result())
    elsewhere.program.recover()
    for story in stories:
        assert status(story) == "ready"
        finalized(story)


def test_more_than_may_wait_are_told_at_once_to_come_again(elsewhere: Elsewhere) -> None:
    story, before = elsewhere.ready(), len(issued(elsewhere.ca))
    finalized(elsewhere.ready())
    elsewhere.program.fail_always("hangs")

    most = MOST_SIGNATURES + 16
    bodies = [request_of(story) for _ in range(most)]
    with ThreadPoolExecutor(most) as pool:
        answers = list(pool.map(lambda asked: asked(), bodies))
    for answer in answers:
        must_be_unsigned(answer)
    full = [answer for answer in answers if "as many certificates wait" in answer.text]
    assert len(full) >= 1
    assert max(answer.elapsed.total_seconds() for answer in full) < SOON
    assert status(story) == "ready"
    elsewhere.program.recover()
    with ThreadPoolExecutor(8) as pool:
        # All for one order, and it has one certificate.
        list(pool.map(lambda _: finalize(story), range(8)))
    if status(story) == "ready":
        finalized(story)
    assert len(issued(elsewhere.ca)) == before + 2


def test_missing_signatures_do_not_fill_the_log(elsewhere: Elsewhere) -> None:
    story = elsewhere.ready()
    finalized(elsewhere.ready())
    elsewhere.go_away()
    before = len(elsewhere.ca.log)
    for _ in range(60):
        must_be_unsigned(finalize(story))
    lines = elsewhere.ca.log[before:]
    assert len([line for line in lines if "gives no signature" in line]) <= 3
    assert len(lines) < 30


def test_while_the_signer_is_away_requests_fail_without_waiting(elsewhere: Elsewhere) -> None:
    story = elsewhere.ready()
    elsewhere.go_away()
    must_be_unsigned(finalize(story))
    assert seconds_of(lambda: finalize(story), 503) < SOON
    elsewhere.come_back()
    until(lambda: finalize(story).status_code == 200)
