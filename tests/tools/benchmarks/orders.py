"""What a certificate costs a server: CPU, throughput, latency and memory, of ours beside Pebble, step-ca and Caddy.

Run it with ``python tests/tools/benchmarks/orders.py`` (``--only acme-iid`` for ours alone). Pebble and step-ca are
built once (builds.py). The servers are measured in turn, each time with a fresh home, and what is printed are medians.
It asserts nothing of them.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

from benchmarks import processes, servers
from benchmarks.generator import Generator

F = TypeVar("F", bound="DataclassInstance")


@dataclass(frozen=True)
class Figures:
    """Of one server in one round.

    :ivar cpu: of the server's processes, milliseconds a certificate; system is the kernel's part of it.
    :ivar rate: certificates a second.
    :ivar p50: of an order's latency, milliseconds; so is p99.
    :ivar memory: proportional set size of the server's processes at the end, megabytes.
    :ivar requests: signed requests a certificate.
    :ivar generator: CPU that the load itself took, milliseconds a certificate.
    :ivar database: CPU of its database server, milliseconds a certificate.
    :ivar signer: of ``cpu``, what the process took that signs with a key in another place.
    """

    cpu: float
    system: float
    rate: float
    p50: float
    p99: float
    memory: float
    requests: float
    generator: float
    database: float
    signer: float


def measure(server: servers.Server, options: argparse.Namespace) -> Figures:
    """Start a server, warm it up, load it."""
    with tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-") as folder, server.serve(Path(folder)) as served:
        generator = Generator(
            served.directory,
            served.root,
            served.flow,
            options.connections,
            new_connections=options.new_connections,
        )
        warming = max(options.orders // 10, options.connections)
        usual = options.connections if served.earlier is None else warming + options.orders
        accounts = generator.accounts(options.accounts or usual)
        jobs = server.jobs(accounts, warming + options.orders)
        if served.earlier is not None:
            first = Generator(served.directory, served.root, served.earlier, options.connections)
            first.run(jobs, 10 * options.seconds)
            first.close()
        generator.run(jobs[:warming], options.seconds)
        before, own = processes.cpu(served.pid), time.process_time()
        database, signer = _used(served.database), _signers(served)
        load = generator.run(jobs[warming:], options.seconds)
        own = time.process_time() - own
        database, signer = _used(served.database) - database, _signers(served) - signer
        cpu, memory = processes.cpu(served.pid).since(before), processes.memory_bytes(served.pid)
        generator.close()
    count = len(load.latencies)
    latencies = sorted(load.latencies)
    return Figures(
        cpu=1000 * sum(cpu) / count,
        system=1000 * cpu.system / count,
        rate=count / load.seconds,
        p50=1000 * statistics.median(latencies),
        p99=1000 * latencies[min(count - 1, count * 99 // 100)],
        memory=memory / 1e6,
        requests=load.requests / count,
        generator=1000 * own / count,
        database=1000 * database / count,
        signer=1000 * signer / count,
    )


def _used(database: int | None) -> float:
    return 0.0 if database is None else sum(processes.cpu(database))


def _signers(served: servers.Served) -> float:
    return sum(sum(processes.cpu(pid)) for pid in processes.named(served.pid, served.signer)) if served.signer else 0.0


def median(rounds: list[F]) -> F:
    """Each figure's median."""
    return type(rounds[0])(*(statistics.median(values) for values in zip(*map(astuple, rounds), strict=True)))


