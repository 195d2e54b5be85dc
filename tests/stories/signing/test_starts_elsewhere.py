"""Servers that start and end beside a signer: without it, with several processes, by each signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from certificate_status_requests import fetch, intermediate, question
from cryptography.x509 import ocsp
from pki.http_status import turn_on
from ports import free_port
from processes import arguments, children, runs
from running import CA
from signing.elsewhere import (
    SOON,
    Elsewhere,
    finalize,
    finalized,
    made,
    must_be_unsigned,
    seconds_of,
    status,
    until,
)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    """A CA that has not started."""
    with made(tmp_path) as elsewhere:
        yield elsewhere


def signer_of(elsewhere: Elsewhere, worker: int) -> int:
    """The process that a worker asks for signatures."""
    (signer,) = [pid for pid in children(worker) if os.fsencode(elsewhere.program.file) in arguments(pid)]
    return signer


def attempt(action: Callable[[], object]) -> None:
    """Do what may fail, since the server ends meanwhile."""
    with suppress(requests.RequestException, AssertionError):
        action()


def health(ca: CA) -> str:
    return ca.wire().session.get(f"{ca.url}/health", timeout=30).text


def test_a_restart_without_the_signer_serves_all_but_certificates(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    ca.start()
    until(lambda: health(ca) == "ok\nsigner: answers\n")
    story = elsewhere.ready()
    finalized(elsewhere.ready())
    known = fetch(ca)
    until(lambda: bool(list((ca.home / "secrets").glob("responder_*"))))
    ca.stop()
    elsewhere.go_away()
    ca.start()
    assert "the certificate that it had" in "".join(ca.log)
    until(lambda: health(ca) == "ok\nsigner: does not answer; no certificate is issued until it does\n")
    ca.until_logged("No certificate is issued now: the key exec:")
    must_be_unsigned(finalize(story))
    assert status(story) == "ready"
    assert fetch(ca).content == known.content
    asked = ca.wire().session.post(f"{ca.url}/ocsp", data=question(intermediate(ca), 4711), timeout=30)
    assert ocsp.load_der_ocsp_response(asked.content).response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    elsewhere.come_back()
    finalized(story)


def test_without_signer_and_certificate_status_is_served_and_acme_later(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    port = free_port()
    turn_on(ca, port)
    ca.start()
    root = requests.get(f"{ca.url}/crl", verify=str(ca.root), timeout=30)
    ca.stop()
    for path in (ca.home / "tls").iterdir():
        path.unlink()
    elsewhere.go_away()
    starting = threading.Thread(target=ca.start)
    starting.start()
    ca.until_logged("The server has no certificate of its own: the key exec:")
    listed = requests.get(f"http://127.0.0.1:{port}/crl", timeout=30)
    assert listed.content == root.content
    with pytest.raises(requests.ConnectionError):
        requests.get(ca.url, verify=str(ca.root), timeout=30)
    began = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        requests.get(ca.url, verify=str(ca.root), timeout=30)
    assert time.monotonic() - began < SOON
    assert starting.is_alive()
    elsewhere.come_back()
    starting.join(120)
    assert not starting.is_alive()
    finalized(elsewhere.ready())


def test_a_restored_ca_without_its_signer_serves_status_and_says_so(elsewhere: Elsewhere, tmp_path: Path) -> None:
    ca, port = elsewhere.ca, free_port()
    turn_on(ca, port)
    ca.start()
    session = ca.wire().session
    listed = session.get(f"{ca.url}/crl", timeout=30)
    until(lambda: bool(list((ca.home / "secrets").glob("responder_*"))))
    ca.cli("backup", tmp_path / "backup.tar")
    session.close()
    ca.stop()
    elsewhere.go_away()
    restored = CA(tmp_path / "restored", ca.port)
    restored.cli("restore", tmp_path / "backup.tar")
    starting = threading.Thread(target=attempt, args=(restored.start,))
    starting.start()
    restored.until_logged("The server has no certificate of its own: the key exec:")
    plain = f"http://127.0.0.1:{port}"
    assert requests.get(f"{plain}/crl", timeout=30).content == listed.content
    asked = requests.post(f"{plain}/ocsp", data=question(intermediate(ca), 4711), timeout=30)
    assert ocsp.load_der_ocsp_response(asked.content).response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    with pytest.raises(requests.ConnectionError):
        requests.get(restored.directory, verify=str(restored.root), timeout=30)
    elsewhere.come_back()
    starting.join(120)
    assert restored.process is not None
    finalized(Elsewhere(restored, elsewhere.program).ready())
    restored.stop()


def test_a_server_that_waits_for_its_certificate_can_be_stopped(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    elsewhere.go_away()
    starting = threading.Thread(target=attempt, args=(ca.start,))
    starting.start()
    ca.until_logged("and nothing is answered, since [status] in ca.toml has no listen")
    assert ca.stop() == 0
    starting.join(60)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_process_has_a_signer_of_its_own_and_ends_it(elsewhere: Elsewhere, workers: str) -> None:
    ca = elsewhere.ca
    ca.start("--workers", workers)
    finalized(elsewhere.ready())
    processes = [ca.process.pid] if workers == "1" and ca.process is not None else ca.workers()
    signers = {worker: signer_of(elsewhere, worker) for worker in processes}
    assert len(set(signers.values())) == int(workers)
    assert ca.process is not None
    # What is read anew has the same signers.
    ca.process.send_signal(signal.SIGHUP)
    ca.until_logged("The configuration was reloaded.")
    assert {worker: signer_of(elsewhere, worker) for worker in processes} == signers
    finalized(elsewhere.ready())
    if workers == "2":
        first, second = processes
        os.kill(first, signal.SIGKILL)
        until(lambda: not runs(signers[first]))
        assert runs(signers[second])
        until(lambda: len(set(ca.workers()) - {first}) == 2)
        finalized(elsewhere.ready())
    ca.stop()
    assert not any(runs(pid) for pid in set(elsewhere.program.asked()))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_signer_that_hangs_ends_with_its_server(elsewhere: Elsewhere, how: signal.Signals) -> None:
    ca = elsewhere.ca
    ca.start()
    story = elsewhere.ready()
    assert ca.process is not None
    signer = signer_of(elsewhere, ca.process.pid)
    elsewhere.program.fail_always("hangs")
    waiting = threading.Thread(target=attempt, args=(lambda: finalize(story),))
    before = len(elsewhere.program.asked())
    waiting.start()
    until(lambda: len(elsewhere.program.asked()) > before)
    assert runs(signer)
    if how is signal.SIGKILL:
        ca.process.kill()
        ca.process.wait()
        ca.process = None
    else:
        assert seconds_of_stop(ca) < 15
    until(lambda: not any(runs(pid) for pid in set(elsewhere.program.asked())))
    waiting.join(60)


def seconds_of_stop(ca: CA) -> float:
    began = time.monotonic()
    ca.stop()
    return time.monotonic() - began


def test_a_key_that_is_reloaded_often_is_asked_once_a_minute(elsewhere: Elsewhere) -> None:
    ca = elsewhere.ca
    ca.start()
    until(lambda: health(ca) == "ok\nsigner: answers\n")
    assert ca.process is not None
    began, before = time.monotonic(), len(elsewhere.program.asked())
    for number in range(1, 4):
        ca.process.send_signal(signal.SIGHUP)
        until(lambda number=number: "".join(ca.log).count("The configuration was reloaded.") == number)  # type: ignore[misc]
        until(lambda: health(ca) == "ok\nsigner: answers\n")
        assert seconds_of(lambda: ca.wire().session.get(f"{ca.url}/health", timeout=30)) < SOON
    # Each reload has a new certificate of the server's, and a minute may have passed.
    asked = len(elsewhere.program.asked()) - before
    assert asked <= 3 + 1 + int((time.monotonic() - began) // 60)
