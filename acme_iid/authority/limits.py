"""The limits on requests for an account, an instance, a name or an address (RFC 8555 section 6.6)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from acme_iid.config.limit_settings import Limits
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, limits, order_counts
from acme_iid.store.limits import Rate
from acme_iid.store.writes import Reader, Statement

MAX_WAITING = 300
"""Authorizations of an account that no order has taken, whatever [limits] says: three orders of the longest kind."""
_SOON = 30
"""Seconds after which whoever has to wait for others is told to try again."""


def require_room_for_account(settings: Limits, reader: Reader, account: Account, now: int) -> None:
    """Refuse a new account if too many of its address have proven nothing.

    Accounts cost nothing, and many VMs may share an address: the ones that have proven a name count no longer.

    :raises AcmeError: ``rateLimited``.
    """
    rate = settings.accounts_per_address
    if rate is None or account.made_from is None or account.proven_at is not None:
        return
    oldest = accounts.unproven_before(reader, account.made_from, now - rate.seconds, rate.most - 1)
    if oldest is not None:
        # Others may prove a name at any moment.
        seconds = max(1, min(oldest + rate.seconds - now, _SOON))
        raise _rate_limit_error(
            f"there are too many new accounts of address {account.made_from} that have proven nothing: {rate.most} in "
            f"{rate.seconds} seconds is this CA's limit; each counts until it has proven its first name. Try again in "
            f"{seconds} seconds",
            seconds,
        )


def subject(remote: str) -> str:
    """The subject of limits for a client's address: itself; of IPv6, where a host has 2^64 of them, its network."""
    address, _, _zone = remote.partition("%")
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if ":" in address else address


def require_room_for_order(settings: Limits, reader: Reader, account: Account, now: int) -> None:
    """Refuse a new order of an account, or an authorization ahead of one, if it has too many open.

    :raises AcmeError: ``rateLimited``.
    """
    most = settings.open_orders_per_account
    if most is not None and order_counts.count_open(reader, account.id, now, most) >= most:
        raise _rate_limit_error(
            f"this account has {most} open orders, with authorizations that wait for one; finish them, or let them "
            "run out",
            60,
        )


def require_room_to_wait(reader: Reader, account: Account, now: int) -> None:
    """Refuse an authorization ahead of an order to an account that has :data:`MAX_WAITING` of them.

    :raises AcmeError: ``rateLimited``.
    """
    if order_counts.count_waiting(reader, account.id, now, MAX_WAITING) >= MAX_WAITING:
        raise _rate_limit_error(
            f"this account has {MAX_WAITING} authorizations that no order has taken; prove and order their names, "
            "deactivate those that failed or are not needed, or let them run out, an hour after they were made",
            60,
        )


def order_asked(settings: Limits, account: Account, now: int) -> list[Statement]:
    """Count every order request of an account, refused ones too, because a refusal is stored as well.

    The verdict of what this gives, and of all that counts here, is ``rateLimited``.
    """
    return _spend(settings.orders_per_account, "orders", f"account {account.id}", now)


def key_made(settings: Limits, account: Account, now: int) -> list[Statement]:
    """Count an enrolment's external key of an account, as an order of it."""
    return _spend(settings.orders_per_account, "orders", f"account {account.id}", now)


def certificate_issued(
    settings: Limits, instance: str | None, names: Sequence[Identifier], now: int
) -> list[Statement]:
    """Count a certificate of an instance and of each of its names."""
    counted: list[Statement] = []
    if instance is not None:
        counted += _spend(settings.certificates_per_instance, "certificates", f"instance {instance}", now)
    # Sorted, so that no two writes wait for each other.
    for name in sorted({name.value for name in names}):
        counted += _spend(settings.certificates_per_name, "certificates", f"name {name}", now)
    return counted


def _spend(rate: Rate | None, what: str, subject: str, now: int) -> list[Statement]:
    if rate is None:
        return []
    key = f"{what} {subject}"

    def verdict(reader: Reader) -> AcmeError:
        seconds = limits.wait(reader, key, rate, now)
        return _rate_limit_error(
            f"there were too many {what} of {subject}: {rate.most} in {rate.seconds} seconds is this CA's limit; "
            f"try again in {seconds} seconds",
            seconds,
        )

    return [limits.spend(key, rate, now, verdict)]


def _rate_limit_error(detail: str, seconds: int) -> AcmeError:
    return AcmeError(Problem.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})
