"""The benchmarks still run: a handful of orders each, and no figure of theirs is judged (tests/tools/benchmarks)."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks import filled, generator, million, processes, relay
from pages import page
from running import CA

BENCHMARKS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_load_places_whole_orders_of_five_requests(own_ca: CA) -> None:
    own_ca.start("--workers", "2")
    assert own_ca.process is not None
    load = generator.Generator(own_ca.directory, own_ca.root, generator.with_iid01, 2)
    accounts = load.accounts(3)
    done = load.run(generator.jobs_of_instances(accounts, 6), 60)
    load.close()
    again = generator.Generator(own_ca.directory, own_ca.root, generator.with_iid01, 1, new_connections=True)
    done_again = again.run(generator.jobs_of_instances(accounts, 2), 60)
    again.close()
    assert (len(done.latencies), done.requests, len(done_again.latencies)) == (6, 30, 2)
    issued = json.loads(own_ca.cli("certificate", "list", "--json").stdout)
    assert len(issued) == 8
    pids = processes.tree(own_ca.process.pid)
    assert pids[0] == own_ca.process.pid
    assert len(pids) > 1
    assert sum(processes.cpu(own_ca.process.pid)) > 0
    assert processes.memory_bytes(own_ca.process.pid) > 10_000_000


def test_the_comparison_prints_a_line_for_each_server() -> None:
    options = ("--only", "acme-iid", "--orders", "4", "--connections", "2", "--rounds", "1", "--markdown")
    lines = run("orders.py", *options).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["server", "---", "acme-iid"]


def test_renewals_take_three_requests() -> None:
    servers = ("--only", "acme-iid", "--only", "acme-iid renewals")
    options = ("--renewals", "--orders", "4", "--connections", "2", "--rounds", "1", "--json")
    found = json.loads(run("orders.py", *servers, *options))
    assert [one["requests"] for one in (*found["acme-iid"], *found["acme-iid renewals"])] == [5, 3]


def test_a_key_in_a_token_and_behind_a_program_is_measured_beside_a_file() -> None:
    names = ("acme-iid", "acme-iid SoftHSM", "acme-iid exec:")
    options = ("--keys", "--workers", "1", "--orders", "60", "--connections", "2", "--rounds", "1", "--json")
    found = json.loads(run("orders.py", *options, *(word for name in names for word in ("--only", name))))
    (in_a_file,), *elsewhere = (found[name] for name in names)
    assert in_a_file["signer"] == 0
    assert all(0 < figures["signer"] < figures["cpu"] for (figures,) in elsewhere)


def test_an_overload_is_measured_with_clients_that_obey_and_with_others() -> None:
    options = ("--seconds", "1", "--grace", "20", "--orders", "20", "--connections", "2", "--times", "2", "--json")
    found = json.loads(run("overload.py", *options))
    best = found.pop("best")
    assert min(best) > 0
    assert list(found) == ["obey Retry-After", "do not"]
    for figures in found.values():
        assert (figures["faults"], figures["others"]) == (0, 0)
        assert figures["offered"] > 0


def test_what_makes_the_loop_stand_still_is_measured() -> None:
    found = json.loads(run("stalls.py", "--seconds", "0.3", "--threads", "2", "--json"))
    assert len(found) >= 8
    assert min(figures["asked"] for figures in found.values()) > 0
    assert all(found[name]["work"] > 0 for name in ("orders", "bodies of 128 KiB", "RSA keys of 4096 bits"))


def test_the_profile_has_the_five_routes_of_an_order() -> None:
    lines = run("routes.py", "--orders", "3", "--connections", "1", "--top", "3").splitlines()
    assert {line.split()[1].rpartition("/acme/")[2] for line in lines if line.startswith("POST /acme/")} == {
        "new-order",
        "authorization/…",
        "challenge/…",
        "order/…/finalize",
        "certificate/…",
    }


def test_a_filled_store_is_one_that_the_server_could_have_written(tmp_path: Path) -> None:
    home = filled.make(tmp_path / "ca")
    filled.Copies(home, 40).write()
    assert home.ca.cli("events", "--check").stdout.startswith("OK: ")
    assert len(json.loads(home.ca.cli("certificate", "list", "--json").stdout)) == 41
    assert len(json.loads(home.ca.cli("instance", "list", "--json").stdout)) == 10
    found = million.ask(home)
    assert found["certificate list"][0] > 0


def test_what_others_make_everybody_wait_for_is_measured() -> None:
    printed = run("fairness.py", "--workers", "1", "--orders", "3", "--waiting", "3", "--one", "2", "--each", "0")
    assert "3 authorizations that wait" in printed
    assert printed.count("http-01 beside 1 address(es)") == 3


@contextmanager
def echo() -> Iterator[int]:
    """A server at the port that is yielded, which sends back what it gets from its one client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    while data := connection.recv(65536):
        pieces.append(data)
    return b"".join(pieces)


