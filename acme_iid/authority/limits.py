"""How much an account, an instance, a name or an address may ask for (RFC 8555 section 6.6)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from acme_iid.errors import AcmeError, Problem
from acme_iid.limit_settings import Limits
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, limits, orders, waiting
from acme_iid.store.database import Reader, Transaction
from acme_iid.values import Rate

MAX_WAITING = 300
"""Authorizations of an account that no order has taken, whatever [limits] says: three orders of the longest kind."""
_FORGOTTEN_AT_ONCE = 100
_SOON = 30
"""Seconds after which whoever has to wait for others is told to try again."""


def account_made(transaction: Transaction, settings: Limits, account: Account, now: int) -> None:
    """Refuse an account, which was added already, if too many of its address have proven nothing.

    Accounts cost nothing, and many VMs may share an address: the ones that have proven a name count no longer.

    :raises AcmeError: ``rateLimited``.
    """
    rate = settings.accounts_per_address
    if rate is None or account.made_from is None or account.proven_at is not None:
        return
    oldest = accounts.unproven_before(transaction, account.made_from, now - rate.seconds, rate.most)
    if oldest is not None:
        # Others may prove a name at any moment.
        seconds = max(1, min(oldest + rate.seconds - now, _SOON))
        raise _limited(
            f"there are too many new accounts of address {account.made_from} that have proven nothing: {rate.most} in "
            f"{rate.seconds} seconds is this CA's limit; each counts until it has proven its first name. Try again in "
            f"{seconds} seconds",
            seconds,
        )


def subject(remote: str) -> str:
    """What a client's address counts as: itself; of IPv6, where a host has 2^64 of them, its network."""
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


def require_room_to_wait(reader: Reader, account: Account, now: int) -> None:
    """Refuse an authorization ahead of an order to an account that has :data:`MAX_WAITING` of them.

    :raises AcmeError: ``rateLimited``.
    """
    if waiting.count(reader, account.id, now, MAX_WAITING) >= MAX_WAITING:
        raise _limited(
            f"this account has {MAX_WAITING} authorizations that no order has taken; order their names, deactivate "
            "those that failed or are not needed, or let them run out, an hour after they were made",
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
