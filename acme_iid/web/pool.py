"""The threads beside the loop, and what is theirs.

The loop answers requests one after another; whatever waits for another machine, or may take more than a millisecond
for its worst input, would hold up all others. This module says what that is:

- everything, if the store is a database on another machine;
- bodies of more than 8 KiB;
- evidence that is verified with keys that may have to be fetched, or by more than two signatures;
- Flask's own pages: health, roots, revocation lists and OCSP, and whatever has no route.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from acme_iid.errors import AcmeError
from acme_iid.policy.clouds import formats
from acme_iid.serving.messages import Answer, Request
from acme_iid.web.jws import SignedRequest

T = TypeVar("T")

LOOP_BYTES = 8 * 1024
"""The longest body that the loop itself works on."""

_QUICK_FORMATS = frozenset(name for name, entry in formats().items() if entry.quick)
_THREADS = 16
_PAGE_THREADS = 4


class Pool:
    """Threads for what the loop does not do itself.

    :param remote: whether the store is on another machine.
    """

    def __init__(self, *, remote: bool = False) -> None:
        self._remote = remote
        self._requests = ThreadPoolExecutor(_THREADS, "request")
        # Their own, so that /health is answered while all others wait for the store.
        self._pages = ThreadPoolExecutor(_PAGE_THREADS, "page")

    def takes(self, request: Request) -> bool:
        """Whether a request is for these threads from its beginning."""
        return self._remote or len(request.body) > LOOP_BYTES

    @staticmethod
    def takes_evidence(signed: SignedRequest) -> bool:
        """Whether the answer to a challenge has evidence that is for these threads."""
        try:
            name = signed.json().get("format") if signed.payload else None
        except AcmeError:
            return False  # the view says what is wrong with it
        return name is not None and name not in _QUICK_FORMATS

    async def run(self, function: Callable[..., T], *arguments: object, **names: str) -> T:
        """Run a function in one of the threads, to its end even if nobody waits for it any more."""
        # With what belongs to the request: its id, which stands in what is logged there.
        called = partial(contextvars.copy_context().run, partial(function, *arguments, **names))
        return await asyncio.get_running_loop().run_in_executor(self._requests, called)

    async def page(self, function: Callable[[Request], Answer], request: Request) -> Answer:
        """Run a page of Flask's."""
        called = partial(contextvars.copy_context().run, function, request)
        return await asyncio.get_running_loop().run_in_executor(self._pages, called)

    def close(self) -> None:
        """End the threads, once they have done what they have."""
        self._requests.shutdown()
        self._pages.shutdown()
