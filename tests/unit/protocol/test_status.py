"""Statuses follow from facts: every row of RFC 8555 section 7.1.6."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order
from acme_iid.protocol.status import Status, of_account, of_authorization, of_challenge, of_order

NOW = 1_800_000_000
FAULT = Fault(Problem.UNAUTHORIZED, "no")
PENDING = Challenge("c", "iid-01", "t")
VALID = replace(PENDING, validated_at=NOW - 5)
FAILED = replace(PENDING, failed_at=NOW - 5, error=FAULT)
AUTHORIZATION = Authorization("a", "acct", Identifier("dns", "foo.local"), False, NOW, NOW + 60, (PENDING,))
ORDER = Order("o", "acct", (Identifier("dns", "foo.local"),), NOW - 60, NOW + 60, authorizations=(AUTHORIZATION,))


def authorization(challenge: Challenge, **facts: int) -> Authorization:
    changed = replace(AUTHORIZATION, challenges=(challenge,))
    return replace(changed, **facts)  # type: ignore[arg-type]  # every fact given by name here is a time


@pytest.mark.parametrize(
    ("challenge", "status"), [(PENDING, Status.PENDING), (VALID, Status.VALID), (FAILED, Status.INVALID)]
)
def test_a_challenges_status(challenge: Challenge, status: Status) -> None:
    assert of_challenge(challenge) is status


@pytest.mark.parametrize(
    ("challenge", "facts", "status"),
    [
        (PENDING, {}, Status.PENDING),
        (VALID, {}, Status.VALID),
        (FAILED, {}, Status.INVALID),
        (PENDING, {"expires_at": NOW}, Status.INVALID),
        (VALID, {"expires_at": NOW}, Status.EXPIRED),
        (VALID, {"expires_at": NOW + 1}, Status.VALID),
        (FAILED, {"expires_at": NOW}, Status.INVALID),
        (PENDING, {"deactivated_at": NOW}, Status.DEACTIVATED),
        (VALID, {"deactivated_at": NOW}, Status.DEACTIVATED),
        (VALID, {"revoked_at": NOW}, Status.REVOKED),
        (VALID, {"revoked_at": NOW, "expires_at": NOW}, Status.REVOKED),
        (VALID, {"deactivated_at": NOW, "expires_at": NOW}, Status.DEACTIVATED),
    ],
)
def test_an_authorizations_status(challenge: Challenge, facts: dict[str, int], status: Status) -> None:
    assert of_authorization(authorization(challenge, **facts), NOW) is status


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (ORDER, Status.PENDING),
        (replace(ORDER, authorizations=(authorization(VALID),)), Status.READY),
        (replace(ORDER, authorizations=(authorization(VALID), AUTHORIZATION)), Status.PENDING),
        (replace(ORDER, authorizations=(authorization(VALID), authorization(FAILED))), Status.INVALID),
        (replace(ORDER, authorizations=(authorization(VALID, revoked_at=NOW),)), Status.INVALID),
        (replace(ORDER, authorizations=(authorization(VALID, expires_at=NOW),)), Status.INVALID),
        (replace(ORDER, authorizations=(authorization(VALID),), ended_at=NOW), Status.INVALID),
        (replace(ORDER, authorizations=(authorization(VALID),), expires_at=NOW), Status.INVALID),
        (replace(ORDER, issued_at=NOW - 5, authorizations=(authorization(VALID),)), Status.VALID),
        (replace(ORDER, issued_at=NOW - 5, expires_at=NOW, authorizations=(authorization(VALID),)), Status.VALID),
    ],
)
def test_an_orders_status(order: Order, status: Status) -> None:
    assert of_order(order, NOW) is status


def test_an_accounts_status() -> None:
    account = Account("acct", "{}", "thumb", (), NOW)
    assert of_account(account) is Status.VALID
    assert of_account(replace(account, deactivated_at=NOW)) is Status.DEACTIVATED


times = st.one_of(st.none(), st.integers(NOW - 100, NOW + 100))
challenges = st.builds(
    lambda validated, failed: replace(PENDING, validated_at=validated, failed_at=None if validated else failed),
    times,
    times,
)
authorizations = st.builds(
    lambda challenge, expires, deactivated, revoked: replace(
        AUTHORIZATION,
        challenges=(challenge,),
        expires_at=expires,
        deactivated_at=deactivated,
        revoked_at=revoked,
    ),
    challenges,
    st.integers(NOW - 100, NOW + 100),
    times,
    times,
)


@given(
    st.builds(
        lambda found, ended, expires: replace(ORDER, authorizations=tuple(found), ended_at=ended, expires_at=expires),
        st.lists(authorizations, min_size=1, max_size=4),
        times,
        st.integers(NOW - 100, NOW + 100),
    )
)
def test_an_order_is_ready_only_if_not_ended_and_all_authorizations_valid(order: Order) -> None:
    every_valid = all(
        entry.challenges[0].validated_at is not None
        and entry.deactivated_at is None
        and entry.revoked_at is None
        and entry.expires_at > NOW
        for entry in order.authorizations
    )
    ready = every_valid and order.ended_at is None and order.expires_at > NOW
    assert (of_order(order, NOW) is Status.READY) == ready
