"""The secrets of sinks go through deliveries, faults, reloads and commands; nothing that is said has them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scraping
from canary import CANARY, Told
from event_receivers import SECRET, receiving
from processes import arguments
from running import CA, SECONDS
from serving import wait_until


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA whose store is a file."""
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    yield ca
    if ca.process is not None:
        ca.kill()


def reload(ca: CA) -> None:
    """Have the server read ca.toml again, and wait until it has said what it thinks of it."""
    assert ca.process is not None
    count = sum("The configuration was" in line for line in list(ca.log))
    ca.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sum("The configuration was" in line for line in list(ca.log)) > count)


def commands(told: Told, ca: CA) -> None:
    """Keep what commands say of it all."""
    for command in ("check", "check --reload", "status", "status --json", "policy show --json", "events --check",
                    "events --json --limit 1000"):  # fmt: skip
        done = ca.try_cli(*command.split())
        told.texts.append(done.stdout + done.stderr)


def stream(ca: CA) -> str:
    """The beginning of the stream of events."""
    command = [sys.executable, "-m", "acme_iid.cli", "--home", str(ca.home), "events", "--follow", "--after", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(3)]
        following.send_signal(signal.SIGINT)
        rest, _ = following.communicate(timeout=SECONDS)
    return "".join(lines) + rest


@pytest.mark.parametrize("format_", ["text", "json", "logfmt"])
def test_no_secret_of_a_sink_is_told(ca: CA, tmp_path: Path, format_: str) -> None:
    told = Told()
    base = scraping.turn_on(ca)
    file = ca.home / "ca.toml"
    with receiving(tmp_path / "syslog", "syslog+tls") as syslog, receiving(tmp_path / "hook", "https") as hook:
        client = tmp_path / "syslog" / "hostile.pem"
        told.hide("the hook's key", SECRET)
        told.hide("the syslog client's key", client.read_text().splitlines()[1])
        without = file.read_text()
        file.write_text(f'{without}\n{syslog.settings("log")}certificate_file = "{client}"\n{hook.settings("siem")}')
        ca.start("--log-format", format_, "--log-level", "debug")
        ca.account()
        wait_until(lambda: bool(hook.lines) and bool(syslog.lines))
        # Receivers in trouble, which the log tells.
        hook.answer, syslog.mode = lambda _body: 401, "reset"
        ca.account()
        ca.until_logged("The sink siem does not take events")
        ca.until_logged("The sink log does not take events")
        commands(told, ca)
        # A next key, one that is none, a client's key that is none, and no sinks at all.
        hook.mode = "cut"
        secret = tmp_path / "hook" / "hook.secret"
        for content in (CANARY * 2, CANARY[:10], f"{CANARY}\n{CANARY}\n", f"{SECRET}\n"):
            secret.write_text(content)
            reload(ca)
            commands(told, ca)
        key = client.read_text()
        client.write_text(key.replace("PRIVATE KEY", "SECRET KEY"))
        reload(ca)
        client.write_text(key)
        file.write_text(without)
        reload(ca)
        assert ca.process is not None
        told.texts += [stream(ca), scraping.get(f"{base}/metrics")[1], str(arguments(ca.process.pid))]
        process, ca.process = ca.process, None
        process.send_signal(signal.SIGABRT)
        assert process.wait(SECONDS) == -signal.SIGABRT
        told.texts += [*hook.lines, *syslog.lines]
    assert told.given_away("".join(ca.log)) == []
    assert [(what, text) for text in told.texts if (what := told.given_away(text))] == []
