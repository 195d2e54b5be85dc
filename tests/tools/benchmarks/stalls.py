"""How long the server's loop stands still: the time of a small answer while others ask for what takes long.

Run it with ``python tests/tools/benchmarks/stalls.py``. A process of its own asks for the directory every few
milliseconds, over one connection. That answer is made in the loop, from memory. What it takes longer than on an idle
server is the loop's work for others, and this machine's. Beside it run, in turn: whole orders; bodies of 128 KiB;
accounts with keys of 4096 bits; evidence of Azure's and of a NitroTPM; orders for a hundred names; orders after a
reader has let the store's log grow to 16 MB, which is then copied back; orders while each sync of the disk takes 600
ms (by strace). It asserts nothing of what it finds.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import shutil
import signal
import sqlite3
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / wing) for wing in ("support", "stories", "suites", "tools")]

import forge
import forge_azure
import stand_ins
from benchmarks.connection import Connection, LoadError
from benchmarks.generator import Account, Generator, Session, jobs_of_instances, with_iid01
from benchmarks.orders import show
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from injecting import injected
from running import CA
from wire import b64

from acme_iid.simulator import nitro

_BETWEEN = 0.004
_LOG_BYTES = 16 * 1024 * 1024
_THREADS = 8

Work = Callable[[int, threading.Event], int]
"""Ask, as the thread of a number, until it is told to end; how many requests or orders that were."""


@dataclass(frozen=True)
class Figures:
    """Of one kind of work.

    :ivar longest: what the slowest answer took, milliseconds; so are ``p99`` and ``median``.
    :ivar asked: how many answers were timed.
    :ivar work: how many orders or requests were done beside it.
    """

    longest: float
    p99: float
    median: float
    asked: int
    work: int


def _probe(directory: str, root: str, pipe: Pipe) -> None:
    """In a process of its own: time answers until told to end."""
    connection = Connection(directory, ssl.create_default_context(cafile=root))
    connection.request("GET", directory)
    taken: list[float] = []
    pipe.send(None)
    while not pipe.poll(_BETWEEN):
        begun = time.perf_counter()
        connection.request("GET", directory)
        taken.append(1000 * (time.perf_counter() - begun))
    connection.close()
    pipe.send(taken)


class Site:
    """A server, and those who ask it."""

    def __init__(self, ca: CA, folder: Path) -> None:
        self.ca = ca
        self._context = ssl.create_default_context(cafile=str(ca.root))
        self._nitro = nitro.Keys.open(folder / "nitro")
        listing = self._connection()
        self._directory: dict[str, Any] = listing.request("GET", ca.directory).json()
        listing.close()
        self._key = rsa.generate_private_key(65537, 4096)

    def _connection(self) -> Connection:
        return Connection(self.ca.directory, self._context)

    @contextmanager
    def _session(self) -> Iterator[tuple[Session, Account]]:
        session = Session(self._directory, self._connection(), 0)
        try:
            yield session, session.register()
        finally:
            session.connection.close()

    def nothing(self, _number: int, ended: threading.Event) -> int:
        """Nobody asks."""
        ended.wait()
        return 0

    def orders(self, _number: int, ended: threading.Event) -> int:
        """Whole orders."""
        done = 0
        with self._session() as (session, account):
            while not ended.is_set():
                with suppress(LoadError):
                    with_iid01(session, jobs_of_instances([account], 1)[0])
                    done += 1
        return done

    def bodies(self, _number: int, ended: threading.Event) -> int:
        """Bodies as long as they may be, each with a right signature."""
        done = 0
        with self._session() as (session, account):
            payload = {"identifiers": [], "more": "x" * (97 * 1024)}
            while not ended.is_set():
                with suppress(LoadError):
                    session.post(account, self._directory["newOrder"], payload)
                done += 1
        return done

    def keys(self, _number: int, ended: threading.Event) -> int:
        """Accounts with RSA keys of 4096 bits; it is one key, which is read and checked each time."""
        done, connection = 0, self._connection()
        numbers = self._key.public_key().public_numbers()
        jwk = {"kty": "RSA", "n": b64(numbers.n.to_bytes(512, "big")), "e": "AQAB"}
        url = self._directory["newAccount"]
        nonce = connection.request("HEAD", self._directory["newNonce"]).headers[b"replay-nonce"].decode()
        while not ended.is_set():
            protected = b64(json.dumps({"alg": "RS256", "jwk": jwk, "nonce": nonce, "url": url}).encode())
            payload = b64(b'{"termsOfServiceAgreed":true}')
            signature = self._key.sign(f"{protected}.{payload}".encode(), padding.PKCS1v15(), hashes.SHA256())
            body = {"protected": protected, "payload": payload, "signature": b64(signature)}
            found = connection.request("POST", url, json.dumps(body).encode())
            nonce = found.headers[b"replay-nonce"].decode()
            done += found.status < 300
        connection.close()
        return done

    def names(self, _number: int, ended: threading.Event) -> int:
        """Orders for a hundred names."""
        done = 0
        with self._session() as (session, account):
            while not ended.is_set():
                names = [{"type": "dns", "value": f"host-{number}.local"} for number in range(100)]
                with suppress(LoadError):
                    session.post(account, self._directory["newOrder"], {"identifiers": names})
                    done += 1
        return done

    def evidence(self, make: Callable[[], dict[str, object]], _number: int, ended: threading.Event) -> int:
        """Answers to challenges that are signed rightly, for another account or at another time."""
        done = 0
        with self._session() as (session, account):
            while not ended.is_set():
                # It may be too much at times, and new orders are refused.
                with suppress(LoadError):
                    wanted = {"identifiers": [{"type": "dns", "value": "foo.local"}]}
                    order = session.post(account, self._directory["newOrder"], wanted).json()
                    authorization = session.post(account, order["authorizations"][0]).json()
                    challenge = next(one for one in authorization["challenges"] if one["type"] == "iid-01")
                    session.post(account, challenge["url"], make())
                    done += 1
        return done

    def nitro_evidence(self) -> dict[str, object]:
        """Evidence of a NitroTPM."""
        document = nitro.document(
            forge.instance().instance_id, self._nitro, time.time(), nonce=bytes(32), public_key=None
        )
        beside = forge.aws_rsa2048(forge.instance().document)
        encoded = base64.urlsafe_b64encode(document).rstrip(b"=").decode()
        return {"format": "aws-nitrotpm", "evidence": encoded, "rsa2048": beside.fields["evidence"]}

    def slow_disk(self) -> AbstractContextManager[None]:
        """Each sync of the store's log takes 600 ms."""
        return injected(self.ca.workers(), "fdatasync,fsync", "delay_enter=600ms")

    @contextmanager
    def long_log(self) -> Iterator[None]:
        """The store's log has grown to 16 MB, and the next commits copy it back."""
        log = self.ca.home / "ca.db-wal"
        reader = sqlite3.connect(f"file:{self.ca.home / 'ca.db'}?mode=ro", uri=True, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM accounts").fetchone()
        generator = Generator(self.ca.directory, self.ca.root, with_iid01, _THREADS)
        accounts = generator.accounts(_THREADS)
        for _ in range(100):
            if log.stat().st_size > _LOG_BYTES:
                break
            generator.run(jobs_of_instances(accounts, 50), 60)
        generator.close()
        print(f"the log has {log.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
        reader.close()
        yield


def measure(
    site: Site, work: Work, around: Callable[[], AbstractContextManager[None]], seconds: float, threads: int
) -> Figures:
    """Time answers while others work."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    probe = fork.Process(target=_probe, args=(site.ca.directory, str(site.ca.root), theirs), daemon=True)
    probe.start()
    ours.recv()
    ended, done, faults = threading.Event(), [0] * threads, []

    def run(number: int) -> None:
        try:
            done[number] = work(number, ended)
        except Exception as fault:  # noqa: BLE001 - it is raised where it is waited for
            faults.append(fault)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    with around():
        for worker in workers:
            worker.start()
        time.sleep(seconds)
        ours.send(None)
        taken = sorted(ours.recv())
        ended.set()
        for worker in workers:
            worker.join()
    probe.join()
    if faults:
        raise faults[0]
    return Figures(taken[-1], taken[len(taken) * 99 // 100], statistics.median(taken), len(taken), sum(done))


def works(site: Site) -> dict[str, tuple[Work, Callable[[], AbstractContextManager[None]]]]:
    """What others ask for, by its name in the table."""
    azure = forge_azure.attested()
    found: dict[str, tuple[Work, Callable[[], AbstractContextManager[None]]]] = {
        "nothing": (site.nothing, nullcontext),
        "orders": (site.orders, nullcontext),
        "bodies of 128 KiB": (site.bodies, nullcontext),
        "RSA keys of 4096 bits": (site.keys, nullcontext),
        "evidence of Azure's": (
            partial(site.evidence, lambda: {"format": azure.format, **azure.fields}), nullcontext,
        ),
        "evidence of a NitroTPM": (partial(site.evidence, site.nitro_evidence), nullcontext),
        "orders for 100 names": (site.names, nullcontext),
        "orders, the log has 16 MB": (site.orders, site.long_log),
        "orders, a sync takes 600 ms": (site.orders, site.slow_disk),
    }  # fmt: skip
    if shutil.which("strace") is None:
        del found["orders, a sync takes 600 ms"]
    return found


def table(found: dict[str, Figures]) -> list[list[str]]:
    """A line for each kind of work."""
    lines = [["beside it", "longest ms", "p99 ms", "median ms", "answers", "requests or orders beside it"]]
    for name, one in found.items():
        cells = [f"{one.longest:.1f}", f"{one.p99:.1f}", f"{one.median:.2f}", str(one.asked), str(one.work)]
        lines.append([name, *cells])
    return lines


def main() -> None:
    """Measure and print."""
    # The server ends with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description="How long the server's loop stands still.")
    parser.add_argument("--seconds", type=float, default=10, help="for each kind of work (10)")
    parser.add_argument("--threads", type=int, default=_THREADS, help="that ask (8)")
    parser.add_argument("--only", action="append", help="a kind of work; may be given several times")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    found = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="acme-iid-benchmark-")))
        ca = CA(folder / "ca")
        ca.init(in_a_file=True)
        settings = ca.home / "ca.toml"
        settings.write_text(settings.read_text() + stand_ins.provisioners(folder))
        ca.start("--workers", "1")
        stack.callback(ca.stop)
        site = Site(ca, folder)
        for name, (work, around) in works(site).items():
            if name in (options.only or [name]):
                found[name] = measure(site, work, around, options.seconds, options.threads)
                print(f"{name}: {found[name].longest:.1f} ms", file=sys.stderr)
    if options.json:
        print(json.dumps({name: asdict(one) for name, one in found.items()}, indent=2))
        return
    show(table(found), options.markdown)


if __name__ == "__main__":
    main()
