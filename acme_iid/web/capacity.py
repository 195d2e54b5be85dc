"""The limit on requests inside at a time: those above it are refused at once, before anything is done for them.

A request that waits inside has its nonce spent and keeps its client waiting. A server with more to do than it can would
let all of them run out of time, half done; so those without room are told to come later, each after another time.
Orders under way go first. A new order or account is let in while less than a quarter of the room is taken by requests
that came before it or with it. While the loop takes long for a turn, it is also refused if half of the room has been
given to orders that have begun lately and not come to their end. So there is room for what follows from them.

A handshake costs as much as a third of a certificate, and whoever is refused has had one. So connections are accepted
as there is little to do, and while there is enough, a few for those who come for something else. The others wait with
the kernel, where they cost nothing.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from acme_iid.errors import AcmeError, Problem
from acme_iid.web.appointments import LEAST, Appointments

MOST = 512
"""Requests inside one process at a time."""

BEGINNING = frozenset({"acme.new_order", "acme.new_account"})
"""The routes that begin something."""

# These are answered from memory; and a server with much to do is not a broken one.
_ALWAYS = frozenset({"acme.directory", "acme.new_nonce", "public.health", "probes.livez", "probes.readyz"})
_ORDER, _END = "acme.new_order", "acme.finalize"
_UNDER_WAY_SECONDS = 2.0  # an order counts as under way at most: it may wait for others, or its client have left
_LONG_TURN = 0.1  # seconds of a turn of the loop: that of a hundred requests
_LATELY = 0.5  # seconds since there was a long one
_BUSY_TURN = 0.02  # seconds of a turn in which there is enough to do
_BUSY_SECONDS = 0.05  # since there was such a one
_CONNECTIONS = 400  # accepted a second, while there is less
_FURTHER_CONNECTIONS = 50  # while there is enough
_MOST_CONNECTIONS = 16.0  # accepted in a row


class Capacity:
    """The room for requests of one process; the loop alone uses it.

    :param most: the largest number of requests that are inside at a time.
    :param clock: seconds that only grow.
    :param chance: the source of random numbers.
    """

    def __init__(
        self,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._most = most
        self._inside = 0
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._appointments = Appointments(clock, self._chance)
        self._under_way: deque[float] = deque()
        self._late_until = 0.0
        self._busy_until = 0.0
        self._connections = _MOST_CONNECTIONS
        self._counted_at = clock()

    @contextmanager
    def entered(self, endpoint: str) -> Iterator[None]:
        """Be inside while the block runs.

        :param endpoint: Flask's name of the route.
        :raises AcmeError: ``serverInternal`` with status 503 and Retry-After if there is no room.
        """
        begins = endpoint in BEGINNING
        if endpoint not in _ALWAYS and not (self._has_room_for_new() if begins else self._inside < self._most):
            raise self._overload_error(begins)
        if begins:
            self._appointments.take()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if endpoint == _END and self._under_way:
                self._under_way.popleft()
        if endpoint == _ORDER:
            self._under_way.append(self._clock())

    def note_turn(self, seconds: float) -> None:
        """Note how long a turn of the loop took."""
        now = self._clock()
        if seconds > _BUSY_TURN:
            self._busy_until = now + _BUSY_SECONDS
        if seconds > _LONG_TURN:
            self._late_until = now + _LATELY

    def takes_connection(self) -> bool:
        """Whether a connection is to be accepted now; if so, it counts as accepted."""
        now = self._clock()
        a_second = _CONNECTIONS if now >= self._busy_until else _FURTHER_CONNECTIONS
        self._connections = min(self._connections + (now - self._counted_at) * a_second, _MOST_CONNECTIONS)
        self._counted_at = now
        if self._connections < 1:
            return False
        self._connections -= 1
        return True

    def _has_room_for_new(self) -> bool:
        now = self._clock()
        while self._under_way and self._under_way[0] < now - _UNDER_WAY_SECONDS:
            self._under_way.popleft()
        if now < self._late_until and len(self._under_way) >= self._most // 2:
            return False
        return self._inside < self._most // 4

    def _overload_error(self, begins: bool) -> AcmeError:
        # A client in the midst of an order is soon let in.
        seconds = self._appointments.refuse() if begins else self._chance.choice(LEAST)
        return AcmeError(
            Problem.SERVER_INTERNAL,
            "the server has more to do than it can now; nothing was changed, try again later",
            status=503,
            headers={"Retry-After": str(seconds)},
        )