def table(found: dict[str, Figures], what: dict[str, str]) -> list[list[str]]:
    """A line for each server, with ratios to Pebble and step-ca where they were measured."""
    peers = [found[name] for name in ("Pebble", "step-ca") if name in found]
    lines = [
        [
            "server",
            "CPU/cert ms",
            "of it system",
            "certs/s",
            "p50 ms",
            "p99 ms",
            "memory MB",
            "requests",
            "generator ms",
            "database ms",
            "signer ms",
            f"notes{_bracketed(found)}",
        ]
    ]
    for name, figures in found.items():
        cells = [name]
        compared = [] if figures in peers else peers
        for key in ("cpu", "system", "rate", "p50", "p99", "memory"):
            value = getattr(figures, key)
            ratios = _ratios(value, [getattr(peer, key) for peer in compared])
            cells.append(f"{value:.{2 if key in ('cpu', 'system') else 0}f}{ratios}")
        # A database is a part of what others' servers do themselves.
        database = _ratios(figures.database, [peer.cpu for peer in compared]) if figures.database else ""
        cells += [f"{figures.requests:.1f}", f"{figures.generator:.2f}", f"{figures.database:.2f}{database}"]
        lines.append([*cells, f"{figures.signer:.2f}", what[name]])
    return lines


def _ratios(value: float, others: list[float]) -> str:
    return f" ({'; '.join(f'{value / other:.2f}' for other in others)})" if all(others) and others else ""


def _bracketed(found: dict[str, Figures]) -> str:
    names = [name for name in ("Pebble", "step-ca") if name in found]
    return f" (in brackets: ratio to {' and to '.join(names)})" if names else ""


def show(lines: list[list[str]], markdown: bool) -> None:
    """Print a table."""
    if markdown:
        lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
    )


def arguments() -> argparse.ArgumentParser:
    """What can be asked."""
    parser = argparse.ArgumentParser(description="What a certificate costs a server.")
    parser.add_argument("--only", action="append", help="a server; may be given several times")
    parser.add_argument("--orders", type=int, default=2000, help="certificates in each round (2000)")
    parser.add_argument("--connections", type=int, default=8, help="clients at a time (8)")
    parser.add_argument("--accounts", type=int, help="accounts that the orders are spread over (one a connection)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server is measured (5)")
    parser.add_argument("--seconds", type=float, default=60, help="when a round ends at the latest (60)")
    parser.add_argument("--debian", action="store_true", help="Debian's Pebble, which is older, and no step-ca")
    parser.add_argument("--workers", type=int, default=2, help="processes of acme-iid (2)")
    parser.add_argument("--postgresql", action="store_true", help="acme-iid's store is in PostgreSQL on this machine")
    parser.add_argument("--renewals", action="store_true", help="and acme-iid, renewing by what each VM has proven")
    parser.add_argument("--keys", action="store_true", help="and acme-iid with its key in SoftHSM and behind a program")
    parser.add_argument("--new-connections", action="store_true", help="a TLS connection for each order")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/reference/performance.md has it")
    parser.add_argument("--json", action="store_true", help="every round's figures as JSON")
    return parser


def main() -> None:
    """Measure and print."""
    # The servers end with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = arguments()
    options = parser.parse_args()
    ours = [
        servers.ours(options.workers, in_postgresql=options.postgresql, renewals=renewals)
        for renewals in ((False, True) if options.renewals else (False,))
    ]
    if options.keys:
        ours += [servers.ours(options.workers, in_postgresql=options.postgresql, key=key) for key in servers.KEYS]
    peers = (servers.pebble(debian=options.debian), *(() if options.debian else (servers.STEP_CA,)), servers.CADDY)
    known = {server.name: server for server in (*ours, *peers)}
    for name in options.only or ():
        if name not in known:
            parser.error(f"{name} is not one of {', '.join(known)}")
    chosen = [server for name, server in known.items() if name in (options.only or known)]
    rounds: dict[str, list[Figures]] = {server.name: [] for server in chosen}
    for number in range(options.rounds):
        for server in chosen:
            figures = measure(server, options)
            rounds[server.name].append(figures)
            print(f"round {number + 1}: {server.name}: {figures.cpu:.2f} ms, {figures.rate:.0f}/s", file=sys.stderr)
    if options.json:
        print(json.dumps({name: [asdict(one) for one in found] for name, found in rounds.items()}, indent=2))
        return
    found = {name: median(figures) for name, figures in rounds.items()}
    show(table(found, {server.name: server.what for server in chosen}), options.markdown)


if __name__ == "__main__":
    main()
