"""The CA's own application, swapped while clients use it: what was removed proves nothing, and no thread stays."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from processes import open_files, thread_states
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account

from acme_iid.simulator import aws

RELOADS = 50


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA with a provisioner of each kind that has threads of its own: fetched key sets, and the network."""
    made = CA(tmp_path / "ca")
    made.init()
    made.cli("provisioner", "add", "GCP", "--type", "GCP", "--gcp-project", "123456789012")
    made.cli("provisioner", "add", "Hosts", "--type", "ACME", "--challenge", "http-01", "--allow", "*.hosts.local")
    made.start()
    yield made
    if made.process is not None:
        made.kill()


def until(ca: CA, sentence: str, count: int) -> None:
    """Wait until the server has written so many lines with a sentence."""
    deadline = time.monotonic() + 60
    while sum(sentence in line for line in list(ca.log)) < count:
        assert time.monotonic() < deadline, ca.log[-20:]
        time.sleep(0.01)


def held(ca: CA) -> tuple[int, int]:
    """How many threads and how many open files the server has."""
    (pid,) = ca.workers()
    return len(thread_states(pid)), len(open_files(pid))


def test_fifty_reloads_break_no_order_and_leave_no_thread_or_file(ca: CA) -> None:
    stop = threading.Event()
    done = [0] * 3
    failures: list[object] = []

    def order(place: int, account: Account) -> None:
        while not stop.is_set():
            try:
                account.obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
            except (requests.RequestException, AssertionError) as error:
                failures.append(error)
                return
            done[place] += 1

    accounts = [ca.account() for _ in done]
    clients = [threading.Thread(target=order, args=each) for each in enumerate(accounts)]
    for client in clients:
        client.start()
    assert ca.process is not None
    try:
        for count in range(1, RELOADS + 1):
            ca.process.send_signal(signal.SIGHUP)
            until(ca, "The configuration was reloaded", count)
            until(ca, "The server has a new certificate", count)
            if count == 1:
                # What is made when it is first needed is there, and one application that is being ended.
                most = held(ca)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert failures == []
    assert min(done) > 0
    deadline = time.monotonic() + 60
    # How many connections to the store are open is a matter of chance; each application that stayed would be one more.
    while any(now >= before + RELOADS // 5 for now, before in zip(held(ca), most, strict=True)):
        assert time.monotonic() < deadline, (held(ca), most)
        time.sleep(0.1)
    assert not [line for line in ca.log if "Traceback" in line or "unexpected" in line]
    assert ca.cli("events", "--check").stdout.startswith("OK: ")


def test_a_provisioner_that_was_removed_proves_nothing_any_more(ca: CA) -> None:
    account = ca.account()
    instance = aws.Instance(account=ACCOUNT)
    account.obtain("foo.local", answer=answer(instance))
    order = account.order("foo.local").json()
    challenge = account.challenge(order)["url"]
    ca.cli("provisioner", "remove", PROVISIONER)
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    until(ca, "The configuration was reloaded", 1)
    # On the connection that was open all the time.
    answered = account.post(challenge, answer(instance)).json()
    assert answered["status"] == "invalid"
    assert account.post(order["finalize"].rpartition("/")[0]).json()["status"] == "invalid"
    _, (another,) = account.prove("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
    assert another.json()["status"] == "invalid"
