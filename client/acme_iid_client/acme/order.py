"""From names to a certificate: one ACME order (RFC 8555 section 7.4), answered with evidence.

An order of one name takes five signed requests (new order, authorization, challenge, finalization,
certificate): the answer to an iid-01 challenge is final, so nothing is polled unless the CA says that it is
still working. One that is ready at once, since the CA relies on what was proven before, takes three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import requests
from acme import messages
from cryptography import x509
from josepy.json_util import field
from josepy.jwa import ES256

from acme_iid.iid01 import IID01
from acme_iid_client.acme.account_terms import Conditions
from acme_iid_client.acme.connection import CaError, Connection, decode, refusal_error, remedy_in, request_in
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.acme.proof import prove
from acme_iid_client.acme.registration import NOBODYS, NOT_AGREED, agree, holder, open_account, settled
from acme_iid_client.clouds import Cloud
from acme_iid_client.clouds.enrolled import Enrolled
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import account_keys as accounts
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import (
    check_issued,
    common_name,
    cut_short_by,
    load_certificates,
    rfc3339,
    to_pem,
)
from acme_iid_client.x509.names import canonical, is_address

_MAX_POLLS = 1000
_NOT_REPLACED = frozenset({"alreadyReplaced", "malformed", "unauthorized"})
"""Refusals that may be about ``replaces``, for RFC 9773 section 5 names a code for one case of several."""

_NOT_OFFERED = "rejectedIdentifier"
"""The refusal of a name that the CA gives to nobody (RFC 8555 section 7.4)."""

Further = Literal["none", "own", "all"]
"""Which names are ordered besides: none, those that follow from what the instance is, or all that it may hold."""


class _NewOrder(messages.NewOrder):
    """The acme library's order, with its profile, the end of the certificate's life and what it replaces (RFC 9773)."""

    not_after: str = field("notAfter", omitempty=True)
    replaces: str = field("replaces", omitempty=True)
    profile: str = field("profile", omitempty=True)


@dataclass(frozen=True, slots=True)
class Request:
    """The content of an order.

    :ivar names: canonical names; the first is the certificate's subject.
    :ivar key: the certificate's key: a kind of key pair to make, a key that is there, or somebody's signing request
        for the very names that are ordered.
    :ivar provisioner: the provisioner to be admitted by; None leaves it to the CA.
    :ivar not_after: RFC 3339; None leaves it to the CA.
    :ivar further: which names are ordered besides; the first of ``names`` is then one that the instance surely has.
    :ivar replaces: the identifier of the certificate that the new one succeeds (RFC 9773 section 4.1), if any.
    :ivar profile: the certificate profile, one of the directory's; None leaves it to the CA.
    """

    names: list[str]
    key: keys.KeyType | keys.PrivateKey | x509.CertificateSigningRequest
    provisioner: str | None = None
    not_after: str | None = None
    further: Further = "none"
    replaces: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """An order whose names are proven.

    :ivar request: the request as it was ordered in the end, with every name.
    :ivar held: the names that the CA says this instance may hold, canonical.
    """

    request: Request
    url: str
    body: Any
    account: accounts.Account
    held: list[str]


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was checked, and its key.

    :ivar chain: leaf first, without the root.
    :ivar key: None if it was ordered with a signing request.
    :ivar account: the account that ordered it; None if that was at another time.
    """

    chain: list[x509.Certificate]
    key: keys.PrivateKey | None
    account: accounts.Account | None

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate itself."""
        return self.chain[0]

    @property
    def certificate_pem(self) -> bytes:
        """Leaf and intermediates."""
        return to_pem(*self.chain)


def order(
    request: Request, ca: KnownCA, state: Path, cloud: Cloud, deadline: Deadline, notice: Callable[[str], None]
) -> Issued:
    """Get a certificate.

    :param state: where account keys are kept.
    :param cloud: this machine's metadata service.
    :param notice: called with a sentence that a person should see meanwhile.
    :raises CaError: if the CA refuses.
    :raises ClientError: if anything else stands in the way.
    """
    # First of all, which instance this is: it decides the account key, and a machine that is in no cloud
    # should hear so before the CA is asked for anything.
    account = settled(account_here(state, ca, cloud, notice), ca, deadline, notice)
    with Connection(ca, account.key, ES256, account.url, deadline, notice) as connection:
        placed = place(request, connection, account, cloud, Conditions.of(state, ca), notice)
        request = placed.request
        key, signing_request, public_key = _subject(request)
        body = _finalize(placed.url, placed.body, signing_request, request, connection)
        answer = connection.post(str(body.certificate), None, "The CA does not hand out the certificate")
    try:
        chain = load_certificates(answer.content)
    except ClientError:
        raise CaError("The CA did not send a certificate.") from None
    check_issued(chain, ca.roots, public_key, request.names, datetime.now(UTC), ca.revoked)
    if (end := cut_short_by(chain, ca.roots)) is not None:
        notice(
            f"The certificate is cut short: it ends at {rfc3339(end.not_valid_after_utc)} together with the CA's own "
            f"certificate {common_name(end.subject)}, which the CA's operator has to replace."
        )
    return Issued([certificate for certificate in chain if certificate not in ca.roots], key, placed.account)


def place(
    request: Request,
    connection: Connection,
    account: accounts.Account,
    cloud: Cloud,
    conditions: Conditions,
    notice: Callable[[str], None],
) -> Placed:
    """Make an order, and prove each of its names.

    :param conditions: the CA's conditions for accounts, as far as this machine has met them.
    :raises CaError: if the CA refuses.
    :raises ClientError: if anything else stands in the way.
    """
    # An agreement that was said now is kept also where the account needs none, for the one after it.
    conditions.agrees(connection.terms)
    if request.further == "none":
        return _place(request, connection, account, cloud, conditions)
    # The answer to a proof has the names that the instance may hold, and a refused name ends an order. So
    # one name goes first, and where there are more, that order is left to expire.
    placed = _place_first(request, connection, account, cloud, conditions, notice)
    first = placed.request
    request = _with_further_names(request, first, placed.held, cloud)
    notice(f"Ordering a certificate for {', '.join(request.names)}.")
    if request.names != first.names:
        return _place(request, connection, placed.account, cloud, conditions)
    return replace(placed, request=request)


def _subject(
    request: Request,
) -> tuple[keys.PrivateKey | None, x509.CertificateSigningRequest, keys.PublicKey]:
    """The key, if this program has it, the signing request, and the public key in it."""
    if isinstance(request.key, x509.CertificateSigningRequest):
        public = request.key.public_key()
        if not isinstance(public, keys.PublicKey):
            raise ClientError("The signing request's key is of a kind that is not used in TLS certificates.")
        return None, request.key, public
    key = keys.generate(request.key) if isinstance(request.key, keys.KeyType) else request.key
    return key, keys.signing_request(key, request.names), key.public_key()


def _place(
    request: Request, connection: Connection, account: accounts.Account, cloud: Cloud, conditions: Conditions
) -> Placed:
    account, answer = _new_order(request, connection, account, cloud, conditions)
    body = decode(messages.Order, answer, "the order")
    held: dict[str, None] = {}
    # Of an order that is ready, authorizations only say which further names there are.
    known = body.status == messages.STATUS_READY and request.further == "none"
    for url in () if known else body.authorizations or ():
        held |= dict.fromkeys(_prove(str(url), request, connection, account, cloud))
    return Placed(request, answer.headers.get("Location", ""), body, account, list(held))


def _place_first(
    request: Request,
    connection: Connection,
    account: accounts.Account,
    cloud: Cloud,
    conditions: Conditions,
    notice: Callable[[str], None],
) -> Placed:
    """Order the first of the instance's own names that the CA offers: one with name constraints offers no bare id.

    :raises CaError: why the CA refuses the first, if it offers none of them.
    """
    refusals: list[CaError] = []
    for name in dict.fromkeys([request.names[0], *cloud.names()]):
        try:
            placed = _place(replace(request, names=[name]), connection, account, cloud, conditions)
        except CaError as error:
            if error.code != _NOT_OFFERED:
                raise
            refusals.append(error)
            continue
        for refusal in refusals:
            notice(str(refusal))
        return placed
    raise refusals[0]


def _with_further_names(request: Request, first: Request, held: list[str], cloud: Cloud) -> Request:
    """The request with the names that the instance may hold, its own first.

    :param first: the request for the first of its own names that the CA offers.
    """
    own = [name for name in cloud.names() if name in held]
    further = own if request.further == "own" else [*own, *held]
    return replace(request, names=list(dict.fromkeys([*first.names, *request.names[1:], *further])), further="none")


def account_here(state: Path, ca: KnownCA, cloud: Cloud, notice: Callable[[str], None]) -> accounts.Account:
    """The account key of this instance, with a word to the person if the disk was another instance's."""
    account, others = accounts.of_instance(state, ca.identity, cloud.instance(), ca.account_key)
    if others and not isinstance(cloud, Enrolled):
        notice(
            f"This machine is {account.instance}, and the account key on its disk was made on {', '.join(others)}: "
            "the disk is a copy. A new account key was made for this machine."
        )
    return account


