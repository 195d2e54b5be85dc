"""dns-persist-01: one record for all orders of an account (draft-ietf-acme-dns-persist-02).

Today's clients follow draft -01 and name the account by its URL instead of a hash; that is accepted as well.
"""

from __future__ import annotations

import hashlib

from acme_iid.binding import base64url
from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.validation import issue_value
from acme_iid.validation.attempt import Attempt, Deadline, ValidationError
from acme_iid.validation.resolver import texts

LABEL = "_validation-persist"


def validate(attempt: Attempt, host: HostProvisioner) -> int | None:
    """Look for a record at ``_validation-persist.NAME`` that names this CA and the account.

    :returns: the end of its validity (``persistUntil``), seconds since the epoch; None for no end.
    :raises ValidationError: ``dns`` or ``incorrectResponse``.
    """
    name = f"{LABEL}.{attempt.identifier}"
    reasons: list[str] = []
    for text in texts(name, host, Deadline()):
        try:
            record = issue_value.read(text)
        except ValueError:
            continue  # another use of the name
        if record.domain != attempt.issuer:
            continue
        until = record.parameters.get("persistUntil")
        if (reason := _refusal(record, until, attempt)) is None:
            return None if until is None else int(until)
        reasons.append(reason)
    why = "; ".join(reasons) or f"no record begins with {attempt.issuer}"
    raise ValidationError(Problem.INCORRECT_RESPONSE, f"no TXT record of {name} names this CA and the account: {why}")


def _refusal(record: issue_value.IssueValue, until: str | None, attempt: Attempt) -> str | None:
    """The reason why a record for this CA does not prove the name, or None if it does."""
    if record.parameters.get("accounturi") not in account_uris(attempt):
        return "its accounturi is another account's, or was made with another name or key"
    if attempt.wildcard and record.parameters.get("policy", "").lower() != "wildcard":
        return "it has no policy=wildcard"
    if until is not None and not (until.isascii() and until.isdigit() and len(until) <= 12):
        return "its persistUntil is not a time in seconds"
    if until is not None and int(until) <= attempt.now:
        return "its persistUntil has passed"
    return None


def account_uris(attempt: Attempt) -> set[str]:
    """The texts that ``accounturi`` may be: hashes for the name, or for any (``*``), with each key of the account."""
    hashed = {
        attempt.account_hash_prefix + "sha-256/" + _hash(domain, key, attempt.account_url)
        for key in (attempt.thumbprint, *attempt.earlier_thumbprints)
        for domain in (attempt.identifier.value, "*")
    }
    return hashed | {attempt.account_url}


def _hash(domain: str, key: str, account_url: str) -> str:
    """Section 4.1: the domain's length in one octet, the domain, the key's thumbprint and the account's URL."""
    octets = bytes([len(domain)]) + domain.encode() + key.encode() + account_url.encode()
    return base64url(hashlib.sha256(octets).digest())