def test_the_relay_hands_on_everything_late_and_in_order() -> None:
    with echo() as port, relay.running(port, 40) as between:
        with socket.create_connection(("127.0.0.1", between.port), timeout=60) as connection:
            for number in range(3):
                begun = time.monotonic()
                connection.sendall(b"%d" % number)
                assert connection.recv(10) == b"%d" % number
                # Sleeps are not shorter than they should be but for the clock's resolution; nothing is too long here.
                assert time.monotonic() - begun > 0.039
            assert between.round_trips() == 3
            sent = b"".join(b"%07d\n" % number for number in range(100_000))
            sender = threading.Thread(target=send_all, args=(connection, sent))
            sender.start()
            # That nothing more comes is handed on as well.
            assert read_all(connection) == sent
            sender.join()
        assert between.round_trips() >= 4


def fleet(*options: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads(run("fleet.py", "--vms", "1000", "--json", *options))
    # Nobody is lost and nobody counts twice.
    assert figures["due"] == figures["renewed"] + figures["waiting"]
    assert figures["let_in"] == figures["renewed"] + figures["interrupted"] + figures["inside"]
    return figures


def test_a_fleet_that_nothing_keeps_waiting_renews_in_time() -> None:
    quiet = fleet("--outage-hours", "0", "--lifetime-hours", "12")
    # A certificate is renewed with about a third of its life left.
    assert 2000 < quiet["due"] < 4000
    assert (quiet["lapsed"], quiet["refused"], quiet["backlog"]) == (0, 0, 0)


def test_a_fleet_comes_back_after_an_outage() -> None:
    after = fleet("--capacity", "0.5")
    assert after["backlog"] > 300
    # The server cannot be faster than it is.
    assert after["cleared"] > after["backlog"] / 0.5
    assert after["refused"] > 0
    assert after["lapsed"] > 0
    overrun = fleet("--capacity", "0.01", "--inside", "4")
    assert overrun["cleared"] is None
    assert min(overrun["waiting"], overrun["interrupted"], overrun["inside"]) > 0
    # Refusals that cost as much as certificates, to clients that come again at once: the server does nothing else.
    drowned = fleet("--capacity", "0.5", "--refusal", "1", "--retry-after", "1")
    assert drowned["cleared"] is None
    assert drowned["ended"] < 24 * 3600


@pytest.mark.parametrize("command", sorted({
    command
    for name in ("docs/reference/performance.md", "rfc-notes/performance.md")
    for command in re.findall(r"`(python tests/tools/benchmarks/\w+\.py[^`]*)`", page(name))
}))  # fmt: skip
def test_a_command_of_the_pages_is_one_that_the_program_takes(command: str) -> None:
    """The commands take minutes or other people's servers; that the program knows each option takes neither."""
    _, path, *arguments = shlex.split(command)
    known = run(Path(path).name, "--help")
    assert [option for option in arguments if option.startswith("--") and option not in known] == []
