"""CAA records (RFC 8659, with RFC 8657's conditions), where a provisioner heeds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from acme_iid.errors import Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.validation import issue_value
from acme_iid.validation.attempt import FEW, Attempt, Deadline, ValidationError
from acme_iid.validation.resolver import NoSuchNameError, records

_CRITICAL = 0x80
_KNOWN = (b"issue", b"issuewild", b"iodef")


def check(attempt: Attempt, host: HostProvisioner) -> None:
    """Refuse a name whose CAA records do not let this CA issue for it by this challenge.

    :raises ValidationError: ``caa``, or ``dns`` if there is no answer, and so no certainty.
    """
    if attempt.identifier.type != "dns":
        return
    holder, caa_records = _relevant(attempt.identifier.value, host, Deadline())
    tagged = [(record.tag.lower(), record.value, record.flags) for record in caa_records]
    for tag, _, flags in tagged:
        if flags & _CRITICAL and tag not in _KNOWN:
            raise _caa_error(f"{holder} has a critical CAA property that this CA does not know: {tag.decode()[:32]}")
    values = [value for tag, value, _ in tagged if tag == b"issue"]
    wild = [value for tag, value, _ in tagged if tag == b"issuewild"]
    if attempt.wildcard and wild:
        values = wild
    if values and not any(_permits(value, attempt) for value in values):
        raise _caa_error(
            f"the CAA records of {holder} do not let this CA ({attempt.issuer}) issue by {attempt.kind} to this account"
        )


def _caa_error(detail: str) -> ValidationError:
    return ValidationError(Problem.CAA, detail, FEW)


def _relevant(name: str, host: HostProvisioner, deadline: Deadline) -> tuple[str, Iterable[Any]]:
    """The CAA records of the name, or else of the nearest one above it that has any (RFC 8659 section 3)."""
    labels = name.split(".")
    for start in range(len(labels)):
        holder = ".".join(labels[start:])
        try:
            caa_records = records(holder, "CAA", host, deadline)
        except NoSuchNameError:
            continue
        if caa_records:
            return holder, caa_records
    return name, ()


def _permits(value: bytes, attempt: Attempt) -> bool:
    try:
        issuer = issue_value.read(value)
    except ValueError:
        return False  # RFC 8659 section 4.2: as if it named no CA
    methods = issuer.parameters.get("validationmethods")
    account = issuer.parameters.get("accounturi")
    return (
        attempt.issuer is not None
        and issuer.domain == attempt.issuer
        and (methods is None or attempt.kind in methods.split(","))
        and (account is None or account == attempt.account_url)
    )
