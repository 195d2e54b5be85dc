"""The account at the CA: made, shown, given another key, deactivated (RFC 8555 section 7.3).

A key change must not lose the account, whenever the program, the machine or the CA dies. So the new key is on
the disk before the CA is asked to take it, and both stay there until it is known which of them counts. Whatever
signs next begins with :func:`settled`, which finishes a change that was cut off.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acme import jws, messages
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from acme_iid_client.acme.account_terms import Conditions
from acme_iid_client.acme.connection import CaError, Connection, UnreachableError, decode
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.clouds import Cloud
from acme_iid_client.clouds.enrolled import Enrolled
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import account_keys as accounts
from acme_iid_client.storage.account_keys import Account
from acme_iid_client.storage.account_options import ExternalKey

Notice = Callable[[str], None]

NOT_AGREED = "userActionRequired"
"""The error type for accounts that have not agreed to the CA's terms."""
NOBODYS = "accountDoesNotExist"
"""The error type for accounts that the CA does not have, or not at their URL."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An account's status at the CA.

    :ivar status: "valid", "deactivated", "revoked", or "unknown" if the CA has no account with this key.
    :ivar contact: the contact URLs that the CA has.
    """

    status: str
    contact: tuple[str, ...]


def open_account(connection: Connection, account: Account, cloud: Cloud, conditions: Conditions) -> Account:
    """Make the account of a key, or find it where the CA has one (RFC 8555 section 7.3).

    :returns: the account with its URL, as which the connection signs from now on.
    :raises CaError: if the CA refuses, which it does where its conditions are not met.
    """
    connection.use_account(None)
    key = _external_key(cloud, conditions)
    bound = None
    if key is not None:
        bound = messages.ExternalAccountBinding.from_data(
            account.key.public_key(), key.kid, key.hmac_key, connection.directory
        )
    agreed = conditions.agrees(connection.terms)
    body = messages.NewRegistration(terms_of_service_agreed=agreed or None, external_account_binding=bound)
    try:
        answer = connection.post(connection.resource("newAccount"), body, "The CA refused to open an account")
    except CaError as error:
        if error.code == NOT_AGREED and not agreed and (terms := error.terms or connection.terms):
            raise _not_agreed_error(terms, connection) from error
        if error.code == "externalAccountRequired":
            error.add(
                "The CA's operator makes one with 'acme-iid-ca eab add'. Run this command again with it: "
                "--eab-kid and --eab-hmac-key-file."
            )
        elif error.code == "unauthorized" and key is not None and not error.says_deactivated:
            error.add(_other_key(key, cloud, conditions))
        raise
    url = answer.headers.get("Location")
    if not url:
        raise CaError("The CA opened an account and did not give its URL, as an ACME server has to (RFC 8555).")
    connection.use_account(url)
    conditions.keep_external_key()
    return account.registered(url)


def agree(refused: CaError, connection: Connection, account: Account, conditions: Conditions) -> None:
    """Agree to terms that have changed since the account did (RFC 8555 section 7.3.3), if this machine was told to.

    :param refused: the CA's refusal of a request of the account.
    :raises CaError: if nobody has agreed to these terms, or if it is not about terms at all.
    """
    terms = refused.terms or connection.terms
    if terms is None or account.url is None:
        raise refused
    if not conditions.agrees(terms):
        raise _not_agreed_error(terms, connection) from refused
    body = messages.UpdateRegistration(terms_of_service_agreed=True)
    connection.post(account.url, body, f"The CA refused the agreement to its terms of service at {terms}")


def terms_of(ca: KnownCA, deadline: Deadline, notice: Notice) -> str | None:
    """The URL of a CA's terms of service, if it has any.

    :raises ClientError: if its directory cannot be read.
    """
    # The directory is there for everybody: nothing is signed with this key.
    with Connection(ca, accounts.new_key(), ES256, None, deadline, notice) as connection:
        return connection.terms


