"""A CA that has too much to do is left alone for as long as it asks, and not by all machines alike."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from machine import Machine
from running import Run
from scripted_ca import Reply, ScriptedCA, issue, known, problem, serve

from acme_iid.simulator import aws, server
from acme_iid_client import clouds
from acme_iid_client.acme import order
from acme_iid_client.acme.connection import CaError, UnreachableError
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AWAY
from acme_iid_client.renewal import ari
from acme_iid_client.renewal.scheduled_pair import ScheduledPair
from acme_iid_client.storage import records
from acme_iid_client.transport.pauses import MAX_RETRY_AFTER, Pauses, retry_after
from acme_iid_client.x509 import keys

FLOW = ("directory", "new-nonce", "new-account", "new-order", "authz/1", "challenge/1", "finalize/1", "certificate/1")
BUSY = {
    "problem": problem("serverInternal", "too much to do", 503),
    "page of a proxy": Reply(503, b"<html>busy</html>", {"Content-Type": "text/html"}),
    "rate limit": problem("rateLimited", "too many orders", 429),
}


def asking(reply: Reply, text: str) -> Reply:
    """A reply that asks to be left alone."""
    return Reply(reply.status, reply.body, {**reply.headers, "Retry-After": text})


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def metadata() -> Iterator[str]:
    recording = {"cloud": "aws", "format": "rsa2048-pkcs7-sha256", "document": '{"instanceId": "i-1"}', "signature": ""}
    with server.serve(aws.recorded(json.dumps(recording).encode())) as running:
        yield running.url


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def get(ca: ScriptedCA, metadata: str, tmp_path: Path, notices: list[str]) -> Callable[..., order.Issued]:
    """Order foo.local."""
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root.pem)

    def ask(seconds: float = 60) -> order.Issued:
        request = order.Request(["foo.local"], keys.KeyType("EC", "P-256"))
        cloud = clouds.here({}, metadata)
        return order.order(request, known(ca.url, root), tmp_path / "state", cloud, Deadline(seconds), notices.append)

    return ask


@pytest.mark.parametrize(
    ("path", "reply"), [*((path, "problem") for path in FLOW), *(("new-order", reply) for reply in BUSY)]
)
def test_whatever_is_asked_a_busy_ca_is_left_alone_as_long_as_it_asks(
    get: Callable[..., order.Issued], ca: ScriptedCA, notices: list[str], path: str, reply: str
) -> None:
    ca.once[f"/acme/{path}"] = [asking(BUSY[reply], "1")]
    began = time.monotonic()
    assert get().leaf is not None
    assert time.monotonic() - began >= 1
    (waiting,) = [text for text in notices if "rying again" in text]
    assert re.search(r"rying again in [12]s, at \d\d:\d\d:\d\d\.\.\.$", waiting)
    assert ("The CA is busy" in waiting) is (BUSY[reply].status == 503)
    # What was refused with 503 is signed anew, with another nonce.
    assert len(set(ca.used)) == len(ca.used)


def test_a_ca_that_is_busy_for_long_is_asked_less_and_less(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/new-order"] = [BUSY["problem"]] * 1000
    with pytest.raises(CaError, match="too much to do") as caught:
        get(8)
    assert caught.value.exit_status == AWAY
    # The limits of the pauses are half a second, one, two, four, so that they come to eight seconds at the sixth try
    # on average; that twenty are made is as good as impossible.
    assert 2 <= ca.paths().count("/acme/new-order") < 20


def test_a_wait_beyond_the_commands_time_is_not_begun(get: Callable[..., order.Issued], ca: ScriptedCA) -> None:
    ca.once["/acme/new-order"] = [asking(BUSY["problem"], "3600")] * 2
    with pytest.raises(CaError) as caught:
        get(30)
    assert ca.paths().count("/acme/new-order") == 1
    assert (caught.value.retry_after, caught.value.exit_status) == (3600, AWAY)
    assert re.search(r"asks to wait for 1h0m0s, until \d\d:\d\d:\d\d: --timeout ends before", str(caught.value))


@pytest.fixture
def fingerprint(acme_iid: Run, ca: ScriptedCA, tmp_path: Path) -> str:
    root = tmp_path / "its-root.pem"
    root.write_bytes(ca.root.pem)
    return acme_iid("fingerprint", root).stdout.strip()


def test_bootstrap_waits_for_a_busy_ca(acme_iid: Run, ca: ScriptedCA, fingerprint: str) -> None:
    for path in (f"/root/{fingerprint}", "/acme/directory"):
        ca.once[path] = [asking(Reply(503), "1")]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"The CA is busy: trying again in [12]s, at ", done.stderr)) == 2
    assert ca.paths().count(f"/root/{fingerprint}") == 2


def test_bootstrap_gives_a_busy_ca_up_in_time(acme_iid: Run, ca: ScriptedCA, fingerprint: str, tmp_path: Path) -> None:
    ca.once[f"/root/{fingerprint}"] = [asking(Reply(503), "3600")] * 2
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint)
    assert done.returncode == AWAY
    assert "answers with status 503: the CA is busy. Try again later." in done.stderr
    assert ca.paths() == [f"/root/{fingerprint}"]
    assert not (tmp_path / "config").exists()


def test_the_cas_wish_is_asked_for_when_it_has_time(ca: ScriptedCA, tmp_path: Path) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root.pem)
    ca.window = asking(Reply(503), "900")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue(ca.root, "foo.local", key, ["foo.local"])
    with pytest.raises(UnreachableError) as caught:
        ari.fetch(known(ca.url, root), certificate, Deadline(60))
    assert caught.value.retry_after == 900


def answer(status: int = 503, **headers: str) -> requests.Response:
    """An answer without a body."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0", 0.1),
        ("999999999999999999999", MAX_RETRY_AFTER),
        ("-5", 7),
        ("1.5", 7),
        ("5 s", 7),
        ("soon", 7),
        ("", 7),
        (format_datetime(NOON + timedelta(seconds=30), usegmt=True), 30),
        ("Wednesday, 01-Jul-26 12:00:30 GMT", 30),
        ("Wed Jul  1 12:00:30 2026", 30),
        (format_datetime(NOON - timedelta(days=1), usegmt=True), 0.1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Wed, 01 Jul 2026 12:00:30 +99999999999999999999", 7),
        ("Wed, 99 Jul 2026 12:00:30 GMT", 7),
    ],
)
def test_what_a_ca_asks_for_is_read_and_bounded(text: str, seconds: float) -> None:
    # Its clock is another one than this machine's, and a date is by its own.
    response = answer(Retry_After=text, Date=format_datetime(NOON, usegmt=True))
    assert retry_after(response, default=7) == seconds


