"""Validating the standard challenges off the request's thread (RFC 8555 sections 7.5.1 and 8.2).

Answering one only notes that its first attempt is due. Whichever process sees that takes the attempt, under a lease,
looks at the network with no transaction open, and records what came of it. A process that ends in between leaves a
lease that runs out, and another takes the next attempt: nothing else has to survive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from acme_iid.authority import Authority, limits, refusals, signers
from acme_iid.authority.context import RequestContext
from acme_iid.authority.rounds import Rounds
from acme_iid.errors import Fault, Problem, StoreUnavailableError
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.protocol.resources import Account, Authorization, Challenge, Proof
from acme_iid.protocol.status import Status, of_authorization, of_order
from acme_iid.store import accounts, attempts, orders
from acme_iid.store.chain import Event
from acme_iid.store.orders import LocatedChallenge
from acme_iid.store.writes import Reader, Row, Write, perform
from acme_iid.validation import validate
from acme_iid.validation.attempt import MANY, ONCE, SECONDS, Attempt, ValidationError

PAUSES = (1, 3, 9, 20, 30)
"""Seconds between attempts: what a host or the DNS needs to show what it was told to."""
LEASE = 2 * int(SECONDS) + 5
"""Seconds that an attempt is one process's. It is over before that, whatever a host does."""
MOST = 64
"""Attempts at a time in one process. Each has a thread, which waits for others nearly all the while."""
_TRIES = 4 * MOST
"""Attempts that are tried to be taken before it is looked anew whose turn it is."""

_RECORD_ATTEMPTS = 2 * MOST
"""The largest number of tries to record an outcome: those of an order's other names change the same row."""
_POLL_SECONDS, _MOST_POLL_SECONDS = 1.0, 5.0
_CLOUD = "acme"

Answered = tuple[Authorization, Challenge]
"""A challenge as it is, with its authorization."""

_log = logging.getLogger(__name__)


def ask(authority: Authority, context: RequestContext, account: Account, located: LocatedChallenge) -> Write[Answered]:
    """Note that a client asked for validation; once more changes nothing.

    The client's address is kept for its turns and for the record.

    :returns: the challenge as it then is, with its authorization.
    """
    asked = replace(located.challenge, answered_at=context.now, answered_from=context.remote, due_at=context.now)

    def answer(_rows: Sequence[Row]) -> Answered:
        authority.validation_requested.set()
        order = orders.changed(located, asked)
        return next((entry, asked) for entry in order.authorizations if asked in entry.challenges)

    statements = [
        signers.guard(account),
        orders.unchanged(located.order, context.now),
        attempts.ask(located, context.remote, limits.subject(context.remote), context.now),
    ]
    return Write(statements, answer)


class Links(Protocol):
    """Accounts' URLs, as clients see them."""

    def account(self, account_id: str) -> str:
        """An account's own."""

    @property
    def account_hashes(self) -> str:
        """The beginning of accounts' hashes."""


