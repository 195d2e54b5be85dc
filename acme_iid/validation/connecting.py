"""Connections to the hosts that are to be validated: to permitted addresses only, and within the attempt's time."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.protocol.identifiers import Identifier
from acme_iid.validation.attempt import ONCE, Deadline, ValidationError
from acme_iid.validation.network import Address, plain, refusal
from acme_iid.validation.resolver import addresses

MAX_ADDRESSES = 2
"""Addresses of each family that are tried."""

_CONNECT_SECONDS = 2.0
"""For each address: a host that is up answers a SYN, or its repetition a second later."""


@contextmanager
def connected(target: Identifier, port: int, host: HostProvisioner, deadline: Deadline) -> Iterator[socket.socket]:
    """A connection to a name or an address, closed at the block's end.

    A name is resolved once, and the connection goes to one of the very addresses that were permitted:
    nothing can change in between.

    :raises ValidationError: ``dns``, or ``connection`` if no address is permitted, or no connection succeeds.
    """
    failures: list[str] = []
    for address in _tried(_permitted(target, host, deadline)):
        try:
            stream = socket.create_connection((str(address), port), timeout=deadline.left(_CONNECT_SECONDS))
        except OSError as error:
            failures.append(f"{address} port {port}: {error.strerror or 'no answer in time'}")
            continue
        with stream:
            yield stream
        return
    raise ValidationError(Problem.CONNECTION, f"{target} cannot be connected to ({'; '.join(failures)})")


def _permitted(target: Identifier, host: HostProvisioner, deadline: Deadline) -> list[Address]:
    resolved = [ipaddress.ip_address(target.value)] if target.type == "ip" else addresses(target.value, host, deadline)
    if not resolved:
        raise ValidationError(Problem.DNS, f"{target} has no address in the DNS (neither A nor AAAA)")
    reasons = {plain(address): refusal(address, host.networks) for address in resolved}
    permitted = [address for address, reason in reasons.items() if reason is None]
    if not permitted:
        listed = "; ".join(f"{address} is {reason}" for address, reason in list(reasons.items())[:4])
        raise ValidationError(
            Problem.CONNECTION, f"validation does not connect to the addresses of {target}: {listed}", worth=ONCE
        )
    return permitted


def _tried(permitted: list[Address]) -> list[Address]:
    """IPv6 and IPv4 in turn, so that the other family comes second."""
    families = [[address for address in permitted if address.version == version][:MAX_ADDRESSES] for version in (6, 4)]
    return [family[index] for index in range(MAX_ADDRESSES) for family in families if index < len(family)]
