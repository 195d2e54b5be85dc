"""Where our server's CPU goes: by route, and by function. Run it with ``python tests/tools/benchmarks/routes.py``.

The server is the product's own, with an application round its own that reads the clock of its thread at each step
of a request. A second run profiles the steps; profiling makes Python's own functions look dearer than they are, beside
those in C.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import requests
from benchmarks import generator, processes
from benchmarks.orders import show
from interop.harness import running, until
from running import CA

from acme_iid.app import create_app
from acme_iid.config import ca_toml as configuration
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError
from acme_iid.serving import server
from acme_iid.serving.messages import Answer, Request
from acme_iid.web.application import Application

_REPORT = "/benchmark"


class Watched:
    """An app, with what its requests took so far at ``/benchmark``.

    :param functions: profile it, which makes everything slower.
    """

    def __init__(self, app: Application, functions: bool) -> None:
        self._app = app
        self.ca = app.ca
        self.status = app.status
        self.metrics = app.metrics
        self._profile = _profile() if functions else None
        self._taken: dict[str, list[int]] = defaultdict(list)

    async def answer(self, request: Request) -> Answer:
        if request.path == _REPORT:
            return Answer(self._report(), content_type="application/json")
        steps = _Steps(self._app.answer(request).__await__(), self._profile)
        answer = await steps
        self._taken[_route(request)].append(steps.taken)
        return answer

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        return self._app.refusal(request, error)

    def failure(self, error: Exception) -> Answer:
        return self._app.failure(error)

    def takes_connection(self) -> bool:
        return self._app.takes_connection()

    def leaving(self) -> None:
        self._app.leaving()

    def stopped(self) -> None:
        self._app.stopped()

    def close(self) -> None:
        self._app.close()

    def _report(self) -> bytes:
        taken, self._taken = self._taken, defaultdict(list)
        functions = []
        if self._profile is not None and self._profile.getstats():  # pstats refuses an empty one
            for (file, line, name), (_, calls, own, whole, _) in pstats.Stats(self._profile).stats.items():  # type: ignore[attr-defined]  # typeshed leaves out what it is for
                functions.append((f"{_short(file)}:{line} {name}", calls, own, whole, _home(file)))
            self._profile = _profile()
        return json.dumps({"routes": taken, "functions": functions}).encode()


class _Steps:
    """What is awaited, and the CPU that its own steps took, without those of others in between.

    :ivar taken: nanoseconds.
    """

    def __init__(self, steps: Generator[Any, None, Answer], profile: cProfile.Profile | None) -> None:
        self._steps = steps
        self._profile = profile
        self.taken = 0

    def __await__(self) -> Generator[Any, None, Answer]:
        while True:
            begun = time.thread_time_ns()
            if self._profile is not None:
                self._profile.enable()
            try:
                waits_for = next(self._steps)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            finally:
                if self._profile is not None:
                    self._profile.disable()
                self.taken += time.thread_time_ns() - begun
            yield waits_for


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


def _home(file: str) -> str:
    """Which part of the server, which package or which module of Python's a file belongs to."""
    parts, folder = Path(file).parts, Path(file).parent.name
    if file == "~":
        return "in C"
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "acme_iid" in parts:
        return "/".join(parts[parts.index("acme_iid") :][:2]).removesuffix(".py")
    return f"python: {folder if folder in ('json', 'importlib', 'collections') else Path(file).stem}"


def _profile() -> cProfile.Profile:
    """A profile of CPU: by the usual clock, waiting for the disk would be most of it."""
    return cProfile.Profile(time.thread_time_ns, 1e-9)


def _route(request: Request) -> str:
    parts = request.path.split("/")
    for place in range(3, len(parts)):
        if parts[place] != "finalize":
            parts[place] = "…"
    return f"{request.method} {'/'.join(parts)}"


@dataclass(frozen=True)
class Taken:
    """What a load took.

    :ivar certificates: how many were issued.
    :ivar whole: CPU of all of the server's processes, seconds.
    :ivar routes: nanoseconds of each request, by route.
    :ivar functions: name, calls, seconds in itself, seconds with what it called, and where it belongs.
    """

    certificates: int
    whole: float
    routes: dict[str, list[int]]
    functions: list[tuple[str, int, float, float, str]]


