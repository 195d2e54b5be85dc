"""One validation attempt: its challenge, its time, and its failure."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from acme_iid.errors import Fault, Problem
from acme_iid.protocol.identifiers import Identifier

SECONDS = 10.0
"""The time that one attempt may take, with all of its questions and connections."""

ONCE, FEW, MANY = 1, 4, 6
"""The attempts that a failure is worth: a fault that time does not mend, a wrong answer, no answer."""


class ValidationError(Exception):
    """An attempt failed.

    :param problem: ``dns``, ``connection``, ``tls``, ``incorrectResponse`` or ``caa``.
    :param detail: a sentence for those who run the host. It never quotes a host's answer: that would let an
        account read from hosts that only this server can reach.
    :param worth: the number of attempts after which it is final.
    """

    def __init__(self, problem: Problem, detail: str, worth: int = MANY) -> None:
        super().__init__(detail)
        self.fault = Fault(problem, detail)
        self.worth = worth


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a challenge.

    :ivar kind: the challenge's type.
    :ivar identifier: the name or address to be proven; of a wildcard, its base.
    :ivar thumbprint: the account key's RFC 7638 thumbprint, base64url.
    :ivar earlier_thumbprints: those of the keys that the account had before, the latest first.
    :ivar account_hash_prefix: the beginning of accounts' hashes (draft-ietf-acme-dns-persist-02 section 4.1).
    :ivar issuer: this CA's issuer domain name (RFC 8659); None if it has none.
    :ivar now: the time, in seconds since the epoch.
    :ivar may_follow: whether the provisioner would let a name or address be proven, so that a redirect may lead there.
    """

    kind: str
    identifier: Identifier
    wildcard: bool
    token: str
    thumbprint: str
    earlier_thumbprints: tuple[str, ...]
    account_url: str
    account_hash_prefix: str
    issuer: str | None
    now: int
    may_follow: Callable[[Identifier], bool]

    @property
    def key_authorization(self) -> str:
        """RFC 8555 section 8.1."""
        return f"{self.token}.{self.thumbprint}"

    @property
    def digest(self) -> bytes:
        """The key authorization's SHA-256."""
        return hashlib.sha256(self.key_authorization.encode()).digest()


class Deadline:
    """The end of an attempt's time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float = SECONDS) -> float:
        """The seconds that are left, ``most`` at most.

        :raises TimeoutError: if no time is left.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(f"there was no answer within {SECONDS:.0f} seconds")
        return min(seconds, most)
