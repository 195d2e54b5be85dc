"""The key sets of Google's identity tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from acme_iid.attestation.keysets import KeySet, ScopedKeySet, fetched, key_set
from acme_iid.attestation.trust import GivenKeys, KeyReference, Scope, scopes_of_token_key

GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
"""The URL at which Google publishes the keys of its OpenID Connect issuer."""
TOKENS = "gcp"
"""The place of the keys of identity tokens."""


@dataclass(frozen=True, slots=True)
class GcpTrust:
    """The key sets of Google's identity tokens.

    :ivar sets: Google's own first, then operators'.
    """

    sets: tuple[ScopedKeySet, ...] = ()

    @classmethod
    def load(cls, provisioners: Sequence[GivenKeys] = ()) -> Self:
        """Google's own keys, fetched when they are first needed, and those that operators give.

        A CA that pins key sets for all of its provisioners never asks Google.

        :raises ValueError: with a sentence that names the provisioner, if a source is not a usable key set.
        """
        google = any(entry.key_set is None for entry in provisioners)
        own = [ScopedKeySet(fetched(GOOGLE_KEYS))] if google else []
        return cls((*own, *map(_of_operator, _with_keys(provisioners))))

    def key_sets(self) -> Iterable[KeySet]:
        """All of them."""
        return [scoped.keys for scoped in self.sets]

    def scopes(self, key: KeyReference, now: int) -> list[Scope] | None:
        """The scopes in which a key is trusted now; None if the key is not one of Google's."""
        return scopes_of_token_key(self.sets, key, now) if key.place == TOKENS else None


def _with_keys(provisioners: Sequence[GivenKeys]) -> Iterable[GivenKeys]:
    return (entry for entry in provisioners if entry.key_set is not None)


def _of_operator(entry: GivenKeys) -> ScopedKeySet:
    assert entry.key_set is not None
    try:
        return ScopedKeySet(key_set(entry.key_set), frozenset({entry.provisioner}))
    except ValueError as error:
        raise ValueError(f"the key set of the provisioner {entry.provisioner!r}: {error}") from error
