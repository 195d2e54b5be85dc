"""Servers whose key is elsewhere: ready as long as it gave the right signature last, by whatever it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import scraping
from running import CA
from signing.elsewhere import SECONDS, Elsewhere, finalize, finalized, made, must_be_unsigned, until

HEALTHY = "ok\nsigner: answers\n"
ILL = "ok\nsigner: does not answer; no certificate is issued until it does\n"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    """A CA that has not started."""
    with made(tmp_path) as elsewhere:
        yield elsewhere


def page(ca: CA, name: str) -> tuple[int, str]:
    """The status and the text of a page of the main listener."""
    response = ca.wire().session.get(f"{ca.url}/{name}", timeout=60)
    return response.status_code, response.text


@pytest.mark.parametrize("fault", ["signs with another key", "answers with an error", "dies", "hangs"])
def test_a_server_is_unready_from_the_keys_fault_to_its_next_signature(elsewhere: Elsewhere, fault: str) -> None:
    ca = elsewhere.ca
    base = scraping.turn_on(ca)
    ca.start()
    until(lambda: page(ca, "health") == (200, HEALTHY))
    assert page(ca, "readyz") == scraping.get(f"{base}/readyz") == (200, "ok\n")
    story = elsewhere.ready()
    failed = scraping.read(base).of("acme_iid_signer_failed_total")
    elsewhere.program.fail_always(fault)
    must_be_unsigned(finalize(story))
    # The key is asked once a minute beside that; nobody waits for it.
    assert page(ca, "readyz") == scraping.get(f"{base}/readyz") == (503, "signer\n")
    assert page(ca, "health") == (200, ILL)
    assert page(ca, "livez")[0] == 200
    numbers = scraping.read(base)
    assert numbers.of("acme_iid_unready", reason="signer") == 1
    assert numbers.of("acme_iid_signer_failed_total") > failed
    elsewhere.program.recover()
    finalized(story)
    assert page(ca, "readyz") == scraping.get(f"{base}/readyz") == (200, "ok\n")
    assert page(ca, "health") == (200, HEALTHY)
    assert scraping.read(base).of("acme_iid_unready", reason="signer") == 0
    ca.stop()


def test_a_server_that_starts_without_its_key_is_unready_until_it_answers(elsewhere: Elsewhere) -> None:
    """It has no certificate for TLS either; Prometheus sees why."""
    ca = elsewhere.ca
    base = scraping.turn_on(ca)
    elsewhere.go_away()
    starting = threading.Thread(target=ca.start)
    starting.start()
    ca.until_logged("The server has no certificate of its own: the key exec:")
    until(lambda: scraping.get(f"{base}/readyz") == (503, "signer\n"))
    assert scraping.get(f"{base}/livez") == (200, "ok\n")
    elsewhere.come_back()
    starting.join(SECONDS)
    until(lambda: scraping.get(f"{base}/readyz") == (200, "ok\n"))
    ca.stop()


def test_a_command_says_once_that_a_key_does_not_answer(elsewhere: Elsewhere) -> None:
    ca, place = elsewhere.ca, str(elsewhere.program.place)
    elsewhere.go_away()
    refused = ca.try_cli("issuer", "rotate", "prepare", "--key", place)
    assert refused.code == 1
    assert refused.stderr.count(place) == 1
    assert refused.stderr.startswith(f"Error: the key {place} gives no signature: ")
    assert "again" not in refused.stderr
