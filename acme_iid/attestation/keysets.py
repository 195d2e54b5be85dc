"""JSON Web Key Sets (RFC 7517) as trust: pinned in a file, or fetched from a URL that an operator configured.

The one place of this package that does I/O, and it does it apart from the verifiers: they ask for the keys of a
key id and get those that are held. A fetch is shared by all threads that want it, they wait for it for
:data:`WAIT_SECONDS` at most, and the last good set stays in use when a fetch fails. No input ever chooses a URL.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acme_iid.errors import TrustUnavailableError
from acme_iid.protocol import strict_json
from acme_iid.protocol.public_keys import TOKENS

_log = logging.getLogger(__name__)

Algorithm = Literal["RS256", "ES384"]
"""The signature algorithms of the tokens that are read here (RFC 7518 section 3.1); a key has exactly one."""
PublicKey = RSAPublicKey | EllipticCurvePublicKey
Keys = Mapping[tuple[str, Algorithm], PublicKey]
"""The keys of a set, by key id and algorithm."""
KeySource = bytes | str
"""The source of a configured key set: the bytes of a file that pins it, or a URL to fetch it from."""

MAX_KEY_SET_BYTES = 64 * 1024
WAIT_SECONDS = 2.0
"""The time that a request waits for key sets that it needs."""
FETCH_SECONDS = 5.0
"""The time that a fetch may take before it counts as failed; only the background refresh waits as long."""
COOLDOWN = 60
"""Seconds between two fetches of one set, also after a fetch that failed."""
REFRESH_AHEAD = 120
"""Seconds before a set is stale in which the background refresh already replaces it."""

_KEY_MEMBERS = ("kty", "crv", "n", "e", "x", "y")


class KeySet(Protocol):
    """A set of keys that a verifier may ask for one."""

    def request(self, kid: str, algorithm: Algorithm, now: int) -> threading.Event | None:
        """Start fetching the set if it has to be, or join a fetch; returns the event that is set at the fetch's end."""

    def find(self, kid: str, algorithm: Algorithm) -> PublicKey | None:
        """The key that is held, without any I/O; None if this set, as far as it is known, has no such key.

        :raises TrustUnavailableError: if the set is not available, or not anew, so that the answer is unknown.
        """

    def refresh_if_due(self, now: int) -> None:
        """Replace a set that is used and about to be stale; for a thread in the background."""

    def age(self, now: int) -> int | None:
        """The seconds since the set was fetched, or first wanted if it never was; None if it is not fetched at all."""


@dataclass(frozen=True, slots=True)
class ScopedKeySet:
    """A key set, and the provisioners that believe it.

    :ivar scope: the provisioners that an operator gave it to; None for a set that all believe.
    """

    keys: KeySet
    scope: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that may have signed a token, and the provisioners that believe it; None for all."""

    key: PublicKey
    scope: frozenset[str] | None


def find_keys(
    sets: Iterable[ScopedKeySet], kid: str, algorithm: Algorithm, now: int, wait: float = WAIT_SECONDS
) -> list[TrustedKey]:
    """The keys called ``kid`` in any of ``sets``: those that all provisioners believe first, each once.

    :param now: seconds; decides which sets are stale.
    :param wait: the seconds that a fetch that is due is waited for.
    :raises TrustUnavailableError: if no set has it, and one that might have it is not available.
    """
    key_sets = list(sets)
    deadline = time.monotonic() + wait
    for fetch in [scoped.keys.request(kid, algorithm, now) for scoped in key_sets]:
        if fetch is not None:
            fetch.wait(max(0.0, deadline - time.monotonic()))
    trusted: list[TrustedKey] = []
    unavailable: TrustUnavailableError | None = None
    for scoped in key_sets:
        try:
            key = scoped.keys.find(kid, algorithm)
        except TrustUnavailableError as error:
            unavailable = error
            continue
        if key is not None:
            _add(trusted, key, scoped.scope)
    if not trusted and unavailable is not None:
        raise unavailable
    return sorted(trusted, key=lambda entry: entry.scope is not None)


def _add(trusted: list[TrustedKey], key: PublicKey, scope: frozenset[str] | None) -> None:
    for index, entry in enumerate(trusted):
        if entry.key == key:
            united = None if entry.scope is None or scope is None else entry.scope | scope
            trusted[index] = TrustedKey(key, united)
            return
    trusted.append(TrustedKey(key, scope))


def key_id(key: PublicKey) -> str:
    """The name of a key in records: ``sha256:`` and the hex SHA-256 of its SubjectPublicKeyInfo."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(spki).hexdigest()


