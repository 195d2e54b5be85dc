"""Accounts: creation, contacts, key change, deactivation (RFC 8555 section 7.3)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace

from acme_iid.authority import Authority, compromise, enrolments, limits, signers
from acme_iid.authority.context import RequestContext
from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.config.settings import CASettings
from acme_iid.errors import AcmeError, NotFoundError, Problem
from acme_iid.protocol.resources import Account, Order
from acme_iid.protocol.status import Status, of_authorization, of_order
from acme_iid.store import accounts, external_keys, orders
from acme_iid.store.chain import Event
from acme_iid.store.writes import Reader, Statement, Write

MAX_CONTACTS = 10
_MAX_CONTACT_LENGTH = 320
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def contacts(value: object) -> tuple[str, ...]:
    """The contact URLs of a newAccount or account update payload (RFC 8555 section 7.3).

    :raises AcmeError: ``malformed``, ``unsupportedContact`` or ``invalidContact``.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise AcmeError(Problem.MALFORMED, "'contact' is a list of URLs")
    if len(value) > MAX_CONTACTS:
        raise AcmeError(Problem.INVALID_CONTACT, f"there are {len(value)} contacts; {MAX_CONTACTS} is the limit")
    for entry in value:
        _check_contact(entry)
    return tuple(value)


def _check_contact(contact: str) -> None:
    shown = ascii(contact[:64])
    if not _SCHEME.match(contact):
        raise AcmeError(Problem.INVALID_CONTACT, f"the contact {shown} is no URL; write mailto:admin@example.org")
    scheme, _, address = contact.partition(":")
    if scheme.lower() != "mailto":
        raise AcmeError(Problem.UNSUPPORTED_CONTACT, f"contacts of the scheme {scheme[:32]!r} are not supported")
    if "?" in address:
        raise AcmeError(Problem.INVALID_CONTACT, f"the contact {shown} has header fields, which RFC 8555 forbids")
    if "," in address:
        raise AcmeError(Problem.INVALID_CONTACT, f"the contact {shown} has more than one address")
    if len(contact) > _MAX_CONTACT_LENGTH or not _ADDRESS.match(address):
        raise AcmeError(Problem.INVALID_CONTACT, f"the contact {shown} is not an e-mail address")


