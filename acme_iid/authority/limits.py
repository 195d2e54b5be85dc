"""How much an account, an instance, a name or an address may ask for (RFC 8555 section 6.6)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from acme_iid.config import Limits
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account
from acme_iid.store import limits, orders
from acme_iid.store.database import Transaction
from acme_iid.values import Rate

_FORGOTTEN_AT_ONCE = 100


def account_made(transaction: Transaction, settings: Limits, remote: str, now: int) -> None:
    """Count a new account of a client's address; of IPv6, where a host has 2^64 of them, of its network.

    :raises AcmeError: ``rateLimited``.
    """
    _spend(transaction, settings.accounts_per_address, "accounts", f"address {_network(remote)}", now)


def _network(remote: str) -> str:
    address, _, _zone = remote.partition("%")
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if ":" in address else address


def order_made(transaction: Transaction, settings: Limits, account: Account, now: int) -> None:
    """Count a new order of an account, or an authorization ahead of one, and those that it has open.

    :raises AcmeError: ``rateLimited``.
    """
    order_asked(transaction, settings, account, now)
    most = settings.open_orders_per_account
    if most is not None and orders.count_open(transaction, account.id, now, most) >= most:
        raise _limited(
            f"this account has {most} open orders, with authorizations that wait for one; finish them, or let them "
            "run out",
            60,
        )


def order_asked(transaction: Transaction, settings: Limits, account: Account, now: int) -> None:
    """Count an order that an account asked for, be it that it was refused: the record of that takes as much room.

    :raises AcmeError: ``rateLimited``.
    """
    _spend(transaction, settings.orders_per_account, "orders", f"account {account.id}", now)


def key_made(transaction: Transaction, settings: Limits, account: Account, now: int) -> None:
    """Count an enrolment's external key of an account, as an order of it.

    :raises AcmeError: ``rateLimited``.
    """
    _spend(transaction, settings.orders_per_account, "orders", f"account {account.id}", now)


def certificate_issued(
    transaction: Transaction, settings: Limits, instance: str | None, names: Sequence[Identifier], now: int
) -> None:
    """Count a certificate of an instance and of each of its names.

    :raises AcmeError: ``rateLimited``.
    """
    if instance is not None:
        _spend(transaction, settings.certificates_per_instance, "certificates", f"instance {instance}", now)
    for name in names:
        _spend(transaction, settings.certificates_per_name, "certificates", f"name {name}", now)


def _spend(transaction: Transaction, rate: Rate | None, what: str, subject: str, now: int) -> None:
    if rate is None:
        return
    key = f"{what} {subject}"
    if not limits.spend(transaction, key, rate, now):
        seconds = limits.wait(transaction, key, rate, now)
        raise _limited(
            f"there were too many {what} of {subject}: {rate.most} in {rate.seconds} seconds is this CA's limit; "
            f"try again in {seconds} seconds",
            seconds,
        )
    # A row for each address that ever called would never go away by itself.
    limits.forget(transaction, now, _FORGOTTEN_AT_ONCE)


def _limited(detail: str, seconds: int) -> AcmeError:
    return AcmeError(Problem.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})
