"""Where an issuer stands between its preparation and its end: facts that the store has, and the state that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["prepared", "signing", "former", "retired", "compromised"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The facts of one issuer; times are seconds, None for what has not happened.

    :ivar activated_at: when it began to sign.
    :ivar replaced_at: when another one took its place.
    :ivar retired_at: when its last list was signed; nothing is signed with its key any more.
    :ivar compromised_at: when its key was said to be stolen.
    """

    activated_at: int | None = None
    replaced_at: int | None = None
    retired_at: int | None = None
    compromised_at: int | None = None

    @property
    def state(self) -> State:
        """The state in one word; a stolen key is the most important of all."""
        if self.compromised_at is not None:
            return "compromised"
        if self.retired_at is not None:
            return "retired"
        if self.activated_at is None:
            return "prepared"
        return "signing" if self.replaced_at is None else "former"
