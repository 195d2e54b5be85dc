"""The circumstances of one request, which use cases take beside what it asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The sender's address and the time of one request.

    :ivar remote: the client's address, for limits and for the record.
    :ivar now: in seconds; it is read once a request, so that all that is decided for it is decided for one moment.
    :ivar waits: whether what is decided may wait for a signature of a key that is elsewhere.
    """

    remote: str
    now: int
    waits: bool = False


class MustWaitError(Exception):
    """A decision needs a signature of a key that is elsewhere, and runs where nothing waits for one."""
