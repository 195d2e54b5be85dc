"""The server as several processes on one address: killed, reloaded, and failing to start."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import serving
from processes import runs
from serving import DEADLINE, Running, Start, rename_ca, wait_until


def pids(running: Running) -> set[str]:
    """The processes that answer, both of them; connections are dealt out by chance."""
    found: set[str] = set()

    def both() -> bool:
        found.add(running.get("/pid"))
        return len(found) == 2

    wait_until(both)
    return found


def test_both_answer_and_sigterm_ends_them_with_success(start: Start, home: Path) -> None:
    running = start("two-workers")
    workers = pids(running)
    assert str(running.process.pid) not in workers
    assert len(list((home / "tls").iterdir())) == 2
    assert running.stop() == 0
    assert [line.split(" ", 1)[1] for line in running.lines if "Listening" in line or "Stopped" in line] == [
        f"Listening on {running.url}, for https://127.0.0.1\n",
        "Stopped.\n",
    ]
    assert not any(runs(int(pid)) for pid in workers)
    assert list((home / "tls").iterdir()) == []


def test_sighup_is_passed_on(start: Start, home: Path) -> None:
    running = start("two-workers")
    rename_ca(home, "My CA", "Another CA")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("The configuration was reloaded", count=2)
    assert {running.get("/name") for _ in range(8)} == {"Another CA"}


def test_processes_that_are_killed_are_replaced_and_requests_wait(start: Start) -> None:
    running = start("two-workers")
    before = pids(running)
    for pid in before:
        os.kill(int(pid), signal.SIGKILL)
    assert not pids(running) & before
    assert running.process.poll() is None


def test_processes_killed_after_a_reload_are_replaced_by_such_as_them(start: Start, home: Path) -> None:
    running = start("two-workers")
    for count, name in ((1, "Another CA"), (2, "A third CA")):
        rename_ca(home, "My CA" if count == 1 else "Another CA", name)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("The configuration was reloaded", count=2 * count)
        for pid in pids(running):
            os.kill(int(pid), signal.SIGKILL)
        assert {running.get("/name") for _ in range(8)} == {name}
    # What cannot be used is not what a new one begins with.
    rename_ca(home, "A third CA", "unusable")
    for pid in pids(running):
        os.kill(int(pid), signal.SIGKILL)
    assert {running.get("/name") for _ in range(8)} == {"A third CA"}
    assert running.stop() == 0


def test_a_process_that_keeps_ending_ends_the_server_with_a_sentence(start: Start, home: Path) -> None:
    running = start("two-workers")
    (home / "broken").touch()
    os.kill(int(running.get("/pid")), signal.SIGKILL)
    assert running.process.wait(120) == 1
    running.wait_for("A process of the server has ended: the app is broken")
    running.wait_for("refused: the server's processes keep ending")


def test_processes_that_cannot_start_end_the_server_with_their_sentence(home: Path) -> None:
    (home / "broken").touch()
    running = serving.run(home, "two-workers")
    assert running.process.wait(DEADLINE) == 1
    running.end()
    assert [line for line in running.lines if "broken" in line] == ["refused: the app is broken\n"]


def test_after_a_kill_of_the_parent_the_address_can_be_served_again(start: Start, home: Path) -> None:
    running = start("two-workers")
    address = running.url.removeprefix("https://")
    workers = [int(pid) for pid in pids(running)]
    assert running.stop(signal.SIGKILL) == -signal.SIGKILL
    try:
        again = start(listen=address)
        assert int(again.get("/pid")) not in workers
        wait_until(lambda: not any(map(runs, workers)))
    except AssertionError:
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        raise
    # What the killed ones left behind goes with the next certificate.
    again.process.send_signal(signal.SIGHUP)
    left = tuple(f"{worker}-" for worker in workers)
    wait_until(lambda: not any(path.name.startswith(left) for path in (home / "tls").iterdir()))


def test_a_process_of_several_that_crashes_is_started_again(start: Start) -> None:
    running = start("two-workers")
    before = pids(running)
    with suppress(OSError):
        running.get("/crash")
    wait_until(lambda: bool(pids(running) - before))
    assert running.process.poll() is None
