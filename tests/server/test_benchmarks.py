"""The benchmarks still run: a handful of orders each, and no figure of theirs is judged (tests/benchmarks)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import generator, million, processes
from running import CA

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


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


def test_the_profile_has_the_five_routes_of_an_order() -> None:
    lines = run("routes.py", "--orders", "3", "--connections", "1", "--top", "3").splitlines()
    assert {line.split()[1].rpartition("/acme/")[2] for line in lines if line.startswith("POST /acme/")} == {
        "new-order",
        "authorization/…",
        "challenge/…",
        "order/…/finalize",
        "certificate/…",
    }


def test_a_store_that_was_filled_is_one_that_the_server_could_have_written(tmp_path: Path) -> None:
    home = million.make(tmp_path / "ca")
    million.Copies(home, 40).write()
    assert home.ca.cli("events", "--check").stdout.startswith("OK: ")
    assert len(json.loads(home.ca.cli("certificate", "list", "--json").stdout)) == 41
    assert len(json.loads(home.ca.cli("instance", "list", "--json").stdout)) == 10
    found = million.ask(home)
    assert found["certificate list"][0] > 0


def test_what_others_make_everybody_wait_for_is_measured() -> None:
    printed = run("fairness.py", "--workers", "1", "--orders", "3", "--waiting", "3", "--one", "2", "--each", "0")
    assert "3 authorizations that wait" in printed
    assert printed.count("http-01 beside 1 address(es)") == 3
