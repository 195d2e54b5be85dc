"""A daemon with many short-lived certificates, a CA that is killed and comes back, clocks that are set, and a witness.

The witness reads every pair every 50 milliseconds, as a server that starts at that moment would.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from clocks import Clock
from cryptography import x509
from machine import Machine, ec2_machine
from running import CA
from scripted_ca import known

from acme_iid.simulator import aws
from acme_iid_client import clouds
from acme_iid_client.acme.order import Request, order
from acme_iid_client.deadline import Deadline
from acme_iid_client.storage import pairs as stored_pairs
from acme_iid_client.storage import records
from acme_iid_client.x509 import keys

INTERVAL = 0.05
_TRIES = 5


@dataclass
class Witness:
    """Reads pairs all the time, and writes down what is wrong with them.

    :ivar ahead: what the machine's clock is ahead of the real one, seconds.
    :ivar faults: what was wrong.
    :ivar seen: the certificates that were seen of each pair.
    :ivar looks: the moments at which all pairs were read, by the monotonic clock.
    """

    pairs: list[stored_pairs.Pair]
    ahead: int = 0
    faults: list[str] = field(default_factory=list)
    seen: dict[Path, set[bytes]] = field(default_factory=dict)
    looks: list[float] = field(default_factory=list)
    _known: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look until :meth:`end`."""
        soon = time.monotonic()
        while not self._ended.is_set():
            self.looks.append(time.monotonic())
            for pair in self.pairs:
                self._look(pair)
            soon = max(soon + INTERVAL, time.monotonic())
            self._ended.wait(soon - time.monotonic())

    def end(self) -> None:
        self._ended.set()

    def _look(self, pair: stored_pairs.Pair) -> None:
        try:
            # A program that reads two files reads them one after the other. That they are of one moment shows in
            # that the first is still the same afterwards.
            for _ in range(_TRIES):
                certificate, key = pair.certificate.read_bytes(), pair.key.read_bytes()
                if pair.certificate.read_bytes() == certificate:
                    break
            ahead = self.ahead
            digest = hashlib.sha256(certificate + b"\0" + key).digest()
            if digest not in self._known:
                self._known[digest] = _check(certificate, key)
                self.seen.setdefault(pair.certificate, set()).add(certificate)
            start, end = self._known[digest]
            # The clock may have been set since it was asked for.
            now = {time.time() + ahead, time.time() + self.ahead}
            if not any(start <= moment < end for moment in now):
                self.faults.append(f"{pair.certificate} is valid from {start} to {end}, and it is {now}")
        except (OSError, ValueError, AssertionError) as error:
            self.faults.append(f"{pair.certificate}: {type(error).__name__} {error}")


def _check(certificate: bytes, key: bytes) -> tuple[float, float]:
    """The validity of a certificate that is whole and is for the key."""
    assert certificate.endswith(b"-----END CERTIFICATE-----\n"), "the certificate is cut off"
    leaf, intermediate = x509.load_pem_x509_certificates(certificate)
    leaf.verify_directly_issued_by(intermediate)
    private = keys.load(key, "the key")
    assert keys.spki(private.public_key()) == keys.spki(leaf.public_key()), "the key is another certificate's"
    return leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()