def parse(content: bytes) -> Keys:
    """The keys of a JWK Set that tokens can be signed with here: RSA of 2048 bits or more, and EC on P-384.

    Keys of other kinds are passed over, as RFC 7517 section 5 has it.

    :raises ValueError: with a sentence, if it is not a JWK Set, holds no usable key, holds a private key or has two
        keys under one id.
    """
    match strict_json.loads(content, max_bytes=MAX_KEY_SET_BYTES):
        case {"keys": list(members)} if all(isinstance(member, dict) for member in members):
            pass
        case _:
            raise ValueError('it is not a JWK Set, an object with a list "keys" of objects')
    keys: dict[tuple[str, Algorithm], PublicKey] = {}
    for member in members:
        if "d" in member:
            raise ValueError("a member of the JWK Set is a private key, which its owner must not give away")
        kid, usable = member.get("kid"), _usable(member)
        if usable is None or not isinstance(kid, str) or not kid:
            continue
        algorithm, key = usable
        if keys.setdefault((kid, algorithm), key) != key:
            raise ValueError(f"the JWK Set has two keys with the id {kid[:64]!a}")
    if not keys:
        raise ValueError("the JWK Set holds no key that a token could be signed with")
    return keys


def _usable(member: dict[str, object]) -> tuple[Algorithm, PublicKey] | None:
    """A JWK's key with its one algorithm, or None if that is another one than ours (RFC 7517 section 4)."""
    algorithm: Algorithm
    match member:
        case {"kty": "RSA"}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-384"}:
            algorithm = "ES384"
        case _:
            return None
    if member.get("use", "sig") != "sig" or member.get("alg", algorithm) != algorithm:
        return None
    public = {name: value for name in _KEY_MEMBERS if isinstance(value := member.get(name), str)}
    try:
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError) as error:
        raise ValueError(f"a member of the JWK Set is not the {public['kty']} key that it says it is") from error
    if TOKENS.refusal(key) is not None:
        return None
    assert isinstance(key, PublicKey)  # no other kind is accepted
    return algorithm, key


@dataclass(frozen=True, slots=True)
class PinnedKeySet:
    """A key set from a file, for a CA that fetches nothing: it is an operator's to replace."""

    keys: Keys

    def request(self, kid: str, algorithm: Algorithm, now: int) -> None:
        """There is nothing to fetch."""

    def find(self, kid: str, algorithm: Algorithm) -> PublicKey | None:
        """The key, if the file has it."""
        return self.keys.get((kid, algorithm))

    def refresh_if_due(self, now: int) -> None:
        """A file is read when the configuration is."""

    def age(self, now: int) -> None:
        """A file has none."""


