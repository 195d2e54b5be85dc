"""The account that signed a request: what its request's write relies on is that it still may sign."""

from __future__ import annotations

from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts
from acme_iid.store.writes import Reader, Statement


def require_active(account: Account) -> None:
    """Refuse an account that was deactivated (RFC 8555 section 7.3.6).

    :raises AcmeError: ``unauthorized`` with status 401.
    """
    if account.deactivated_at is not None:
        raise _deactivated_error()


def _deactivated_error() -> AcmeError:
    return AcmeError(
        Problem.UNAUTHORIZED,
        "this account is deactivated for good; make a new account key and account. Its instances stay its own "
        "until an operator releases each to the new key: acme-iid-ca instance release ID --to THUMBPRINT",
        status=401,
    )


def key_changed_error() -> AcmeError:
    """The error of a request that the former key of its account has signed."""
    return AcmeError(
        Problem.UNAUTHORIZED,
        "the account's key was changed while this request was under way; sign with the new one",
    )


def guard(account: Account, proven_at: int | None = None) -> Statement:
    """Rely on it that an account is active and has the key that signed; to decide again would not change that.

    :param proven_at: when it has proven a name, if that is to be noted, too.
    """

    def verdict(reader: Reader) -> AcmeError | None:
        current = accounts.get(reader, account.id)
        assert current is not None  # accounts are never removed
        if current.deactivated_at is not None:
            return _deactivated_error()
        return key_changed_error() if current.thumbprint != account.thumbprint else None

    if proven_at is not None and account.proven_at is None:
        return accounts.set_proven(account, proven_at, verdict)
    return accounts.in_force(account, verdict)
