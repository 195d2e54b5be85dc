"""Rotations of the intermediate while a fleet renews."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from fleets import Client, Witness, fleet, issuer_of
from pki import http_status
from pki.rotating import activate, certificate, prepare, serving, until
from ports import free_port
from running import ACCOUNT, CA, answer

from acme_iid.simulator import aws


@dataclass
class Load:
    """What a fleet went through.

    :ivar issuers: the key identifiers of the issuers, in their order.
    :ivar renewals: how many renewals each of them signed.
    :ivar faults: what went wrong.
    :ivar looks: how often the witness saw each one's list and OCSP good.
    :ivar log: what the server wrote.
    """

    issuers: list[str] = field(default_factory=list)
    renewals: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


def run(folder: Path, size: int, rotations: Sequence[Sequence[str]], seconds: float = 0) -> Load:
    """Have a fleet renew under each issuer of a new CA, from before the first rotation until after the last.

    :param rotations: the options of each one's ``prepare``.
    :param seconds: how long the fleet goes on under each issuer, at least; in any case until each client has renewed.
    """
    ca = CA(folder / "ca")
    ca.init(constrained=True)
    http_status.turn_on(ca, free_port())
    _allow_short_lives(ca)
    load = Load()
    with serving(ca):
        witness = Witness(ca)
        witness.start()
        try:
            with fleet(ca, folder, size) as clients:
                _go_on_under(ca.issuer_id, ca, witness, clients, load, seconds)
                for options in rotations:
                    issuer = prepare(ca, *options)
                    activate(ca, issuer)
                    _go_on_under(issuer, ca, witness, clients, load, seconds)
        finally:
            witness.end()
    for client in clients:
        load.renewals.update(client.renewals)
        load.faults += client.faults
    load.faults += witness.faults
    load.looks, load.log = witness.looks, ca.log
    return load


def check(load: Load, size: int) -> None:
    """See that nothing failed, and that there was something to see."""
    assert not load.faults, "\n".join([f"{len(load.faults)} faults", *load.faults[:10]])
    assert set(load.renewals) == set(load.issuers)
    assert all(load.renewals[issuer] >= size for issuer in load.issuers)
    assert all(load.looks[issuer] > 5 for issuer in load.issuers)
    print(f"renewals by issuer: {load.renewals}, looks at list and OCSP: {load.looks}")


def _allow_short_lives(ca: CA) -> None:
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]\n", '[ca]\nminimum_lifetime = "1m"\n', 1))


def _begin(ca: CA, witness: Witness, issuer: str) -> str:
    """Wait until an issuer signs, and have its status looked at from then on; its key identifier."""
    expected = certificate(ca, issuer)
    account, vm = ca.account(), answer(aws.Instance(account=ACCOUNT))
    found: list[x509.Certificate] = []

    def signs() -> bool:
        found.append(account.obtain("witness.local", answer=vm).leaf)
        return found[-1].issuer == expected.subject

    until(signs)
    witness.watch(found[-1], expected)
    return issuer_of(found[-1])


def _go_on_under(issuer: str, ca: CA, witness: Witness, clients: list[Client], load: Load, seconds: float) -> None:
    """Wait until each client has renewed under an issuer, and for so many seconds at least."""
    name = _begin(ca, witness, issuer)
    load.issuers.append(name)
    end = time.monotonic() + seconds
    until(lambda: all(client.renewals[name] for client in clients) or _failed(clients))
    while time.monotonic() < end and not _failed(clients):
        time.sleep(1)


def _failed(clients: list[Client]) -> bool:
    return any(client.faults for client in clients)