def _external_key(cloud: Cloud, conditions: Conditions) -> ExternalKey | None:
    if not isinstance(cloud, Enrolled):
        return conditions.external_key
    if conditions.account_options.external_key is not None:
        raise ClientError(
            "This user was enrolled, and its account is made with the enrolment's key: leave out --eab-kid."
        )
    return ExternalKey(cloud.key.kid, cloud.key.hmac_key)


def _not_agreed_error(terms: str, connection: Connection) -> CaError:
    return CaError(
        f"The CA at {connection.ca_url} gives certificates only to accounts that agree to its terms of service. "
        f"Nobody on this machine has agreed to the present terms: {terms}\n  If you agree to them, run this "
        "command again with --agree-tos.",
        NOT_AGREED,
    )


def _other_key(key: ExternalKey, cloud: Cloud, conditions: Conditions) -> str:
    if isinstance(cloud, Enrolled):
        return "'acme-iid enroll --for-user' gives this user another."
    kept = "" if conditions.account_options.external_key is not None else f", kept in {conditions.key_file}"
    return f"The key's id is {key.kid}{kept}. --eab-kid and --eab-hmac-key-file give another."


def known_here(state: Path, ca: KnownCA, cloud: Callable[[], Cloud]) -> Account:
    """The account of this machine at a CA, which it has made before.

    :param cloud: finds this machine's cloud; called only if the disk holds several account keys for the CA.
    :raises ClientError: if there is no such account.
    """
    if ca.account_key is not None:
        return accounts.from_file(ca.account_key)
    known = accounts.all_of(state, ca.identity)
    if len(known) > 1:
        instance = cloud().instance()
        known = [account for account in known if account.instance == instance]
    if not known:
        raise ClientError(
            f"This machine has no account at {ca.ca_url} yet; its first 'acme-iid order' makes one. "
            "--account-key names a key that is kept elsewhere."
        )
    return known[0]


def settled(account: Account, ca: KnownCA, deadline: Deadline, notice: Notice) -> Account:
    """The account with the key that counts: a key change that was cut off is finished first.

    :raises ClientError: if the CA cannot be asked, or another program is changing the key and does not end.
    """
    if account.coming() is None:
        return account
    with account.locked(deadline):
        # The program that held the lock may have finished it.
        account = account.reread()
        new = account.coming()
        if new is None:
            return account
        if accounts.thumbprint(new) == account.thumbprint:
            account.drop_coming()
            return account
        notice("A change of the account key was cut off. It is finished now.")
        return _finish(account, new, ca, deadline, notice)


def roll_over(account: Account, ca: KnownCA, deadline: Deadline, notice: Notice) -> Account:
    """Give the account a new key, and keep that in the place of the old one.

    :raises CaError: if the CA refuses; the old key stays the account's.
    :raises ClientError: if the CA cannot be reached; both keys are kept then, and the next command settles it.
    """
    account = settled(account, ca, deadline, notice)
    with account.locked(deadline):
        account = account.reread()
        new = accounts.new_key()
        account.keep_coming(new)
        return _finish(account, new, ca, deadline, notice, begun=False)


def _finish(
    account: Account, new: JWKEC, ca: KnownCA, deadline: Deadline, notice: Notice, *, begun: bool = True
) -> Account:
    """See a key change to its end. The key that does not count in the end is forgotten, and no other.

    :param begun: whether the CA may have been asked before.
    """
    if begun and _is_known(new, ca, deadline, notice):
        return account.replaced(new)
    try:
        url = _change(account, new, ca, deadline, notice)
    except CaError as error:
        # Sent twice because the first answer was lost, it is refused the second time: the old key is nobody's then.
        if _is_known(new, ca, deadline, notice):
            return account.replaced(new)
        # A request without an answer may still be on its way, so that both keys are kept.
        if isinstance(error, UnreachableError):
            raise
        account.drop_coming()
        if not begun:
            raise
        return account
    return Account(account.file, account.instance, account.key, url).replaced(new)