def _new_order(
    request: Request, connection: Connection, account: accounts.Account, cloud: Cloud, conditions: Conditions
) -> tuple[accounts.Account, Any]:
    """Make the order, and before it the account where the CA does not know it (any more)."""
    known = account.url is not None
    if known and not connection.has(str(account.url)):
        account = _found_again(connection, account) or open_account(connection, account, cloud, conditions)
    elif not known:
        account = open_account(connection, account, cloud, conditions)
    try:
        return account, _order_on_terms(request, connection, account, conditions)
    except CaError as error:
        if not known or error.code != NOBODYS:
            raise
    # The CA has another address, was set up anew, or restored from before this account: the same key has an account
    # still, or registers again, once.
    account = _found_again(connection, account) or open_account(connection, account, cloud, conditions)
    return account, _order_on_terms(request, connection, account, conditions)


def _found_again(connection: Connection, account: accounts.Account) -> accounts.Account | None:
    """The account of a key with the URL that it has at the CA now; None if the key is nobody's there."""
    url = holder(connection)
    return None if url is None else account.registered(url)


def _order_on_terms(
    request: Request, connection: Connection, account: accounts.Account, conditions: Conditions
) -> requests.Response:
    try:
        return _post_order(request, connection)
    except CaError as error:
        if error.code != NOT_AGREED:
            raise
        agree(error, connection, account, conditions)
    return _post_order(request, connection)


