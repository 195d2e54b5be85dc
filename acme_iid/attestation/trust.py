"""The keys that evidence is believed under: those pinned in the product, and those that operators add.

Each cloud has a part of the store of its own (``aws_trust``, ``gcp_trust``, ``azure_trust``; the registry lists them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from acme_iid.attestation import chains
from acme_iid.attestation.chains import Root
from acme_iid.attestation.keysets import Algorithm, KeySet, KeySource, ScopedKeySet, find_keys
from acme_iid.attestation.keysets import key_id as key_id_of

Scope = frozenset[str] | None
"""The provisioners that believe a key; None for a pinned key, which all believe."""


class KeyReference(NamedTuple):
    """Names a trusted key, so that evidence that was believed by it can be judged again later.

    :ivar place: the place of its trust: the name of a cloud's own keys or roots; of the token issuers that operators
        configure, the issuer's URL or the tenant's id.
    :ivar key_id: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo.
    :ivar kid: its name in its key set; "" for a key outside any key set.
    :ivar algorithm: its signature algorithm in its key set.
    """

    place: str
    key_id: str
    kid: str = ""
    algorithm: Algorithm = "RS256"


class TokenIssuer(NamedTuple):
    """An issuer of tokens that an operator names.

    :ivar account: its account.
    :ivar keys: a JWK Set's bytes, or the URL that one is fetched from; None for the URL at which the cloud
        publishes it.
    """

    issuer: str
    account: str
    keys: KeySource | None = None


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """The keys that one provisioner's operator gives, read: by their keys in ca.toml.

    :ivar files: PEM files' bytes.
    :ivar places: the paths of the files, key sets' too.
    :ivar key_set: the key set of tokens: a JWK Set's bytes, or the URL that one is fetched from.
    :ivar issuers: further issuers of tokens.
    :ivar texts: the claims that tokens must have.
    :ivar lists: the provisioner's lists.
    :ivar given: the keys in ca.toml that are there.
    """

    provisioner: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    key_set: KeySource | None = None
    issuers: tuple[TokenIssuer, ...] = ()
    places: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    given: frozenset[str] = frozenset()


class CloudTrust(Protocol):
    """The keys of one cloud."""

    def key_sets(self) -> Iterable[KeySet]:
        """The key sets in it, to be fetched before they are stale."""

    def scopes(self, key: KeyReference, now: int) -> list[Scope] | None:
        """The scopes in which a key is trusted now; None if the reference is to no key of this cloud's.

        :raises TrustUnavailableError: if a key set is not held, or not anew, so that the answer is unknown.
        """


T = TypeVar("T", bound=CloudTrust)


@dataclass(frozen=True, slots=True)
class TrustStore:
    """All the keys that verifiers may use. It never changes: another configuration makes another one."""

    parts: tuple[CloudTrust, ...] = ()

    def part(self, kind: type[T]) -> T:
        """One cloud's keys.

        :raises LookupError: if the store was made without that cloud.
        """
        for part in self.parts:
            if isinstance(part, kind):
                return part
        raise LookupError(f"there is no {kind.__name__} among the keys")

    def refresh_if_due(self, now: int) -> None:
        """Fetch the key sets that are in use and about to be stale. For a thread in the background, once a minute.

        :param now: seconds.
        """
        for part in self.parts:
            for keys in part.key_sets():
                keys.refresh_if_due(now)

    def ages(self, now: int) -> list[int]:
        """The ages of the fetched key sets that are in use, in seconds; the oldest of each part, 0 where none is."""
        return [max((keys.age(now) or 0 for keys in part.key_sets()), default=0) for part in self.parts]

    def still_believes(self, groups: Iterable[Iterable[KeyReference]], provisioner: str, now: int) -> bool:
        """Whether a provisioner trusts a key of each group now. No key set is waited for: one that is due is fetched.

        :param now: seconds; decides which key sets are stale.
        :raises TrustUnavailableError: if a key set is not held, or not anew, so that the answer is unknown.
        """
        return all(
            any(scope is None or provisioner in scope for key in group for scope in self._scopes(key, now))
            for group in groups
        )

    def _scopes(self, key: KeyReference, now: int) -> list[Scope]:
        """The scopes in which a key is trusted; empty if it is not trusted any more."""
        return [scope for part in self.parts for scope in part.scopes(key, now) or ()]


def root_references(place: str, roots: Iterable[Root]) -> tuple[KeyReference, ...]:
    """The references to the roots that a chain leads to, any of which is enough."""
    return tuple(KeyReference(place, chains.key_id(root.certificate)) for root in roots)


def scopes_of_root(roots: Iterable[Root], key: KeyReference) -> list[Scope]:
    """The scopes in which a root is trusted."""
    return [root.scope for root in roots if chains.key_id(root.certificate) == key.key_id]


def scopes_of_token_key(sets: Sequence[ScopedKeySet], key: KeyReference, now: int) -> list[Scope]:
    """The scopes in which a key of key sets is trusted.

    :raises TrustUnavailableError: if a key set is not held, or not anew.
    """
    same_kid = find_keys(sets, key.kid, key.algorithm, now, wait=0)
    return [trusted.scope for trusted in same_kid if key_id_of(trusted.key) == key.key_id]


def common_scope(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    """The scope of evidence that takes two keys: the provisioners that believe both of them; None for all."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