class Validations:
    """The threads of one process that make the attempts that are due, this process's or any other's.

    :param links: the URLs of accounts.
    """

    def __init__(self, authority: Authority, links: Links) -> None:
        self._authority = authority
        self._links = links
        self._idle = threading.Semaphore(MOST)
        self._rounds = Rounds()
        self._ending = threading.Event()
        self._dispatcher: threading.Thread | None = None
        self._attempts: set[threading.Thread] = set()

    def start(self) -> None:
        """Begin. The threads end with the process, which need not wait for them."""
        # Without a provisioner of this type nothing can be due that could be validated.
        if self._authority.config.hosts:
            self._dispatcher = threading.Thread(target=self._dispatch, daemon=True)
            self._dispatcher.start()

    def stop(self) -> None:
        """Take no more attempts, and wait until those that were taken have ended."""
        self._ending.set()
        self._authority.validation_requested.set()
        if self._dispatcher is not None:
            self._dispatcher.join()
        for attempt in tuple(self._attempts):
            attempt.join()

    def _dispatch(self) -> None:
        requested = self._authority.validation_requested
        pause = _POLL_SECONDS
        while not self._ending.is_set():
            requested.wait(pause)
            requested.clear()
            if self._ending.is_set():
                return
            try:
                self._take_due(int(time.time()))
                # A request to this process wakes it; of the others' there is nothing to take over for long.
                pause = min(2 * pause, _MOST_POLL_SECONDS) if self._rounds.idle else _POLL_SECONDS
            except StoreUnavailableError as error:
                _log.warning("No challenge is validated now: %s", error)
            except Exception:  # noqa: BLE001 - a fault of ours must not end validation for good
                _log.exception("looking for challenges that are due failed")

    def _take_due(self, now: int) -> None:
        """Take what is due, as far as there is room for it: a lease must not run out in a queue."""
        turns = self._rounds.due(self._authority.database, now)
        for _ in range(_TRIES):
            if not self._idle.acquire(blocking=False):
                return
            begun = False
            try:
                asked = next(turns, None)
                if asked is None:
                    return
                if perform(self._authority.database, partial(take, asked=asked, now=now)):
                    attempt = threading.Thread(target=self._attempt, args=(asked,), daemon=True)
                    self._attempts.add(attempt)
                    attempt.start()
                    begun = True
            finally:
                if not begun:
                    self._idle.release()

    def _attempt(self, asked: attempts.Asked) -> None:
        try:
            make(self._authority, asked, self._links)
        except StoreUnavailableError as error:
            _log.warning("The outcome of validating challenge %s was not recorded: %s", asked, error)
        except Exception:  # noqa: BLE001 - a fault of ours in one attempt; the lease runs out
            _log.exception("validating challenge %s failed", asked)
        finally:
            self._attempts.discard(threading.current_thread())
            self._idle.release()
            self._authority.validation_requested.set()


def _locate(reader: Reader, asked: attempts.Asked) -> LocatedChallenge | None:
    """The challenge of an attempt, and what it stands in, if it can still lead to something."""
    order = orders.by_number(reader, asked.n)
    return None if order is None else orders.locate(order, asked.i, asked.k)


def take(reader: Reader, asked: attempts.Asked, now: int) -> Write[bool]:
    """Take an attempt; what has ended is not looked at again."""
    located = _locate(reader, asked)
    account = None if located is None else accounts.get(reader, located.order.account_id)
    if located is None or account is None or account.deactivated_at is not None or _is_over(located, now):
        return Write([attempts.drop(asked)], lambda _rows: False)
    return Write([attempts.take(asked, now, now + LEASE)], bool)


def _is_over(located: LocatedChallenge, now: int) -> bool:
    """Whether an authorization can become valid no more, or serve nobody."""
    ended = not located.order.ahead and of_order(located.order, now) is Status.INVALID
    return ended or of_authorization(located.authorization, now) is not Status.PENDING


def make(authority: Authority, asked: attempts.Asked, links: Links) -> None:
    """Make the attempt that was taken, and record what came of it."""
    database = authority.database
    located = _locate(database, asked)
    if located is None:
        return  # it has gone with its order
    account = accounts.get(database, located.order.account_id)
    assert account is not None  # accounts are never removed
    profile = None if located.order.ahead else located.order.profile
    host = authority.config.policy.giver(located.authorization.name, located.challenge.type, profile)
    try:
        until = _look(authority, located.authorization, located.challenge, account, links, host)
    except ValidationError as error:
        decide = partial(_failed, located=located, account=account, error=error, host=host)
    else:
        assert host is not None  # it was looked under it
        decide = partial(_valid, located=located, account=account, until=until, host=host)
    perform(database, decide, _RECORD_ATTEMPTS)


