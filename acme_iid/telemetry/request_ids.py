"""The id of a request: in each line that it leaves in the log, in its answer's header and in a problem document.

It is made here for each request; one that a client sends is not looked at, so nobody chooses what stands in the log. It
goes with the request from the loop into threads, where whoever hands work to them takes the context along.
"""

from __future__ import annotations

import secrets
from contextvars import ContextVar

HEADER = "X-Request-Id"
"""The header of an answer."""
MEMBER = "requestId"
"""The member of a problem document."""

_current: ContextVar[str | None] = ContextVar("request", default=None)


def begin() -> str:
    """The id of a request that begins now; all that follows in this context belongs to it."""
    id_ = secrets.token_hex(8)
    _current.set(id_)
    return id_


def current() -> str | None:
    """The id of the request that this is done for; None if it is done for none."""
    return _current.get()
