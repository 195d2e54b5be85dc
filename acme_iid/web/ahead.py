"""What a request asks the store in any case, by its path: asked with the spending of its nonce, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.limit_settings import Limits
from acme_iid.store import accounts, certificates, order_counts, orders, serials
from acme_iid.store.writes import Question

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
        :param account_id: who sent it.
        """
        _, _, kind, *rest = path.split("/")[:4] if path.count("/") > 1 else ("", "", "")
        found = [accounts.question(account_id)]
        n = serials.first_number(rest[0]) if rest else None
        if kind == _NEW_ORDER:
            if self._most_open is not None:
                found.append(order_counts.question_of_open(account_id, now, self._most_open))
            found.append(order_counts.question_of_waiting(account_id, now))
        elif n is not None and kind in _OF_ORDER:
            found.append(orders.question(n))
        elif n is not None and kind == _OF_CERTIFICATE:
            found.append(certificates.question(n))
        return found


class KeysByAccount:
    """The keys that accounts had lately, as canonical JWK JSON: a signature is checked before the store is asked.

    :param most: how many are kept.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._keys: dict[str, str] = {}

    def get(self, account_id: str) -> str | None:
        """The key that an account had when it sent something last; it may have another one by now."""
        return self._keys.get(account_id)

    def put(self, account_id: str, key: str) -> None:
        """Note the key of an account."""
        if len(self._keys) >= self._most:
            # Those that are in use are back at once.
            self._keys = {}
        self._keys[account_id] = key
