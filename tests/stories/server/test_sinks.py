"""Events of a running server reach syslog and a hook, through a reload and the death of its processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from chain_reader import ChainReader
from event_receivers import Receiver, receiving
from running import CA
from serving import wait_until

from acme_iid.operations.sinks import LEASE_SECONDS


def head(ca: CA) -> str:
    """The latest event's place."""
    return ca.cli("events", "--check").stdout.partition("head ")[2].split()[0]


def until_taken(ca: CA, receiver: Receiver) -> str:
    """Wait until a receiver has the latest event; its place. A lease outlives the process that had it."""
    last = head(ca)
    end = time.monotonic() + 60 + LEASE_SECONDS
    while int(last.partition(":")[0]) not in receiver.numbers:
        assert time.monotonic() < end, receiver.numbers
        time.sleep(0.1)
    return last


def recomputed(receiver: Receiver) -> str:
    """The place that a reader comes to: each event comes at least once and in order, and again as it was."""
    reader, seen = ChainReader(), dict[int, str]()
    for line, number in zip(receiver.lines, receiver.numbers, strict=True):
        if number not in seen:
            seen[number] = line
            reader.read(line)
        assert seen[number] == line
    return f"{reader.seq}:{reader.head}"


def test_both_sinks_get_every_event_through_a_reload_and_a_kill(own_ca: CA, tmp_path: Path) -> None:
    with receiving(tmp_path / "syslog", "syslog+tls") as syslog, receiving(tmp_path / "hook", "https") as hook:
        file = own_ca.home / "ca.toml"
        file.write_text(f"{file.read_text()}\n{syslog.settings('log')}\n{hook.settings('siem')}")
        own_ca.start("--workers", "2")
        own_ca.account()
        until_taken(own_ca, syslog)
        until_taken(own_ca, hook)
        hook.mode = "hang"
        assert own_ca.process is not None
        own_ca.process.send_signal(signal.SIGHUP)
        own_ca.account()
        until_taken(own_ca, syslog)  # which waits for nobody else's receiver
        workers = own_ca.workers()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        hook.mode = "take"
        hook.released.set()
        wait_until(lambda: not set(workers) & set(own_ca.workers()))
        own_ca.cli("eab", "add", "--reason", "ticket 17")
        for receiver in (syslog, hook):
            until_taken(own_ca, receiver)
        assert own_ca.stop() == 0
        assert recomputed(hook) == recomputed(syslog)
        assert "ticket 17" in hook.lines[-1]