class FetchedKeySet:
    """A key set at a URL: fetched when it is first asked for, and then kept fresh.

    It is fetched by a thread of its own, so that a peer that trickles its answer holds up no request. A thread
    that wants the set waits for the event that the fetch sets at its end, for a time of its own choice.

    :param url: https, or http to this machine itself.
    :raises ValueError: with a sentence, if the URL is not one to fetch keys from.
    """

    def __init__(self, url: str) -> None:
        _check_url(url)
        self.url = url
        self._lock = threading.Lock()
        self._keys: Keys | None = None
        self._fresh: range = range(0)
        self._tried_at: int | None = None
        self._wanted_at: int | None = None
        self._failed = False
        self._fetch: threading.Event | None = None

    def request(self, kid: str, algorithm: Algorithm, now: int) -> threading.Event | None:
        """Fetch the set if it is not held, stale, or has no such key: at most one fetch at a time and a cooldown."""
        with self._lock:
            if self._keys is not None and now in self._fresh and (kid, algorithm) in self._keys:
                return None
            return self._begin(now)

    def find(self, kid: str, algorithm: Algorithm) -> PublicKey | None:
        """The key that is held."""
        with self._lock:
            key = None if self._keys is None else self._keys.get((kid, algorithm))
            if key is None and (self._keys is None or self._failed or self._fetch is not None):
                raise TrustUnavailableError(
                    f"the key set at {self.url} is not available now; the server's log says why. Try again in a minute"
                )
            return key

    def refresh_if_due(self, now: int) -> None:
        """Fetch the set if it was ever asked for and is about to be stale, and wait for the end of it."""
        with self._lock:
            if self._tried_at is None or (now in self._fresh and now + REFRESH_AHEAD in self._fresh):
                return
            fetch = self._begin(now)
        if fetch is not None:
            fetch.wait(FETCH_SECONDS)

    def age(self, now: int) -> int | None:
        """The seconds since the set was fetched; none if nobody has asked for it."""
        with self._lock:
            since = self._wanted_at if self._keys is None else self._fresh.start
        return None if since is None else max(0, now - since)

    def _begin(self, now: int) -> threading.Event | None:
        """Start a fetch, with the lock held; or the one that is on its way, or None in the cooldown."""
        if self._fetch is not None:
            return self._fetch
        # A clock that was set back must not stretch the cooldown.
        if self._tried_at is not None and 0 <= now - self._tried_at < COOLDOWN:
            return None
        self._tried_at = now
        self._wanted_at = now if self._wanted_at is None else self._wanted_at
        self._fetch = threading.Event()
        threading.Thread(target=self._run, args=(self._fetch, now), name="key set", daemon=True).start()
        return self._fetch

    def _run(self, fetch: threading.Event, now: int) -> None:
        keys, lifetime, reason = None, 0, ""
        try:
            # Imported here: fetching takes half of all that each of acme-iid-ca's commands would have to load.
            from acme_iid.attestation.fetching import get  # noqa: PLC0415

            content, lifetime = get(self.url)
            keys = parse(content)
        except (OSError, ValueError) as error:
            reason = str(error)
        finally:
            with self._lock:
                held = self._keys is not None
                self._failed = keys is None
                if keys is not None:
                    self._keys, self._fresh = keys, range(now, now + lifetime)
                self._fetch = None
            if reason:
                outcome = "the last good one stays in use" if held else "tokens that need it are put off"
                _log.warning("the key set at %s could not be fetched: %s; %s", self.url, reason, outcome)
            fetch.set()


def key_set(source: KeySource) -> KeySet:
    """The key set that an operator configured.

    :raises ValueError: with a sentence, if the file pins no usable set or the URL is not one to fetch from.
    """
    return PinnedKeySet(parse(source)) if isinstance(source, bytes) else fetched(source)


def published(issuer: str) -> str:
    """The URL at which an issuer of tokens publishes its key set."""
    return f"{issuer}/.well-known/jwks.json"


@cache
def fetched(url: str) -> FetchedKeySet:
    """The process's one key set for a URL, so that a configuration that is read again keeps the keys that are held."""
    return FetchedKeySet(url)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"{url!a} is not a URL: {error}") from error
    if parts.scheme not in ("https", "http") or not host or not url.isascii() or not url.isprintable():
        raise ValueError(f"{url!a} is not an https URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("the URL of a key set has no user, password or fragment in it")
    if parts.scheme == "http" and not _loopback(host):
        raise ValueError(f"{url!a} is not an https URL; keys are fetched over http from this machine only")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
