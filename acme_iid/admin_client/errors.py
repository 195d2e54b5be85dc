"""What is wrong where the admin API did not do what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping


class AdminError(Exception):
    """A refusal, as a problem document (RFC 9457) says it.

    :ivar type: a URN, the same for all problems of a type.
    :ivar title: the type in words.
    :ivar detail: what was wrong this time, and what would be right.
    :ivar status: of the answer; None if there was none.
    :ivar members: further members of the document.
    """

    def __init__(
        self,
        detail: str,
        *,
        type: str = "about:blank",  # noqa: A002 - the member's name
        title: str = "",
        status: int | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = type
        self.title = title
        self.detail = detail
        self.status = status
        self.members = dict(members or {})


class UnavailableError(AdminError):
    """Nobody answers now, or the server cannot do this now; it may be asked again."""


class OutcomeUnknownError(UnavailableError):
    """A change that was asked for, and of which nobody said whether it was made."""