def _post_order(request: Request, connection: Connection) -> requests.Response:
    # A server that has no renewal information may not know what replacing is.
    replaces = request.replaces if connection.offers("renewalInfo") else None
    body = _NewOrder(
        identifiers=[_identifier(name) for name in request.names],
        not_after=request.not_after,
        replaces=replaces,
        profile=request.profile,
    )
    what = f"The CA refused the order of {', '.join(request.names)}"
    try:
        return connection.post(connection.resource("newOrder"), body, what)
    except CaError as error:
        if replaces is None or error.code not in _NOT_REPLACED:
            raise
    # It has a successor already, is another account's, or is unknown to the CA: that stops no renewal.
    return connection.post(connection.resource("newOrder"), body.update(replaces=None), what)


def _identifier(name: str) -> messages.Identifier:
    kind = messages.IDENTIFIER_IP if is_address(name) else messages.IDENTIFIER_FQDN
    return messages.Identifier(typ=kind, value=name)


def _prove(url: str, request: Request, connection: Connection, account: accounts.Account, cloud: Cloud) -> list[str]:
    """Answer the iid-01 challenge of an authorization that is not valid yet.

    :returns: the names that the CA says the instance may hold.
    """
    response = connection.post(url, None, "The CA does not show its authorization")
    authorization = decode(messages.Authorization, response, "the authorization")
    body = next((body for body in authorization.challenges or () if isinstance(body.chall, IID01)), None)
    if authorization.status == messages.STATUS_VALID:
        return [] if body is None else _held(body)
    name = authorization.identifier.value if authorization.identifier else "the name"
    if body is None:
        raise CaError(f"The CA offers no iid-01 challenge for {name}, so that no evidence can prove it.")
    what = f"The CA refused the evidence for {name}"
    if authorization.status == messages.STATUS_PENDING and body.status == messages.STATUS_PENDING:
        evidence = prove(body.chall, account.key, name, cloud, request.provisioner)
        response = connection.post(body.uri, evidence, what)
        body = decode(messages.ChallengeBody, response, "the challenge")
    for _ in range(_MAX_POLLS):
        if body.status == messages.STATUS_VALID:
            return _held(body)
        if body.status == messages.STATUS_INVALID:
            refused = refusal_error(what, body.error) if body.error else CaError(f"{what} and does not say why.")
            refused.remedy = remedy_in(response, "error")
            refused.request = request_in(response)
            raise refused
        connection.wait(response)
        response = connection.post(body.uri, None, what)
        body = decode(messages.ChallengeBody, response, "the challenge")
    raise CaError(f"{what}: it never came to a decision.")


def _held(body: messages.ChallengeBody) -> list[str]:
    """The names in a valid challenge, canonical."""
    try:
        return [canonical(str(name["value"])) for name in body.chall.names]
    except (ClientError, KeyError, TypeError) as error:
        raise CaError("The names that the CA says this instance may hold cannot be read.") from error


def _finalize(
    url: str, body: Any, csr: x509.CertificateSigningRequest, request: Request, connection: Connection
) -> Any:
    """Send the signing request, and see the order to its end.

    If an answer was lost and the request is sent again, the order is no longer ready (RFC 8555 section 7.4):
    what became of it is read then.
    """
    what = f"The CA refused to issue for {', '.join(request.names)}"
    signing_request = messages.CertificateRequest(csr=csr)
    try:
        response = connection.post(str(body.finalize), signing_request, what)
    except CaError as error:
        if error.code != "orderNotReady" or not url:
            raise
        response = connection.post(url, None, what)
        body = decode(messages.Order, response, "the order")
        if body.status not in (messages.STATUS_PROCESSING, messages.STATUS_VALID):
            raise refusal_error(what, body.error) if body.error else error from None
    for _ in range(_MAX_POLLS):
        body = decode(messages.Order, response, "the order")
        if body.status == messages.STATUS_VALID and body.certificate:
            return body
        if body.status != messages.STATUS_PROCESSING or not url:
            raise (
                refusal_error(what, body.error) if body.error else CaError(f"{what}: the order is {body.status.name}.")
            )
        connection.wait(response)
        response = connection.post(url, None, what)
    raise CaError(f"{what}: it never came to a decision.")
