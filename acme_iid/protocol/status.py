"""Statuses, derived from facts and the time (RFC 8555 section 7.1.6).

Nothing stores a status, so that it cannot fall behind the truth.
"""

from __future__ import annotations

from enum import StrEnum

from acme_iid.protocol.resources import Account, Authorization, Challenge, Order


class Status(StrEnum):
    """The words of RFC 8555 section 7.1.6."""

    PENDING = "pending"
    PROCESSING = "processing"
    READY = "ready"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


def of_account(account: Account) -> Status:
    """Valid until the account's owner deactivates it."""
    return Status.VALID if account.deactivated_at is None else Status.DEACTIVATED


def of_challenge(challenge: Challenge) -> Status:
    """Pending until answered, processing while a validation attempt is due or under way."""
    if challenge.validated_at is not None:
        return Status.VALID
    if challenge.failed_at is not None:
        return Status.INVALID
    return Status.PENDING if challenge.answered_at is None else Status.PROCESSING


def of_authorization(authorization: Authorization, now: int) -> Status:
    """One valid challenge makes it valid, until it is deactivated, revoked or runs out; one failed makes it invalid."""
    statuses = {of_challenge(challenge) for challenge in authorization.challenges}
    valid = Status.VALID in statuses
    if not valid and Status.INVALID in statuses:
        return Status.INVALID
    if authorization.deactivated_at is not None:
        return Status.DEACTIVATED
    if authorization.revoked_at is not None:
        return Status.REVOKED
    if authorization.expires_at <= now:
        # A pending authorization that runs out is "invalid"; only a valid one becomes "expired".
        return Status.EXPIRED if valid else Status.INVALID
    return Status.VALID if valid else Status.PENDING


def next_validation_end(authorization: Authorization, now: int) -> int | None:
    """The expected end of the soonest validation attempt; None if no attempt is due or under way."""
    if of_authorization(authorization, now) is not Status.PENDING:
        return None
    ends = [
        max(challenge.due_at or now, now) + 1
        for challenge in authorization.challenges
        if of_challenge(challenge) is Status.PROCESSING
    ]
    return min(ends, default=None)


def of_order(order: Order, now: int) -> Status:
    """Valid once issued; invalid once ended, expired, or any authorization can no longer be valid."""
    if order.issued_at is not None:
        return Status.VALID
    if order.ended_at is not None or order.expires_at <= now:
        return Status.INVALID
    statuses = [of_authorization(authorization, now) for authorization in order.authorizations]
    if any(status not in (Status.PENDING, Status.VALID) for status in statuses):
        return Status.INVALID
    return Status.READY if all(status is Status.VALID for status in statuses) else Status.PENDING