def _look(
    authority: Authority,
    authorization: Authorization,
    challenge: Challenge,
    account: Account,
    links: Links,
    host: HostProvisioner | None,
) -> int | None:
    """Look at the network once; returns until when what was found may be relied on, None for as long as ever.

    :raises ValidationError: if what is there is not what the challenge asks for, or it may not be looked.
    """
    if (reason := authority.config.namespace.refusal(authorization.name)) is not None:
        raise ValidationError(Problem.REJECTED_IDENTIFIER, reason, ONCE)
    if host is None:
        raise ValidationError(
            Problem.UNAUTHORIZED, f"no provisioner lets {authorization.name} be proven by {challenge.type}", ONCE
        )
    if challenge.attempts > MANY:
        # Each of them ended without an outcome: the server was stopped, or could not record it.
        raise ValidationError(Problem.SERVER_INTERNAL, "the server was interrupted too often; order again", ONCE)
    attempt = Attempt(
        kind=challenge.type,
        identifier=authorization.identifier,
        wildcard=authorization.wildcard,
        token=challenge.token,
        thumbprint=account.thumbprint,
        earlier_thumbprints=account.earlier_thumbprints,
        account_url=links.account(account.id),
        account_hash_prefix=links.account_hashes,
        issuer=authority.config.issuer_domain,
        now=int(time.time()),
        may_follow=lambda target: challenge.type in host.offers(authority.config.namespace, target),
    )
    return validate(attempt, host)


def _record(located: LocatedChallenge, account: Account, host: HostProvisioner | None) -> dict[str, Any]:
    return {
        "challenge": located.challenge.id,
        "type": located.challenge.type,
        "thumbprint": account.thumbprint,
        "remote": located.challenge.answered_from,
        "provisioner": None if host is None else host.name,
        "attempts": located.challenge.attempts,
    }


def _again(reader: Reader, located: LocatedChallenge, now: int) -> LocatedChallenge | None:
    """The same attempt as it stands by now; None if another one, or the end, came first."""
    current = orders.of_challenge_id(reader, located.challenge.id)
    if current is None or _is_over(current, now) or current.challenge.attempts != located.challenge.attempts:
        return None
    return current


def _valid(
    reader: Reader, located: LocatedChallenge, account: Account, until: int | None, host: HostProvisioner
) -> Write[None] | None:
    """Record a good outcome, or nothing if another attempt, or the end, came first.

    :param account: as it was when it was looked.
    :param until: when the authorization runs out at the latest.
    """
    now = int(time.time())
    current, owner = _again(reader, located, now), accounts.get(reader, account.id)
    if current is None or owner is None or owner.deactivated_at is not None:
        return None
    if owner.thumbprint != account.thumbprint:
        changed = Fault(
            Problem.UNAUTHORIZED,
            "the account's key was changed, and the response that was found is bound to the old one",
        )
        return Write([attempts.postpone(current, changed, now)], _nothing)
    met = replace(current.challenge, validated_at=now, proof=Proof(None, _CLOUD, host.name, ""), error=None)
    statements = [
        accounts.set_proven(owner, now) if owner.proven_at is None else accounts.in_force(owner),
        orders.change(orders.changed(current, met, until), now),
        *attempts.decide(current),
    ]
    event = Event(
        "challenge.valid",
        now,
        account_id=account.id,
        cloud=_CLOUD,
        name=current.authorization.name.value,
        detail={
            "identifiers": [name.value for name in current.order.identifiers],
            **_record(current, account, host),
        },
    )
    return Write(statements, _nothing, [event])


def _failed(
    reader: Reader, located: LocatedChallenge, account: Account, error: ValidationError, host: HostProvisioner | None
) -> Write[None] | None:
    """Record a bad outcome: when to try again, or that it is final and the order with it."""
    now = int(time.time())
    current = _again(reader, located, now)
    if current is None:
        return None
    number, fault = current.challenge.attempts, error.fault
    if number < error.worth:
        return Write([attempts.postpone(current, fault, now + PAUSES[number - 1])], _nothing)
    order, _ = orders.failed(current, fault, now)
    recorded = refusals.record(
        reader,
        "challenge.refused",
        account.id,
        current.order.identifiers,
        now,
        _record(current, account, host) | {"problem": fault.problem.code},
        reason=fault.detail,
        cloud=_CLOUD,
        name=current.authorization.name.value,
    )
    statements = [orders.change(order, now), *attempts.decide(current), *recorded.statements]
    return Write(statements, _nothing, recorded.events, recorded.repeated)


def _nothing(_rows: Sequence[Row]) -> None:
    return None
