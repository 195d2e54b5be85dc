"""Where a new order looks for what its account has proven: in the account's latest orders, and no index of its own."""

from __future__ import annotations

from collections.abc import Collection
from itertools import accumulate

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Order
from acme_iid.store import orders
from acme_iid.store.writes import Reader

_MOST_ORDERS = 256
_MOST_PROVEN = 64
"""Orders of an account that are looked at, and of these, orders with a proof."""
_MOST_BYTES = 64 * 1024
"""The size of the latter's documents together, at most: a request waits for their reading."""


def earlier(reader: Reader, account_id: str, names: Collection[Identifier], since: int) -> list[Order]:
    """An account's orders in which an instance may have proven any of the names, newest first.

    :param since: only orders that were made after that moment.
    """
    rows = reader.rows(
        f"""{orders.SELECT} WHERE o.account_id = :account_id AND o.ahead = 0 AND o.instance_id IS NOT NULL
              AND o.created_at > :since
              AND o.n >= COALESCE((SELECT n FROM orders WHERE account_id = :account_id AND ahead = 0
                                   ORDER BY n DESC LIMIT 1 OFFSET {_MOST_ORDERS - 1}), 0)
            ORDER BY o.n DESC LIMIT {_MOST_PROVEN}""",  # noqa: S608 - constants only
        account_id=account_id,
        since=since,
    )
    # To look for a name in the text is faster than to read the document.
    having = [row for row in rows if any(name.value in row["doc"] for name in names)]
    sizes = accumulate(len(row["doc"]) for row in having)
    return [orders.of_row(reader, row) for row, size in zip(having, sizes, strict=True) if size <= _MOST_BYTES]
