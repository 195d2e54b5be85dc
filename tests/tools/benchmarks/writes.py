"""What a certificate makes our server do to its SQLite file: pages, write calls, fsyncs and SQL statements.

Run it with ``python tests/tools/benchmarks/writes.py``. One server runs under strace, which sees every call on every
file of the CA, those of checkpoints and of work in the background included; a second one counts its statements, since
counting them takes write calls; of a third one, strace sees nothing but when it takes and releases SQLite's lock for
writers. The load is the one of orders.py. Tracing slows the server down: more requests share a commit than would
without it, so the figure to read beside ``fsyncs`` is the one with ``--connections 1``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from benchmarks import processes
from benchmarks.generator import Generator, jobs_of_instances, with_iid01
from benchmarks.orders import show
from running import CA

T = TypeVar("T")

_CALLS = ("pwrite64", "write", "writev", "pwritev", "pwritev2", "fsync", "fdatasync", "sync_file_range", "pread64")
_CALL = re.compile(rf"\d+ +(?P<time>\d+\.\d+) (?P<name>{'|'.join(_CALLS)})\(\d+<(?P<file>[^>]*)>(?P<rest>.*)")
_LOCK = re.compile(
    r"\d+ +(?P<time>\d+\.\d+) fcntl\(\d+<[^>]*-shm>, F_\w+, \{l_type=F_(?P<type>\w+), l_whence=SEEK_SET, "
    r"l_start=120, l_len=1\}"
)
"""The lock that writers exclude each other with (WAL_WRITE_LOCK, sqlite.org/walformat.html)."""
_LENGTH = re.compile(r', (?:""|NULL)(?:\.\.\.)?, (\d+)')
_STATEMENTS = Path(__file__).resolve().parent / "statements"


@dataclass(frozen=True)
class Call:
    """A call on a file.

    :ivar time: seconds since the epoch.
    :ivar length: octets that were to be written or read at once; 0 where that is not said.
    """

    time: float
    name: str
    file: str
    length: int


def calls(trace: Path, begin: float, end: float) -> list[Call]:
    """The calls that strace has seen between two moments (``-f -ttt -y -s 0``)."""
    found = []
    for line in trace.read_text(errors="replace").splitlines():
        if (call := _CALL.match(line)) and begin <= float(call["time"]) <= end:
            length = _LENGTH.match(call["rest"])
            found.append(Call(float(call["time"]), call["name"], call["file"], int(length[1]) if length else 0))
    return found


def counted(found: list[Call], home: Path, database: Path) -> dict[str, int]:
    """How often the server did what costs something to the files below its home."""
    page = int.from_bytes(database.read_bytes()[16:18])
    log = f"{database}-wal"
    ours = [call for call in found if call.file.startswith(f"{home}/")]
    written = [call for call in ours if "write" in call.name]
    synced = [call for call in ours if "sync" in call.name]
    return {
        "WAL pages": sum(call.length == page for call in written if call.file == log),
        "pages written back by checkpoints": sum(call.length == page for call in written if call.file == str(database)),
        "fsyncs": len(synced),
        "fsyncs of the WAL": sum(call.file == log for call in synced),
        "fsyncs of the database": sum(call.file == str(database) for call in synced),
        "write calls": len(written),
        "reads": sum("read" in call.name for call in ours),
    }


def load(ca: CA, options: argparse.Namespace, look: Callable[[], T]) -> tuple[int, T, T]:
    """Load a server that runs.

    :param look: called when the server is warm, and when it has done what the certificates make it do.
    :returns: how many certificates it issued in between, and what was seen then and then.
    """
    generator = Generator(ca.directory, ca.root, with_iid01, options.connections)
    warming = max(options.orders // 10, options.connections)
    jobs = jobs_of_instances(generator.accounts(options.connections), warming + options.orders)
    generator.run(jobs[:warming], options.seconds)
    time.sleep(options.settle)
    before = look()
    done = generator.run(jobs[warming:], options.seconds)
    # What is done behind the answers counts as well.
    time.sleep(options.settle)
    after = look()
    generator.close()
    return len(done.latencies), before, after


def strace(folder: Path, options: argparse.Namespace, *flags: str) -> tuple[CA, Path, int, float, float]:
    """Load a server under strace.

    :returns: its CA, the trace, how many certificates it issued, and from when until when, seconds since the epoch.
    """
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    trace = folder / "trace"
    tracer = ("strace", "-f", "-qq", "--seccomp-bpf", "-ttt", "-y", "-s", "0", *flags, "-o", str(trace))
    ca.start("--workers", str(options.workers), prefix=tracer)
    assert ca.process is not None
    try:
        certificates, begin, end = load(ca, options, time.time)
    finally:
        # strace lets no signal through to the server, and ends with it.
        os.kill(processes.tree(ca.process.pid)[1], signal.SIGTERM)
        ca.process.wait(timeout=60)
    return ca, trace, certificates, begin, end


def traced(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Count the calls on files, each for one certificate."""
    ca, trace, certificates, begin, end = strace(folder, options, "-e", f"trace={','.join(_CALLS)}")
    database = Path(ca.store_url.removeprefix("sqlite:"))
    found = counted(calls(trace, begin, end), ca.home, database)
    return {name: count / certificates for name, count in found.items()}


def locked(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Measure for how long writers keep others waiting, from taking the lock to releasing it, with the fsync."""
    # With -z, a call that failed is left out, and each of the others is one line.
    _, trace, _, begin, end = strace(folder, options, "-z", "-e", "trace=fcntl")
    taken, held = 0.0, []
    for line in sorted(trace.read_text(errors="replace").splitlines(), key=lambda line: line.split()[1]):
        if (found := _LOCK.match(line)) and begin <= float(found["time"]) <= end:
            if found["type"] == "WRLCK":
                taken = float(found["time"])
            elif taken:
                held.append(1000 * (float(found["time"]) - taken))
                taken = 0.0
    held.sort()
    return {
        "lock held, median ms": held[len(held) // 2],
        "lock held, p99 ms": held[len(held) * 99 // 100],
        "lock held, longest ms": held[-1],
    }


def stated(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Load a server that counts its statements; returns all of them and those of each verb, for one certificate."""
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    file = folder / "statements"
    env = {"PYTHONPATH": str(_STATEMENTS), "ACME_IID_STATEMENTS": str(file)}
    ca.start("--workers", str(options.workers), env=env)
    try:
        certificates, begin, end = load(ca, options, lambda: file.stat().st_size)
    finally:
        ca.stop()
    verbs = Counter(file.read_bytes()[begin:end].decode().split())
    named = {f"of them {verb}": count / certificates for verb, count in verbs.most_common()}
    return {"statements": verbs.total() / certificates, **named}


def main() -> None:
    """Count and print."""
    # The servers end with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description="What a certificate makes our server do to its SQLite file.")
    parser.add_argument("--orders", type=int, default=2000, help="certificates in each of the three runs (2000)")
    parser.add_argument("--connections", type=int, default=8, help="clients at a time (8)")
    parser.add_argument("--workers", type=int, default=2, help="processes of acme-iid (2)")
    parser.add_argument("--seconds", type=float, default=300, help="when a run ends at the latest (300)")
    parser.add_argument("--settle", type=float, default=5, help="for how long work behind the answers is awaited (5)")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for count in (traced, stated, locked):
        with tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-") as folder:
            figures |= count(Path(folder), options)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    lines = [[name, f"{each:.2f}"] for name, each in figures.items()]
    show([["of a certificate", "figure"], *lines], options.markdown)


if __name__ == "__main__":
    main()