def load(options: argparse.Namespace, functions: bool) -> Taken:
    """Load a fresh server."""
    with tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-") as folder:
        ca = CA(Path(folder) / "ca")
        ca.init()
        flags = ["--functions"] if functions else []
        with running(sys.executable, __file__, "--serve", ca.home, *flags, log=Path(folder) / "log") as process:

            def report() -> dict[str, Any]:
                found: dict[str, Any] = requests.get(ca.url + _REPORT, verify=str(ca.root), timeout=20).json()
                return found

            def answers() -> bool:
                assert process.poll() is None, (Path(folder) / "log").read_text()
                try:
                    return bool(report())
                except OSError:
                    return False

            until(answers, "the server")
            load = generator.Generator(ca.directory, ca.root, generator.with_iid01, options.connections)
            jobs = generator.jobs_of_instances(load.accounts(options.connections), options.orders + 100)
            load.run(jobs[:100], 60)
            report()
            before = processes.cpu(process.pid)
            done = load.run(jobs[100:], 60)
            whole = sum(processes.cpu(process.pid).since(before))
            load.close()
            found = report()
    return Taken(len(done.latencies), whole, found["routes"], [tuple(entry) for entry in found["functions"]])


def by_route(taken: Taken) -> list[list[str]]:
    """The first table; what no route took is TLS, HTTP and the processes' own."""
    lines = [["route", "requests", "ms each", "ms/certificate", "share"]]
    whole = 1000 * taken.whole / taken.certificates
    rest = whole
    for route, each in sorted(taken.routes.items(), key=lambda entry: -sum(entry[1])):
        cost = sum(each) / 1e6 / taken.certificates
        rest -= cost
        lines.append(
            [route, str(len(each)), f"{sum(each) / 1e6 / len(each):.3f}", f"{cost:.3f}", f"{cost / whole:.0%}"]
        )
    lines.append(["TLS, HTTP and the rest", "", "", f"{rest:.3f}", f"{rest / whole:.0%}"])
    lines.append(["all", "", "", f"{whole:.3f}", ""])
    return lines


def by_function(taken: Taken, count: int, column: int, folder: str = "") -> list[list[str]]:
    """The functions that took most: in themselves (column 2) or with what they called (column 3).

    :param folder: of these modules only.
    """
    lines = [["function", "calls/certificate", "own ms/certificate", "whole ms/certificate"]]
    chosen = [entry for entry in taken.functions if entry[0].startswith(folder)]
    for name, calls, own, whole, _ in sorted(chosen, key=itemgetter(column), reverse=True)[:count]:
        each = (f"{1000 * value / taken.certificates:.3f}" for value in (own, whole))
        lines.append([name, f"{calls / taken.certificates:.1f}", *each])
    return lines


def by_part(taken: Taken, count: int) -> list[list[str]]:
    """The parts of the server and the packages whose own functions took most; what is in C stands by itself."""
    calls: dict[str, int] = defaultdict(int)
    own: dict[str, float] = defaultdict(float)
    for _, called, seconds, _, part in taken.functions:
        calls[part] += called
        own[part] += seconds
    lines = [["part", "calls/certificate", "own ms/certificate"]]
    for part in sorted(own, key=own.__getitem__, reverse=True)[:count]:
        each = 1000 * own[part] / taken.certificates
        lines.append([part, f"{calls[part] / taken.certificates:.0f}", f"{each:.3f}"])
    return lines


def serve(home: Path, functions: bool) -> None:
    """Be the server, until a signal."""

    def application(config: Config, password: str | None) -> Watched:
        return Watched(create_app(config, password), functions)

    server.run(configuration.load(home), application=application)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Where our server's CPU goes, by route and by function.")
    parser.add_argument("--orders", type=int, default=1000, help="certificates in each run (1000)")
    parser.add_argument("--connections", type=int, default=8, help="clients at a time (8)")
    parser.add_argument("--top", type=int, default=25, help="how many functions (25)")
    parser.add_argument("--markdown", action="store_true", help="tables for a page")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--functions", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.functions)
        return
    show(by_route(load(options, functions=False)), options.markdown)
    profiled = load(options, functions=True)
    print("\nParts by what they take themselves, and all that is in C\n")
    show(by_part(profiled, options.top), options.markdown)
    for heading, column, folder in (
        ("Functions by what they take themselves", 2, ""),
        ("Functions by what they take with all that they call", 3, ""),
        ("The same, of the store", 3, "store/"),
    ):
        print(f"\n{heading}\n")
        show(by_function(profiled, options.top, column, folder), options.markdown)


if __name__ == "__main__":
    main()
