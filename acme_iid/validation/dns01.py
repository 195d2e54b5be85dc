"""dns-01 (RFC 8555 section 8.4), and dns-account-01, other by name (draft-ietf-acme-dns-account-label-03)."""

from __future__ import annotations

import base64
import hashlib

from acme_iid.binding import base64url
from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.validation.attempt import MANY, ONCE, Attempt, Deadline, ValidationError
from acme_iid.validation.resolver import texts


def validate(attempt: Attempt, host: HostProvisioner) -> None:
    """Look for the key authorization's digest in the TXT records of ``_acme-challenge.NAME``.

    :raises ValidationError: ``dns`` or ``incorrectResponse``.
    """
    _validate(f"_acme-challenge.{attempt.identifier}", attempt, host)


def validate_of_account(attempt: Attempt, host: HostProvisioner) -> None:
    """The same in the TXT records of the name that is the account's own.

    :raises ValidationError: ``dns`` or ``incorrectResponse``.
    """
    _validate(f"{account_label(attempt.account_url)}._acme-challenge.{attempt.identifier}", attempt, host)


def account_label(account_url: str) -> str:
    """The label for an account: ``_`` and the base32 of its URL's SHA-256, of which the first ten octets count."""
    digest = hashlib.sha256(account_url.encode()).digest()
    return "_" + base64.b32encode(digest[:10]).decode().lower()


def _validate(name: str, attempt: Attempt, host: HostProvisioner) -> None:
    if len(name) > 253:
        raise ValidationError(Problem.DNS, f"{name} is too long for a name in the DNS", worth=ONCE)
    expected = base64url(attempt.digest)
    records = texts(name, host, Deadline())
    if expected.encode() not in records:
        count = f"{len(records)} TXT records, but not" if records else "no TXT record, and so not"
        raise ValidationError(
            Problem.INCORRECT_RESPONSE,
            f"{name} has {count} this challenge's: {expected}",
            worth=MANY,  # earlier records may still be cached for a while
        )
