"""The questions that a request asks the store in any case, with the spending of its nonce; and recent senders."""

from __future__ import annotations

import time
from collections.abc import Sequence

from acme_iid.config.limit_settings import Limits
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts, certificates, order_counts, orders, serials
from acme_iid.store.database import Database
from acme_iid.store.writes import Question, Reader

KNOWN_SECONDS = 5.0
"""The seconds that an account is known at most: a change by other programs is no change that the store tells of."""

_NEW_ORDER = "new-order"
_OF_ORDER = ("order", "authorization", "challenge")
_OF_CERTIFICATE = "certificate"


class Ahead:
    """The questions, for a store on another machine."""

    def __init__(self, limits: Limits) -> None:
        self._most_open = limits.open_orders_per_account

    def questions(self, path: str, account_id: str, now: int) -> Sequence[Question]:
        """Those of a request.

        :param path: such as ``/acme/order/1.AbC/finalize``.
        :param account_id: the id of the account that sent it.
        """
        _, _, kind, *rest = path.split("/")[:4] if path.count("/") > 1 else ("", "", "")
        questions = [accounts.question(account_id)]
        n = serials.first_number(rest[0]) if rest else None
        if kind == _NEW_ORDER:
            if self._most_open is not None:
                questions.append(order_counts.question_of_open(account_id, now, self._most_open))
            questions.append(order_counts.question_of_waiting(account_id, now))
        elif n is not None and kind in _OF_ORDER:
            questions.append(orders.question(n))
        elif n is not None and kind == _OF_CERTIFICATE:
            questions.append(certificates.question(n))
        return questions


class KnownAccounts:
    """The accounts that sent something lately.

    A signature is checked before the store is asked, with the key that the account had when it sent something last; it
    may have another one by now. The account itself is known only while the store says that none was changed.

    :param database: the store.
    :param most: the largest number of accounts that are kept.
    """

    def __init__(self, database: Database, most: int = 10_000) -> None:
        self._database = database
        self._most = most
        self._known: dict[str, tuple[Account, int | None, float]] = {}

    def key(self, account_id: str) -> str | None:
        """The key that an account had when it sent something last, as canonical JWK JSON."""
        known = self._known.get(account_id)
        return None if known is None else known[0].jwk

    def get(self, reader: Reader, account_id: str) -> Account | None:
        """The account with this id, as it is now.

        :param reader: is asked where it is not known.
        """
        generation, now = self._database.account_generation(), time.monotonic()
        known = self._known.get(account_id)
        if known is not None and generation is not None and known[1] == generation and now < known[2]:
            return known[0]
        # The number was looked at before the row: a change in between leaves what is kept out of date, not in force.
        account = accounts.get(reader, account_id)
        if account is not None:
            if len(self._known) >= self._most:
                # Those that are in use are back at once.
                self._known = {}
            self._known[account_id] = account, generation, now + KNOWN_SECONDS
        return account
