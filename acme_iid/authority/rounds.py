"""The order in which attempts at challenges are made (rfc-notes/decisions/0018-fairness.md).

Addresses take turns, and what an address, an account and a target have under way is bounded: whoever asks for a
thousand attempts at hosts that never answer fills a part of the threads, in all processes together, and no more.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator

from acme_iid.store import attempts
from acme_iid.store.attempts import MOST_AT_TARGET, MOST_OF_ACCOUNT, MOST_OF_ADDRESS, Asked
from acme_iid.store.writes import Reader


class Rounds:
    """One process's memory of the turns of those who wait: each process takes turns by itself.

    :ivar idle: whether nobody waited when it was looked last.
    """

    def __init__(self) -> None:
        self.idle = False
        self._served: dict[str, tuple[int, str]] = {}
        self._turns = itertools.count(1)

    def due(self, reader: Reader, now: int) -> Iterator[Asked]:
        """The challenges whose attempts are due, in the order of their turns.

        The next address is the one with the fewest attempts under way, and of those the one that has waited longest
        since its last turn. An attempt that is yielded counts as under way then, so the caller must try to take it.
        """
        reader = reader.ahead(*attempts.questions(now))
        under_way = attempts.under_way(reader, now)
        addresses = Counter(entry.requester for entry in under_way)
        accounts = Counter(entry.account_id for entry in under_way)
        targets = Counter(entry.target for entry in under_way)
        waiting = attempts.requesters(reader)
        self.idle = not waiting and not under_way
        self._served = {address: served for address, served in self._served.items() if address in waiting}
        turns = [(addresses[address], self._last(address)[0], address) for address in waiting]
        heapq.heapify(turns)
        while turns:
            count, _, address = heapq.heappop(turns)
            if count >= MOST_OF_ADDRESS:
                continue
            attempt = attempts.next_of(
                reader,
                address,
                now,
                after=self._last(address)[1],
                accounts=_full(accounts, MOST_OF_ACCOUNT),
                targets=_full(targets, MOST_AT_TARGET),
            )
            if attempt is None:
                continue
            accounts[attempt.account_id] += 1
            targets[attempt.target] += 1
            self._served[address] = next(self._turns), attempt.target
            heapq.heappush(turns, (count + 1, self._served[address][0], address))
            yield attempt

    def _last(self, address: str) -> tuple[int, str]:
        """The number of an address's last turn, and the target of it."""
        return self._served.get(address, (0, ""))


def _full(counted: Counter[str], most: int) -> list[str]:
    return [name for name, count in counted.items() if count >= most]
