"""An account reads what is its own (RFC 8555 sections 7.1.2.1, 7.1.3, 7.1.4 and 7.4.2)."""

from __future__ import annotations

from typing import TypeVar

from acme_iid.authority import Authority
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.resources import Account, Authorization, Certificate, Order
from acme_iid.store import certificates, orders
from acme_iid.store.database import Database

PAGE = 100
"""Orders on one page of an account's list."""

Owned = TypeVar("Owned", Order, Authorization, Certificate)


def order(database: Database, account: Account, order_id: str) -> Order:
    """An account's own order.

    :raises AcmeError: as :func:`own` does.
    """
    return own(orders.get(database, order_id), account)


def authorization(database: Database, account: Account, authorization_id: str) -> Authorization:
    """An account's own authorization.

    :raises AcmeError: as :func:`own` does.
    """
    return own(orders.get_authorization(database, authorization_id), account)


def certificate(database: Database, account: Account, certificate_id: str) -> Certificate:
    """A certificate that an account got.

    :raises AcmeError: as :func:`own` does.
    """
    return own(certificates.get(database, certificate_id), account)


def chains(authority: Authority, certificate: Certificate, now: int) -> dict[str, str]:
    """The chains of a certificate, PEM and leaf first, by their numbers; the one that it was issued with is "0".

    A certificate of an intermediate that was replaced has that one only.
    """
    found = {"0": certificate.chain}
    if certificate.chain.endswith(authority.ca.intermediate_pem):
        leaf = certificate.chain.removesuffix(authority.ca.intermediate_pem)
        for number, chain in enumerate(authority.alternates, 1):
            if chain.not_after > now:
                found[str(number)] = leaf + chain.pem
    return found


def own(resource: Owned | None, account: Account) -> Owned:
    """``resource`` if it is ``account``'s own.

    :raises AcmeError: ``malformed`` with status 404 if there is none, ``unauthorized`` if it is another account's.
    """
    if resource is None:
        raise AcmeError(Problem.MALFORMED, "there is nothing at this URL", status=404)
    if resource.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "this resource belongs to another account")
    return resource


def orders_of_account(database: Database, account: Account, before: tuple[int, str] | None) -> list[tuple[int, str]]:
    """One page of an account's orders, newest first, as (created_at, id)."""
    return orders.of_account(database, account.id, before, PAGE)