def _change(account: Account, new: JWKEC, ca: KnownCA, deadline: Deadline, notice: Notice) -> str:
    """Ask the CA to take the new key (RFC 8555 section 7.3.5); returns the account's URL."""
    url = account.url or url_of(account, ca, deadline, notice)
    with Connection(ca, account.key, ES256, url, deadline, notice) as connection:
        resource = connection.resource("keyChange")
        payload = json.dumps({"account": url, "oldKey": account.key.public_key().to_json()}).encode()
        inner = jws.JWS.sign(payload, new, ES256, None, resource)
        connection.post(resource, inner, "The CA refused the new account key")
    return url


def _holder(key: JWKEC, ca: KnownCA, deadline: Deadline, notice: Notice) -> str | None:
    """The URL of the account that has a key, as the CA says (RFC 8555 section 7.3.1); None if none has."""
    with Connection(ca, key, ES256, None, deadline, notice) as connection:
        return holder(connection)


def holder(connection: Connection) -> str | None:
    """The URL of the account that has the key which signs a connection, and signs as that account from now on.

    :returns: None if no account has it (RFC 8555 section 7.3.1); the connection signs with the bare key then.
    """
    connection.use_account(None)
    try:
        answer = connection.post(
            connection.resource("newAccount"),
            messages.NewRegistration(only_return_existing=True),
            "The CA does not say which account has the key",
        )
    except CaError as error:
        if error.code == NOBODYS:
            return None
        raise
    url = answer.headers.get("Location")
    if not url:
        raise CaError("The CA knows the account and does not give its URL, as an ACME server has to (RFC 8555).")
    connection.use_account(url)
    return url


def _is_known(key: JWKEC, ca: KnownCA, deadline: Deadline, notice: Notice) -> bool:
    """Whether a key is an account's at the CA, be it a deactivated one."""
    try:
        return _holder(key, ca, deadline, notice) is not None
    except CaError as error:
        if error.says_deactivated:
            return True
        raise


def url_of(account: Account, ca: KnownCA, deadline: Deadline, notice: Notice) -> str:
    """The account's URL; the CA is asked where it is not kept.

    :raises CaError: if the CA has no account with this key.
    """
    # The CA may have got another address, where the account has another URL.
    url = account.url if account.url is not None and ca.has(account.url) else None
    url = url or _holder(account.key, ca, deadline, notice)
    if url is None:
        raise CaError(
            f"The CA at {ca.ca_url} has no account with the key in {account.file}. "
            "The first 'acme-iid order' with this key makes one.",
            NOBODYS,
        )
    return url


def standing(account: Account, ca: KnownCA, deadline: Deadline, notice: Notice) -> tuple[Account, Standing]:
    """The account with its URL, and what the CA says about it.

    :raises CaError: if the CA refuses.
    """
    try:
        url = url_of(account, ca, deadline, notice)
        with Connection(ca, account.key, ES256, url, deadline, notice) as connection:
            answer = connection.post(url, None, "The CA does not show the account")
    except CaError as error:
        if error.says_deactivated:
            return account, Standing("deactivated", ())
        if error.code == NOBODYS:
            return account, Standing("unknown", ())
        raise
    body = decode(messages.Registration, answer, "the account")
    known = Account(account.file, account.instance, account.key, url)
    return known, Standing(str(body.status or "valid"), tuple(map(str, body.contact or ())))


def deactivate(account: Account, ca: KnownCA, deadline: Deadline, notice: Notice) -> Path | None:
    """End the account at the CA for good (RFC 8555 section 7.3.6), and set its key aside.

    An account that the CA has deactivated already is treated alike.

    :returns: where the key is now; None if a person keeps it, who then has it still.
    :raises CaError: if the CA has no such account, or refuses.
    """
    try:
        url = url_of(account, ca, deadline, notice)
        with Connection(ca, account.key, ES256, url, deadline, notice) as connection:
            body = messages.UpdateRegistration(status="deactivated")
            connection.post(url, body, "The CA refused to deactivate the account")
    except CaError as error:
        if not error.says_deactivated:
            raise
    if not account.instance:
        return None
    with account.locked(deadline):
        return account.set_aside()