def find(reader: Reader, thumbprint: str, *, demanded: bool) -> Account | None:
    """The account of a key; None if the key has no account (RFC 8555 section 7.3.1).

    :param demanded: whether there has to be one (``onlyReturnExisting``).
    :raises AcmeError: ``accountDoesNotExist``, or ``unauthorized`` if it was deactivated.
    """
    account = accounts.by_thumbprint(reader, thumbprint)
    if account is not None:
        signers.require_active(account)
    elif demanded:
        raise AcmeError(Problem.ACCOUNT_DOES_NOT_EXIST, "no account has this key; create one with newAccount")
    return account


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The content of a newAccount request: the key as canonical JSON, its thumbprint, and what comes with it.

    :ivar terms_agreed: whether the client says that it agrees to the terms.
    :ivar external_key_id: the external key that is bound to it by ``external_account_binding``, whose MAC was checked.
    """

    jwk: str
    thumbprint: str
    contact: tuple[str, ...]
    terms_agreed: bool = False
    external_key_id: str | None = None
    external_account_binding: str | None = None


Made = tuple[Account, bool]
"""An account, and whether it is new, or was changed."""


def create(authority: Authority, context: RequestContext, reader: Reader, request: NewAccount) -> Made | Write[Made]:
    """The account of a key, made if the key has no account yet.

    :returns: the account, and whether it is new.
    :raises AcmeError: ``unauthorized`` if the key's account was deactivated or the external key cannot be used,
        ``externalAccountRequired``, ``userActionRequired`` where the terms were not agreed to, ``rateLimited``,
        ``badPublicKey`` for a key that was revoked as compromised.
    """
    existing = find(reader, request.thumbprint, demanded=False)
    if existing is not None:
        return existing, False
    settings = authority.config.ca
    if settings.external_account_required and request.external_key_id is None:
        raise AcmeError(
            Problem.EXTERNAL_ACCOUNT_REQUIRED,
            "an account takes an external account key here; ask whoever runs this CA for one",
        )
    if settings.terms_of_service is not None and not request.terms_agreed:
        raise _terms_not_agreed_error(settings.terms_of_service)
    key = None if request.external_key_id is None else external_keys.get(reader, request.external_key_id)
    account = Account(
        secrets.token_urlsafe(16),
        request.jwk,
        request.thumbprint,
        request.contact,
        context.now,
        terms_agreed=settings.terms_of_service,
        external_key_id=request.external_key_id,
        external_account_binding=request.external_account_binding,
        enrolment_id=None if key is None else key.enrolment_id,
        made_from=limits.subject(context.remote),
        # The key is from an account that has proven something, or from the operator.
        proven_at=None if request.external_key_id is None else context.now,
        key_since=context.now,
    )
    limits.require_room_for_account(authority.config.limits, reader, account, context.now)
    event = Event(
        "account.created",
        context.now,
        account_id=account.id,
        detail={
            "thumbprint": account.thumbprint,
            "external_key": account.external_key_id,
            "enrolment": account.enrolment_id,
            "remote": context.remote,
        },
    )
    statements = [
        accounts.add(account),
        *_use_external_key(account, context.now),
        *compromise.require_usable_by_account(reader, account.jwk),
    ]
    return Write(statements, lambda _rows: (account, True), [event])


def _use_external_key(account: Account, now: int) -> list[Statement]:
    if account.external_key_id is None:
        return []
    advice = (
        "ask whoever runs this CA for another"
        if account.enrolment_id is None
        else "run 'acme-iid enroll' on the VM for another"
    )
    error = AcmeError(
        Problem.UNAUTHORIZED, f"the external account key was used before, has run out or was revoked; {advice}"
    )
    return [external_keys.use(account.external_key_id, account.id, now, lambda _reader: error)]


def require_terms_agreed(settings: CASettings, account: Account) -> None:
    """Refuse an account that has not agreed to the terms as they are now (RFC 8555 section 7.3.3).

    :raises AcmeError: ``userActionRequired``.
    """
    if settings.terms_of_service not in (None, account.terms_agreed):
        raise _terms_not_agreed_error(settings.terms_of_service)


def _terms_not_agreed_error(terms: str) -> AcmeError:
    return AcmeError(
        Problem.USER_ACTION_REQUIRED,
        f"the terms of service at {terms} have to be agreed to, by 'termsOfServiceAgreed': true in a new account or in "
        "an account's update",
        headers={"Link": f'<{terms}>;rel="terms-of-service"'},
        members={"instance": terms},
    )


def update(
    authority: Authority,
    reader: Reader,
    account: Account,
    contact: tuple[str, ...] | None,
    now: int,
    *,
    agrees: bool,
) -> Account | Write[Account]:
    """Replace an account's contacts, and note that it agrees to the terms as they are now (RFC 8555 section 7.3.2).

    :param contact: None to leave them.
    :raises AcmeError: ``unauthorized`` if it was deactivated meanwhile.
    """
    account = _current(reader, account)
    statements: list[Statement] = []
    events: list[Event] = []
    if contact is not None and contact != account.contact:
        statements.append(accounts.set_contact(account, contact))
        account = replace(account, contact=contact)
    terms = authority.config.ca.terms_of_service
    if agrees and terms is not None and account.terms_agreed != terms:
        statements.append(accounts.set_terms_agreed(account, terms))
        events.append(Event("account.agreed", now, account_id=account.id, detail={"terms": terms}))
        account = replace(account, terms_agreed=terms)
    return Write(statements, lambda _rows: account, events)


def change_key(
    context: RequestContext, reader: Reader, account: Account, jwk: str, thumbprint: str
) -> Made | Write[Made]:
    """Give an account another key (RFC 8555 section 7.3.5). Its instances, orders and certificates stay its own.

    Its pending iid-01 challenges end, since they are bound to the old key ("Binding").

    :param account: as it was when the old key's signature was checked.
    :param jwk: the new public key as canonical JSON; its thumbprint is ``thumbprint``.
    :returns: the account that has the new key, and whether this change gave it to it; if not, nothing was changed.
    :raises AcmeError: ``unauthorized`` if the account was deactivated or got another key meanwhile, ``badPublicKey``
        for a key that was revoked as compromised.
    """
    current = _current(reader, account)
    if current.thumbprint != account.thumbprint:
        raise signers.key_changed_error()
    holder = accounts.by_thumbprint(reader, thumbprint)
    if holder is not None:
        return holder, False
    usable = compromise.require_usable_by_account(reader, jwk)
    changed = replace(current, jwk=jwk, thumbprint=thumbprint, key_since=context.now)
    event = Event(
        "account.key_changed",
        context.now,
        account_id=account.id,
        detail={
            "old_thumbprint": account.thumbprint,
            "thumbprint": thumbprint,
            "remote": context.remote,
            "orders_ended": sum(
                _waits_for_iid01(order, context.now) for order in orders.open_of(reader, account.id, context.now)
            ),
        },
    )
    statements = [accounts.set_key(current, jwk, thumbprint, context.now), *usable]
    return Write(statements, lambda _rows: (changed, True), [event])


def _waits_for_iid01(order: Order, now: int) -> bool:
    """Whether an order can only go on with an iid-01 challenge that has not been answered."""
    return of_order(order, now) is Status.PENDING and any(
        of_authorization(entry, now) is Status.PENDING
        and all(challenge.type == CHALLENGE_TYPE for challenge in entry.challenges)
        for entry in order.authorizations
    )


def by_id_or_thumbprint(reader: Reader, word: str) -> Account:
    """The account that an operator names by its id or by its key's thumbprint.

    :raises NotFoundError: if there is no such account.
    """
    account = accounts.get(reader, word) or accounts.by_thumbprint(reader, word)
    if account is None:
        raise NotFoundError(f"there is no account {word!r}; 'acme-iid-ca account list' shows all")
    return account


def deactivate(
    reader: Reader, account: Account, now: int, by: str = "account", besides: Collection[str] = frozenset()
) -> Account | Write[Account]:
    """Deactivate an account, with its open orders (RFC 8555 section 7.3.6). Its instances stay its own.

    An account that is deactivated already stays as it is.

    :param by: on whose word, for the record: "account", "operator" or "compromised key".
    :param besides: the ids of its enrolments that end in the same write for another reason.
    """
    current = accounts.get(reader, account.id)
    assert current is not None  # accounts are never removed
    if current.deactivated_at is not None:
        return current
    reason = "the account that enrolled it was deactivated"
    ended = enrolments.end_of_account(reader, account.id, reason, now, besides)
    event = Event(
        "account.deactivated", now, account_id=account.id, detail={"thumbprint": account.thumbprint, "by": by}
    )
    return Write(
        [accounts.deactivate(account.id, now), *ended.statements],
        lambda _rows: replace(current, deactivated_at=now),
        [*ended.events, event],
    )


def _current(reader: Reader, account: Account) -> Account:
    """An account as it is now.

    :raises AcmeError: ``unauthorized`` if it was deactivated meanwhile.
    """
    current = accounts.get(reader, account.id)
    assert current is not None  # accounts are never removed
    signers.require_active(current)
    return current
