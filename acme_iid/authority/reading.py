"""An account reads what is its own (RFC 8555 sections 7.1.2.1, 7.1.3, 7.1.4 and 7.4.2)."""

from __future__ import annotations

import base64
from typing import TypeVar

from acme_iid.authority import Authority
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.resources import Account, Authorization, Certificate, Order
from acme_iid.store import certificates, issuers, orders
from acme_iid.store.writes import Reader

PAGE = 100
"""Orders on one page of an account's list."""

Owned = TypeVar("Owned", Order, Authorization, Certificate)


def order(reader: Reader, account: Account, order_id: str) -> Order:
    """An account's own order.

    :raises AcmeError: as :func:`own` does.
    """
    order = orders.get(reader, order_id)
    # An authorization that was made ahead is no order.
    return own(None if order is None or order.ahead else order, account)


def authorization(reader: Reader, account: Account, authorization_id: str) -> Authorization:
    """An account's own authorization.

    :raises AcmeError: as :func:`own` does.
    """
    located = orders.of_authorization_id(reader, authorization_id)
    return own(None if located is None else located[1], account)


def certificate(reader: Reader, account: Account, certificate_id: str) -> Certificate:
    """A certificate that an account got.

    :raises AcmeError: as :func:`own` does.
    """
    return own(certificates.get(reader, certificate_id), account)


def chains(authority: Authority, reader: Reader, certificate: Certificate, now: int) -> dict[str, str]:
    """The chains of a certificate, PEM and leaf first, by their numbers; the one that it was issued with is "0".

    Of the alternate ones, those that are for its issuer and permit its names are among them.
    """
    leaf, current = pem(certificate), authority.ca.current
    own = leaf + current.chain_pem if certificate.issuer_id == current.id else with_chain(reader, certificate)
    further = {
        str(number): leaf + chain.pem
        for number, chain in enumerate(authority.alternates, 1)
        if chain.is_for(certificate.issuer_id, certificate.names, now)
    }
    return {"0": own, **further}


def with_chain(reader: Reader, certificate: Certificate) -> str:
    """A certificate with the chain of its issuer, PEM and leaf first."""
    return pem(certificate) + (issuers.chain(reader, certificate.issuer_id) or "")


def pem(certificate: Certificate) -> str:
    """A certificate by itself, in PEM (RFC 7468)."""
    text = base64.b64encode(certificate.der).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"


def own(resource: Owned | None, account: Account) -> Owned:
    """``resource`` if it is ``account``'s own.

    :raises AcmeError: ``malformed`` with 404 if ``resource`` is None, ``unauthorized`` if it is another account's.
    """
    if resource is None:
        raise AcmeError(Problem.MALFORMED, "there is nothing at this URL", status=404)
    if resource.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "this resource belongs to another account")
    return resource


def orders_of_account(reader: Reader, account: Account, before: int | None) -> list[str]:
    """One page of an account's orders, newest first, by their ids.

    :param before: the number of the last order of the page before.
    """
    return orders.of_account(reader, account.id, before, PAGE)
