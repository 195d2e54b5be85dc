"""The entrance: a request is answered for whoever is at the other end of its connection, within limits."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Protocol

from cryptography import x509

from acme_iid.admin import problems
from acme_iid.admin.identity import Caller, Peer, Roles, peer_of
from acme_iid.admin.limits import Limits
from acme_iid.admin.problems import RETRY_AFTER, Problem, ProblemError
from acme_iid.errors import AcmeError
from acme_iid.serving.messages import Answer, Request
from acme_iid.telemetry import request_ids

THREADS = 16
MOST_INSIDE = 64
"""Requests that are answered, or wait for a thread, at a time."""

REFUSALS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }
)
"""The statuses by which a caller is locked out in the end."""
_OF_STATUS = {413: Problem.TOO_LARGE, 503: Problem.UNAVAILABLE}

_log = logging.getLogger("acme_iid.admin")


class Responder(Protocol):
    """Answers requests of callers who are known."""

    def respond(self, request: Request, caller: Caller) -> Answer:
        """Answer a request; threads call it."""


class Entrance:
    """Answers what comes on the sockets for operators.

    :param responder: answers once it is known who asks.
    :param roles: who has which role.
    :param own: the certificates of this CA's issuers and roots.
    :param limits: the limits on callers.
    """

    def __init__(
        self,
        responder: Responder,
        roles: Roles,
        own: Callable[[], Sequence[x509.Certificate]],
        limits: Limits | None = None,
    ) -> None:
        self._responder = responder
        self._roles = roles
        self._own = own
        self._limits = limits or Limits()
        self._pool = ThreadPoolExecutor(THREADS, "operators")
        self._inside = 0

    def takes_connection(self) -> bool:
        """See :meth:`~acme_iid.serving.application.Answering.takes_connection`."""
        return True

    async def answer(self, request: Request) -> Answer:
        """See :meth:`~acme_iid.serving.application.Answering.answer`."""
        request_ids.begin()
        peer: Peer | None = None
        try:
            peer = peer_of(request.transport, self._own)
            with self._limits.entered(peer.key):
                answer = await self._in_a_thread(request, peer)
        except ConnectionError:
            raise  # nobody is there any more
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told as a problem
            answer = _finished(problems.answer_of(error))
        if peer is not None:
            self._note(peer, answer.status)
        return answer

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        """See :meth:`~acme_iid.serving.application.Answering.refusal`."""
        request_ids.begin()
        problem = _OF_STATUS.get(error.status, Problem.BAD_REQUEST)
        answer = _finished(problems.answer_of(ProblemError(problem, error.detail, headers=error.headers)))
        self._note(peer_of(request.transport, self._own), answer.status)
        return answer

    def failure(self, error: Exception) -> Answer:
        """See :meth:`~acme_iid.serving.application.Answering.failure`."""
        request_ids.begin()
        if isinstance(error, AcmeError):
            error = ProblemError(Problem.BAD_REQUEST, error.detail)
        return _finished(problems.answer_of(error))

    def close(self) -> None:
        """End its threads, once it answers no more requests."""
        self._pool.shutdown()

    async def _in_a_thread(self, request: Request, peer: Peer) -> Answer:
        if self._inside >= MOST_INSIDE:
            detail = "the server has more to do than it can now; nothing was changed, try again later"
            raise ProblemError(Problem.UNAVAILABLE, detail, headers={"Retry-After": RETRY_AFTER})
        self._inside += 1
        try:
            run = contextvars.copy_context().run
            return await asyncio.get_running_loop().run_in_executor(self._pool, run, self._respond, request, peer)
        finally:
            self._inside -= 1

    def _respond(self, request: Request, peer: Peer) -> Answer:
        caller = self._roles.caller(peer)
        answer = self._responder.respond(request, caller)
        if answer.status == HTTPStatus.FORBIDDEN:
            actor = caller.actor(None).facts()
            _log.warning("an operator was refused", extra={"facts": actor})
        return answer

    def _note(self, peer: Peer, status: int) -> None:
        """Count a refusal. Whoever has the CA's files anyway has nothing to find out, and is not locked out."""
        if status not in REFUSALS or peer.is_owner:
            return
        seconds = self._limits.note_refusal(peer.key)
        if seconds is not None:
            _log.warning("%s is locked out for %d s after many refusals", peer.key, seconds)


def _finished(answer: Answer) -> Answer:
    """An answer with the headers that every one has."""
    answer.add(request_ids.HEADER, request_ids.current() or "")
    answer.add("Cache-Control", "no-store")
    return answer
