"""The server's log as others read it: three formats, levels, the journal's priorities, and the ids of requests."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from running import CA, PROVISIONER, SECONDS
from stories import STEPS, Story

from acme_iid.store.database import open_store

ID = r"[0-9a-f]{16}"


def certificate(ca: CA) -> Story:
    """A certificate for foo.local."""
    story = Story(ca)
    for step in STEPS:
        step(story)
    return story


def parsed(line: str) -> dict[str, str]:
    """The facts of a line in logfmt."""
    return dict(pair.partition("=")[::2] for pair in shlex.split(line))


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def of_kind(ca: CA, kind: str) -> list[str]:
    """The lines with a text in them."""
    return [line for line in list(ca.log) if kind in line]


def reload(ca: CA, times: int) -> None:
    """Have the server's processes read ca.toml again, and wait until so many of them say so."""
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + SECONDS
    while len(of_kind(ca, "The configuration was")) < times:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.01)


def test_json_has_one_object_a_line_and_one_line_an_act(own_ca: CA) -> None:
    own_ca.start("--workers", "2", "--log-format", "json")
    story = certificate(own_ca)
    reload(own_ca, 2)
    refused = story.account().order("foo.elsewhere")
    own_ca.until_logged("order.refused")
    own_ca.stop()
    lines = [json.loads(line) for line in own_ca.log]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    (issued,) = (line for line in lines if line["message"] == "certificate.issued")
    assert (issued["level"], issued["names"], issued["provisioner"]) == ("info", "foo.local", PROVISIONER)
    assert issued["instance"].endswith(f":{story.instance.instance_id}")
    assert issued["serial"].isdigit()
    (order,) = (line for line in lines if line["message"] == "order.refused")
    assert order["request"] == refused.headers["X-Request-Id"] == refused.json()["requestId"]
    assert order["request"] != issued["request"]
    # At level info there are no lines but for the acts, and the start and the end.
    assert len([line for line in lines if "request" in line]) == 2


def test_logfmt_can_be_read_back(own_ca: CA) -> None:
    own_ca.start("--log-format", "logfmt")
    certificate(own_ca)
    own_ca.until_logged("certificate.issued")
    own_ca.stop()
    lines = [parsed(line) for line in own_ca.log]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (issued,) = (line for line in lines if line["message"] == "certificate.issued")
    assert issued["provisioner"] == PROVISIONER
    assert re.fullmatch(ID, issued["request"])


def test_text_is_as_it_was_with_the_request_at_the_end(own_ca: CA) -> None:
    own_ca.start()
    certificate(own_ca)
    own_ca.until_logged("certificate.issued")
    own_ca.stop()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}"
    assert all(re.match(f"{time} ", line) for line in own_ca.log)
    assert [line for line in own_ca.log if re.fullmatch(f"{time} Stopped\\.\n", line)]
    (issued,) = of_kind(own_ca, "certificate.issued")
    assert re.fullmatch(f"{time} certificate\\.issued account=.* names=foo\\.local .* request={ID}\n", issued)


def test_debug_has_a_line_for_each_answer_and_warning_none_for_acts(own_ca: CA) -> None:
    own_ca.start("--log-format", "json", "--log-level", "debug")
    certificate(own_ca)
    own_ca.until_logged("certificate.issued")
    own_ca.stop()
    answered = [json.loads(line) for line in own_ca.log if '"answered"' in line]
    routes = [
        (line["method"], line["status"]) for line in answered if line["route"].endswith(("new-order", "finalize"))
    ]
    assert routes == [("POST", 201), ("POST", 200)]
    assert len({line["request"] for line in answered}) == len(answered)
    quiet = [json.loads(line) for line in own_ca.log if '"challenge.valid"' in line]
    assert [line["level"] for line in quiet] == ["debug"]


def test_at_level_warning_acts_leave_no_line(own_ca: CA, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        own_ca.process = subprocess.Popen(
            [sys.executable, "-m", "acme_iid.cli", "--home", own_ca.home, "serve", "--log-level", "warning"],
            stderr=log,
        )
        deadline = time.monotonic() + SECONDS
        while not listens(own_ca.port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        certificate(own_ca)
        own_ca.stop()
    # What check finds is a warning; nothing else is written.
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line for line in lines if not line.endswith("[any-name]")] == []
    assert lines


@pytest.mark.parametrize("format_", ["text", "json", "logfmt"])
def test_under_the_journal_each_line_has_its_priority(own_ca: CA, format_: str) -> None:
    # systemd names the file that standard error is; a shell does so here.
    named = """JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@\""""
    own_ca.start("--log-format", format_, "--log-level", "debug", prefix=("sh", "-c", named, "sh"))
    certificate(own_ca)
    (own_ca.home / "ca.toml").rename(own_ca.home / "elsewhere.toml")
    reload(own_ca, 1)
    own_ca.stop()
    assert all(re.match("<[3-7]>[^<]", line) for line in own_ca.log)
    priority = {word: next(line[:3] for line in own_ca.log if word in line)
                for word in ("answered", "certificate.issued", "was not reloaded")}  # fmt: skip
    assert priority == {"answered": "<7>", "certificate.issued": "<6>", "was not reloaded": "<3>"}


def test_another_stream_than_the_journals_has_no_priorities(own_ca: CA) -> None:
    # A service that runs within one that has the journal inherits the variable.
    own_ca.start(env={"JOURNAL_STREAM": "8:12345"})
    own_ca.stop()
    assert [line for line in own_ca.log if line.startswith("<")] == []


def test_a_traceback_stays_one_record_and_shows_no_request(own_ca: CA) -> None:
    own_ca.start("--log-format", "json")
    account = own_ca.account()
    with closing(open_store(own_ca.store_url)) as store, store.transaction() as transaction:
        transaction.run("ALTER TABLE orders RENAME TO elsewhere")
    failed = account.order("foo.local")
    id_ = failed.headers["X-Request-Id"]
    own_ca.until_logged(id_)
    own_ca.stop()
    (line,) = (json.loads(line) for line in own_ca.log if id_ in line)
    assert line["level"] == "error"
    assert line["request"] == id_ == failed.json()["requestId"]
    assert "Traceback (most recent call last)" in line["traceback"]


def test_an_id_that_a_client_sends_is_not_believed(own_ca: CA) -> None:
    own_ca.start("--log-level", "debug")
    mine = "0123456789abcdef"
    told = {"X-Request-Id": mine, "X_Request_Id": mine, "traceparent": mine}
    session = own_ca.wire().session
    urls = [own_ca.directory, f"{own_ca.url}/health", f"{own_ca.url}/nowhere"] * 2
    ids = [session.get(url, headers=told, timeout=SECONDS).headers["X-Request-Id"] for url in urls]
    own_ca.stop()
    assert all(re.fullmatch(ID, id_) for id_ in ids)
    assert len(set(ids)) == 6
    assert mine not in "".join(own_ca.log) + "".join(ids)
