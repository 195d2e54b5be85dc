"""How many requests are inside at a time: those above it are refused at once, before anything is done for them.

What waits inside has its nonce spent and keeps its client waiting. A server with more to do than it can would let all
of them run out of time, half done; so the ones that there is no room for are told to come later, each after another
time. Half of the room is for what goes on with an order: new orders and accounts are refused first.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from acme_iid.errors import AcmeError, Problem

MOST = 256
"""Requests inside one process at a time."""
RETRY_SECONDS = range(3, 12)
"""What Retry-After says to those that are refused, one of these by chance."""

_BEGINNING = frozenset({"acme.new_order", "acme.new_account"})
# What is answered from memory; and a server with much to do is not a broken one.
_ALWAYS = frozenset({"acme.directory", "acme.new_nonce", "public.health"})


class Capacity:
    """The room for requests of one process; the loop alone uses it.

    :param most: how many are inside at a time.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._inside = 0

    @contextmanager
    def entered(self, endpoint: str) -> Iterator[None]:
        """Be inside while the block runs.

        :param endpoint: Flask's name of the route.
        :raises AcmeError: ``serverInternal`` with status 503 and Retry-After if there is no room.
        """
        most = self._most // 2 if endpoint in _BEGINNING else self._most
        if self._inside >= most and endpoint not in _ALWAYS:
            raise AcmeError(
                Problem.SERVER_INTERNAL,
                "the server has more to do than it can now; nothing was changed, try again later",
                status=503,
                headers={"Retry-After": str(secrets.choice(RETRY_SECONDS))},
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
