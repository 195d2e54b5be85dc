"""An issuer that publishes its keys, well or badly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import forge_tokens as tokens
from forge_tokens import ISSUED_AT

from acme_iid.attestation.keysets import FetchedKeySet, KeySet, ScopedKeySet, find_keys
from acme_iid.simulator.listener import NoAnswer, Request, Response, listening
from acme_iid.simulator.tokens import TokenKey

NOW = ISSUED_AT
OLD, NEW = TokenKey.generate("ES384"), TokenKey.generate("ES384")


@dataclass
class Publisher:
    """An issuer that publishes its keys, well or badly, and counts who asks."""

    keys: list[TokenKey] = field(default_factory=lambda: [OLD])
    answers: Callable[[], Response | NoAnswer] | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=3600"})
    asked: list[str] = field(default_factory=list)
    banner: str = "keys"
    reads: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Response | NoAnswer:
        self.asked.append(request.path)
        if self.answers is not None:
            return self.answers()
        return Response(HTTPStatus.OK, tokens.key_set(*self.keys), self.headers, "application/json")


@contextmanager
def publishing(publisher: Publisher) -> Iterator[FetchedKeySet]:
    with listening(publisher) as running:
        yield FetchedKeySet(f"{running.url}/keys")


def has_key(keys: KeySet, kid: TokenKey, now: int = NOW) -> bool:
    """Whether the set has the key, as a verifier asks it."""
    return bool(find_keys([ScopedKeySet(keys)], kid.kid, "ES384", now))