@dataclass(frozen=True)
class Soak:
    """How much of it.

    :ivar lives: how long certificates are asked for, seconds; each has one of these.
    :ivar outages: when the CA is killed, and the seconds that it is away; by the seconds since the start.
    :ivar steps: when the clocks are set, and to how many seconds before the real time: the machine's and the CA's.
    :ivar rekeyed: so many certificates more, whose keys are replaced at each renewal, by a daemon of their own.
    """

    certificates: int
    seconds: int
    lives: tuple[int, ...]
    outages: dict[int, float]
    steps: dict[int, tuple[int, int]]
    rekeyed: int

    def run(self, ca: CA, folder: Path) -> Witness:
        """Do it, and return what the witness saw. The daemons must end with 0."""
        file = ca.home / "ca.toml"
        text = '[ca]\nminimum_lifetime = "1m"\n'
        file.write_text(file.read_text().replace("[ca]\n", text, 1))
        clock, cas_clock = Clock(folder / "clock"), Clock(folder / "ca-clock")
        with ExitStack() as stack:
            machine = stack.enter_context(ec2_machine(folder, aws.Instance(account="123456789042")))
            ca.start(env=cas_clock.env)
            machine.bootstrap(ca)
            pairs = self._order(ca, machine)
            witness = Witness(pairs)
            watching = threading.Thread(target=witness.watch)
            watching.start()
            stack.callback(watching.join)
            stack.callback(witness.end)
            rekeyed = [path for pair in pairs[self.certificates :] for path in (pair.certificate, pair.key)]
            kept = stack.enter_context(machine.stay("--timeout", "10", env=clock.env))
            replaced = stack.enter_context(machine.stay("--new-key", "--timeout", "10", *rekeyed, env=clock.env))
            try:
                self._disturb(ca, witness, (clock, cas_clock))
            finally:
                # For whoever has to find out what went wrong.
                (folder / "daemon.log").write_text("\n".join(kept.lines + replaced.lines))
                (folder / "ca.log").write_text("".join(ca.log))
            for daemon in (kept, replaced):
                assert daemon.stop() == 0, daemon.lines[-20:]
                assert not any("Traceback" in line for line in daemon.lines), daemon.lines
            assert sum("the clock was set" in line for line in kept.lines) >= len(self.steps)
        print(f"{sum(map(len, witness.seen.values()))} certificates in {self.seconds} s, {len(witness.looks)} looks")
        return witness

    def _order(self, ca: CA, machine: Machine) -> list[stored_pairs.Pair]:
        state = machine.folder / "state"
        cloud = clouds.here(machine.environment, None)
        pairs = []
        for number in range(self.certificates + self.rekeyed):
            name = f"host-{number}.local"
            life = self.lives[number % len(self.lives)]
            end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + life))
            request = Request([name], keys.KeyType("EC", "P-256"), not_after=end)
            issued = order(request, known(ca.url, ca.root), state, cloud, Deadline(60), print)
            assert issued.key is not None
            pair = stored_pairs.pair(machine.folder / f"{name}.crt", machine.folder / f"{name}.key")
            stored_pairs.install(pair, issued.certificate_pem, keys.to_pem(issued.key), stored_pairs.Permissions())
            if number < self.certificates:
                records.save(state, records.Record(pair.certificate, pair.key, life=f"{life}s"))
            pairs.append(pair)
        return pairs

    def _disturb(self, ca: CA, witness: Witness, clocks: tuple[Clock, Clock]) -> None:
        start = time.monotonic()
        back: float | None = None
        for second in range(self.seconds):
            time.sleep(max(0.0, start + second - time.monotonic()))
            if second in self.steps:
                for mine, ahead in zip(clocks, self.steps[second], strict=True):
                    mine.set(ahead)
                witness.ahead = self.steps[second][0]
            if second in self.outages:
                ca.kill()
                back = time.monotonic() + self.outages[second]
            if back is not None and time.monotonic() >= back:
                ca.start(env=clocks[1].env)
                back = None
            elif second % 50 == 49 and ca.process is not None:
                os.kill(ca.process.pid, signal.SIGHUP)


def check(witness: Witness, renewals: int, share: float) -> None:
    """See that nothing was wrong, and that there was something to see.

    :param renewals: how often each pair was renewed at least.
    :param share: of the looks that were meant to be taken, how many were at least, for the machine may be busy.
    """
    assert not witness.faults, "\n".join([f"{len(witness.faults)} faults", *witness.faults[:10], *witness.faults[-3:]])
    assert min(len(found) for found in witness.seen.values()) > renewals
    assert len(witness.seen) == len(witness.pairs)
    took = witness.looks[-1] - witness.looks[0]
    assert len(witness.looks) >= share * took / INTERVAL
