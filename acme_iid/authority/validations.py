"""Validating the standard challenges off the request's thread (RFC 8555 sections 7.5.1 and 8.2).

Answering one only notes that its first attempt is due. Whichever process sees that takes the attempt, under a lease,
looks at the network with no transaction open, and records what came of it. A process that ends in between leaves a
lease that runs out, and another takes the next attempt: nothing else has to survive.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from acme_iid import hosts
from acme_iid.authority import Authority, limits, refusals
from acme_iid.authority.rounds import Rounds
from acme_iid.errors import Fault, Problem, StoreUnavailableError
from acme_iid.hosts import HostProvisioner
from acme_iid.protocol.resources import Account, Authorization, Challenge, Order, Proof
from acme_iid.store import accounts, challenges, events, orders
from acme_iid.store.database import Transaction
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

_POLL_SECONDS = 1.0
_CLOUD = "acme"

_log = logging.getLogger(__name__)


def answer(authority: Authority, challenge_id: str, remote: str, now: int) -> None:
    """Note that a client asked for validation; once more changes nothing.

    :param remote: the client's address, for its turns and for the record.
    """
    with authority.database.transaction() as transaction:
        answered = challenges.set_answered(transaction, challenge_id, remote, limits.subject(remote), now)
    if answered:
        authority.answered.set()


class Links(Protocol):
    """Accounts' URLs, as clients see them."""

    def account(self, account_id: str) -> str:
        """An account's own."""

    @property
    def account_hashes(self) -> str:
        """What accounts' hashes begin with."""


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
        self._authority.answered.set()
        if self._dispatcher is not None:
            self._dispatcher.join()
        for attempt in tuple(self._attempts):
            attempt.join()

    def _dispatch(self) -> None:
        answered = self._authority.answered
        while not self._ending.is_set():
            answered.wait(_POLL_SECONDS)
            answered.clear()
            if self._ending.is_set():
                return
            try:
                self._take_due(int(time.time()))
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
                challenge_id = next(turns, None)
                if challenge_id is None:
                    return
                with self._authority.database.transaction() as transaction:
                    taken = challenges.take(transaction, challenge_id, now, now + LEASE)
                if taken:
                    attempt = threading.Thread(target=self._attempt, args=(challenge_id,), daemon=True)
                    self._attempts.add(attempt)
                    attempt.start()
                    begun = True
            finally:
                if not begun:
                    self._idle.release()

    def _attempt(self, challenge_id: str) -> None:
        try:
            make(self._authority, challenge_id, self._links)
        except StoreUnavailableError as error:
            _log.warning("What came of validating challenge %s was not recorded: %s", challenge_id, error)
        except Exception:  # noqa: BLE001 - a fault of ours in one attempt; the lease runs out
            _log.exception("validating challenge %s failed", challenge_id)
        finally:
            self._attempts.discard(threading.current_thread())
            self._idle.release()
            self._authority.answered.set()


def make(authority: Authority, challenge_id: str, links: Links) -> None:
    """Make the attempt that was taken, and record what came of it."""
    database = authority.database
    authorization = orders.authorization_of_challenge(database, challenge_id)
    assert authorization is not None  # authorizations are kept as long as their orders
    challenge = next(entry for entry in authorization.challenges if entry.id == challenge_id)
    account = accounts.get(database, authorization.account_id)
    assert account is not None  # accounts are never removed
    order = None if authorization.order_id is None else orders.get(database, authorization.order_id)
    config = authority.config if order is None else authority.config.giving(order.profile)
    host = hosts.giver(config.hosts, config.namespace, authorization.name, challenge.type)
    validation = _Validation(account, order, authorization, challenge, None if host is None else host.name)
    try:
        until = _look(authority, authorization, challenge, account, links, host)
    except ValidationError as error:
        with database.transaction() as transaction:
            validation.record_failure(transaction, error, int(time.time()))
    else:
        assert host is not None  # it was looked under it
        with database.transaction() as transaction:
            validation.record_valid(transaction, Proof(None, _CLOUD, host.name, ""), until, int(time.time()))


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
        earlier_thumbprints=accounts.earlier_thumbprints(authority.database, account.id),
        account_url=links.account(account.id),
        account_hash_prefix=links.account_hashes,
        issuer=authority.config.issuer_domain,
        now=int(time.time()),
        may_follow=lambda target: challenge.type in host.offers(authority.config.namespace, target),
    )
    return validate(attempt, host)


class _Validation:
    """An attempt at a challenge, and what it is recorded with."""

    def __init__(
        self,
        account: Account,
        order: Order | None,
        authorization: Authorization,
        challenge: Challenge,
        provisioner: str | None,
    ) -> None:
        self._authorization = authorization
        self._challenge = challenge
        self._names = (authorization.name,) if order is None else order.identifiers
        self._record: dict[str, object] = {
            "challenge": challenge.id,
            "type": challenge.type,
            "thumbprint": account.thumbprint,
            "remote": challenge.answered_from,
            "provisioner": provisioner,
            "attempts": challenge.attempts,
        }

    def record_valid(self, transaction: Transaction, proof: Proof, until: int | None, now: int) -> None:
        """Record a good outcome, or nothing if another attempt, or the end, came first.

        :param until: when the authorization runs out at the latest.
        """
        current = accounts.get(transaction, self._authorization.account_id)
        if current is None or current.thumbprint != self._record["thumbprint"]:
            changed = Fault(Problem.UNAUTHORIZED, "the account's key was changed, and what was found is the old one's")
            challenges.set_due(transaction, self._challenge, changed, now)
        elif challenges.set_valid(transaction, self._challenge, proof, now):
            if until is not None:
                orders.limit_authorization(transaction, self._authorization.id, until)
            if current.proven_at is None:
                accounts.set_proven(transaction, current.id, now)
            events.add(
                transaction,
                "challenge.valid",
                now,
                account_id=self._authorization.account_id,
                instance_id=None,
                cloud=_CLOUD,
                name=self._authorization.name.value,
                **self._record | {"identifiers": [name.value for name in self._names]},
            )

    def record_failure(self, transaction: Transaction, error: ValidationError, now: int) -> None:
        """Record a bad outcome: when to try again, or that it is final and the order with it."""
        attempts, fault = self._challenge.attempts, error.fault
        if attempts < error.worth:
            challenges.set_due(transaction, self._challenge, fault, now + PAUSES[attempts - 1])
            return
        _log.info("challenge %s refused after %d attempts: %s", self._challenge.id, attempts, fault.detail)
        if challenges.set_failed(transaction, self._challenge, fault, now):
            orders.end_of_authorization(transaction, self._authorization.id, fault, now)
            refusals.add(
                transaction,
                "challenge.refused",
                self._authorization.account_id,
                self._names,
                now,
                self._record | {"problem": fault.problem.code},
                reason=fault.detail,
                cloud=_CLOUD,
                name=self._authorization.name.value,
            )