def test_a_date_without_the_cas_own_is_by_this_machines_clock() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    assert 0.1 < retry_after(answer(Retry_After=soon), default=7) <= 600


def test_machines_that_are_asked_the_same_come_back_spread_out() -> None:
    waits = [Pauses(Deadline(1000)).after(answer(Retry_After="10")) for _ in range(200)]
    times = sorted(wait for wait in waits if wait is not None)
    assert len(times) == 200
    assert times[0] >= 10
    assert times[-1] <= 15
    # In no second of the five come more than half.
    assert all(sum(second <= time_ < second + 1 for time_ in times) < 100 for second in range(10, 15))


def test_the_random_time_is_not_what_ends_a_command() -> None:
    for _ in range(50):
        pause = Pauses(Deadline(120)).after(answer(Retry_After="100"))
        assert pause is not None
        assert 100 <= pause < 111


def test_without_a_word_of_the_cas_the_pauses_limit_doubles() -> None:
    rows = []
    for _ in range(200):
        tries = Pauses(Deadline(10_000))
        rows.append([tries.after(answer()) or 0.0 for _ in range(9)])
    for number, column in enumerate(zip(*rows, strict=True)):
        limit = min(0.5 * 2**number, 30)
        assert 0 < min(column) < limit / 2 < max(column) <= limit + 0.1


def test_a_ca_that_is_away_is_given_up_after_a_restarts_time() -> None:
    tries = Pauses(Deadline(1000))
    waits = []
    while (pause := tries.after(None)) is not None:
        waits.append(pause)
        assert 0.1 <= pause <= 3
    assert 14 <= sum(waits) <= 17


@pytest.mark.parametrize("status", [200, 400, 403, 404, 500, 501])
def test_an_answer_that_says_nothing_of_later_is_not_waited_for(status: int) -> None:
    assert Pauses(Deadline(1000)).after(answer(status, Retry_After="1")) is None


@pytest.fixture
def machine(metadata: str, ca: ScriptedCA, tmp_path: Path) -> Machine:
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "root.pem").write_bytes(ca.root.pem)
    return Machine(folder, metadata)


def scheduled(days: float) -> ScheduledPair:
    """A pair whose certificate has so many days left."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue(None, "foo.local", key, ["foo.local"], days=days)
    return ScheduledPair(records.Record(Path("foo.crt"), Path("foo.key")), leaf)


def test_a_daemon_comes_back_when_it_is_asked_to_and_spread_out() -> None:
    error = CaError("later")
    error.retry_after = 600
    waits = {scheduled(30).pause(1, error) for _ in range(50)}
    assert len(waits) > 25
    assert min(waits) >= 600
    assert 750 < max(waits) <= 900


def test_a_ca_that_asks_for_a_day_does_not_cost_a_certificate_its_end() -> None:
    error = CaError("later")
    error.retry_after = MAX_RETRY_AFTER
    assert scheduled(1).pause(1, error) <= 86400 / 4


def test_a_daemon_tries_a_busy_ca_with_one_certificate_at_a_time(ca: ScriptedCA, machine: Machine) -> None:
    ca.once["/acme/directory"] = [problem("serverInternal", "too much to do", 503)] * 1000
    private = ec.generate_private_key(ec.SECP256R1())
    expired = issue(None, "foo.local", private, ["foo.local"], start=datetime.now(UTC) - timedelta(days=9))
    for number in range(4):
        pair = (machine.folder / f"{number}.crt", machine.folder / f"{number}.key")
        pair[0].write_bytes(expired.public_bytes(Encoding.PEM))
        pair[1].write_bytes(keys.to_pem(private))
        records.save(machine.folder / "state", records.Record(*pair, ca.url, machine.folder / "root.pem"))
    with machine.stay("--timeout", "5") as daemon:
        lines = [daemon.wait_for("renewal failed, next try in") for _ in range(4)]
        assert daemon.stop() == 0
    # Four at once at first; each counts as a failure of the CA, and so it is left alone for eight seconds or so.
    spans = [int(re.findall(r"next try in (\d+)s", line)[0]) for line in lines]
    assert max(spans) >= 6
    # One whose time ends while it waits for an answer says so instead; on a busy machine that may be some of them.
    assert any("too much to do" in line for line in lines)
