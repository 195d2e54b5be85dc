"""Calls the views of ACME's resources: with a checked request, in the loop or in a thread beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

from acme_iid.authority.context import MustWaitError, RequestContext
from acme_iid.errors import AcmeError, Problem, StoreConflictError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.addresses import Network
from acme_iid.serving.messages import MAX_REQUEST_BYTES, Answer, Request
from acme_iid.store.batches import Batches
from acme_iid.store.writes import Committing, Decision, Reader, Write, perform
from acme_iid.web.jws import Gate, SignedRequest, require_account
from acme_iid.web.pool import Pool
from acme_iid.web.remote import client_address

SignedView = Callable[..., Answer | Write[Answer]]
"""A view of a checked request: it decides, with a reader of the store, the request and the rule's variables."""

_chance = random.SystemRandom()
_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds, at most, before a view runs again for which the store had no turn."""


class Door:
    """The entrance before all views.

    :param store: the store that views read and write.
    :param batches: the commits that the loop's requests share; None where each has one of its own, in a thread.
    :param proxies: the networks of proxies that are believed about whose request it is.
    :param ca: the CA, of which some issuer signs what a view issues.
    """

    def __init__(
        self,
        gate: Gate,
        pool: Pool,
        store: Committing,
        batches: Batches | None,
        proxies: Collection[Network],
        ca: CertificateAuthority,
    ) -> None:
        self.gate = gate
        self.ca = ca
        self.pool = pool
        self.store = store
        self.batches = batches
        self._proxies = proxies

    def check(self, request: Request, *, waits: bool = False) -> SignedRequest:
        """Check a request and say who sent it.

        :param waits: whether what is decided for it may wait for a signature of a key that is elsewhere.
        :raises AcmeError: saying what is wrong with it.
        """
        # The server has refused it before; another server for the application may not have.
        if len(request.body) > MAX_REQUEST_BYTES:
            raise AcmeError(Problem.MALFORMED, f"the request is larger than {MAX_REQUEST_BYTES} bytes", status=413)
        remote = client_address(request.peer, request.forwarded, self._proxies)
        return self.gate.check(request, RequestContext(remote, int(time.time()), waits))


class _MovedError(Exception):
    """A checked request is to be answered by a thread that waits for signatures."""

    def __init__(self, signed: SignedRequest) -> None:
        super().__init__()
        self.signed = replace(signed, context=replace(signed.context, waits=True))


class Signed:
    """A view of signed requests.

    :param evidence: whether its requests may hold evidence.
    :param signs: whether it issues something.
    """

    def __init__(self, door: Door, view: SignedView, *, evidence: bool = False, signs: bool = False) -> None:
        self._door = door
        self._view = view
        self._evidence = evidence
        self._signs = signs

    async def __call__(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        pool = self._door.pool
        if self._signs and self._door.ca.current.signs_elsewhere:
            return await pool.sign(self.now, request, **names)
        try:
            return await self._without_waiting(request, names)
        except _MovedError as moved:
            # Another issuer signs since a moment ago.
            return await pool.sign(self._answered, moved.signed, **names)

    async def _without_waiting(self, request: Request, names: dict[str, str]) -> Answer:
        pool = self._door.pool
        if pool.takes(request):
            return await pool.run(self._checked, request, **names)
        signed = self._door.check(request)
        batches = self._door.batches
        if batches is None or (self._evidence and pool.takes_evidence(signed)):
            return await pool.run(self._answered, signed, **names)
        try:
            return await batches.perform(partial(self._view, signed=signed, **names))
        except MustWaitError as error:
            raise _MovedError(signed) from error

    def now(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        return self._answered(self._door.check(request, waits=True), **names)

    def _checked(self, request: Request, **names: str) -> Answer:
        return self._answered(self._door.check(request), **names)

    def _answered(self, signed: SignedRequest, **names: str) -> Answer:
        try:
            return self._performed(signed, names)
        except MustWaitError as error:
            raise _MovedError(signed) from error

    def _performed(self, signed: SignedRequest, names: dict[str, str]) -> Answer:
        decide: Decision[Answer] = partial(self._view, signed=signed, **names)
        # The nonce is spent, and of what was written nothing was kept.
        first: Reader | None = signed.reader
        for pause in _PAUSES:
            try:
                return perform(self._door.store, decide, first=first)
            except StoreConflictError:
                first = None
                time.sleep(pause * _chance.random())
        return perform(self._door.store, decide)


class Open:
    """A view of requests that anybody may send.

    :param view: takes the request and the rule's variables.
    :param reads: whether it asks the store.
    """

    def __init__(self, door: Door, view: Callable[..., Answer], *, reads: bool) -> None:
        self._pool = door.pool
        self._view = view
        self._reads = reads

    async def __call__(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        if self._reads and self._pool.takes(request):
            return await self._pool.run(self._view, request, **names)
        return self._view(request, **names)

    def now(self, request: Request, **names: str) -> Answer:
        """See :class:`~acme_iid.web.application.Direct`."""
        return self._view(request, **names)


def as_get(view: Callable[..., Answer]) -> SignedView:
    """``view``, which anybody may GET, for POST-as-GET (RFC 8555 section 6.3)."""

    def read(_reader: Reader, signed: SignedRequest, **names: Any) -> Answer:
        require_account(signed)
        signed.require_post_as_get()
        return view(None, **names)

    return read
