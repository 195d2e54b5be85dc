"""JSON Web Tokens (RFC 7519) as evidence: read strictly, verified with PyJWT, and judged by their times.

A token is read here and once more by PyJWT, so that every form that two parsers could read differently is refused
before. The header chooses nothing but one of the keys that are trusted anyway: not the algorithm, no URL, no key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import jwt

from acme_iid.attestation import fields
from acme_iid.attestation.keysets import Algorithm, ScopedKeySet, TrustedKey, find_keys, key_id
from acme_iid.attestation.trust import KeyReference
from acme_iid.binding import CLOCK_SKEW
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.protocol import strict_json

MAX_TOKEN_BYTES = 16 * 1024
MAX_KID_LENGTH = 256
MAX_AGE = 300
"""Seconds since a token was issued in which it counts as fresh."""

_REQUIRED = ("iss", "sub", "aud", "iat", "exp")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was read; nothing in it is believed before :func:`verify`.

    :ivar text: the compact form, which the signature is part of.
    :ivar algorithm: the one in its header, which the issuer is known to sign with.
    :ivar key_id: the ``kid`` of its header.
    :ivar claims: the payload's members.
    :ivar content: the payload's exact bytes.
    """

    text: str
    algorithm: Algorithm
    key_id: str
    claims: Mapping[str, object]
    content: bytes


def parse(text: str, algorithms: Collection[Algorithm]) -> Token:
    """Read a token in the compact form (RFC 7515 section 7.1).

    :param algorithms: those that the issuer signs with.
    :raises MalformedEvidenceError: if it is not three segments of base64url.
    :raises AttestationError: step decoding, if header or payload are not as they must be; step signature for
        another algorithm.
    """
    if len(text) > MAX_TOKEN_BYTES:
        raise MalformedEvidenceError(f"the token is {len(text)} characters long; {MAX_TOKEN_BYTES} is the limit")
    segments = text.split(".")
    if len(segments) != 3:
        raise MalformedEvidenceError(f"a signed token has three segments, and this one {len(segments)}")
    header = fields.decode_base64url(segments[0], "evidence (header)")
    content = fields.decode_base64url(segments[1], "evidence (payload)")
    if not segments[2]:
        raise AttestationError(Step.SIGNATURE, "the token is not signed")
    fields.decode_base64url(segments[2], "evidence (signature)")
    algorithm, key_id = _read_header(_object(header, "header"), algorithms)
    return Token(text, algorithm, key_id, _object(content, "payload"), content)


def _object(data: bytes, part: str) -> dict[str, object]:
    try:
        value = strict_json.loads(data, max_depth=8, max_bytes=MAX_TOKEN_BYTES)
    except ValueError as error:
        raise AttestationError(Step.DECODE, f"the token's {part} is refused: {error}") from error
    if not isinstance(value, dict):
        raise AttestationError(Step.DECODE, f"the token's {part} is not a JSON object")
    return value


def _read_header(header: Mapping[str, object], algorithms: Collection[Algorithm]) -> tuple[Algorithm, str]:
    """Take the algorithm and the key id. ``jku``, ``jwk``, ``x5u`` and ``x5c`` are the sender's word, and unused."""
    algorithm = next((known for known in algorithms if known == header.get("alg")), None)
    if algorithm is None:
        raise AttestationError(
            Step.SIGNATURE, f"the token is not signed with {' or '.join(sorted(algorithms))}, as its issuer's are"
        )
    # Extensions that change what is signed (RFC 7515 section 4.1.11, RFC 7797); no cloud uses any.
    for name in ("crit", "b64"):
        if name in header:
            raise AttestationError(Step.DECODE, f"the token's header has {name!r}, an extension that no cloud uses")
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise AttestationError(Step.DECODE, "the token's header says that it is not a JWT")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KID_LENGTH or not _visible(key_id):
        raise AttestationError(Step.DECODE, "the token's header has no 'kid', or one that is not a short line of text")
    return algorithm, key_id


def _visible(text: str) -> bool:
    return text.isascii() and text.isprintable()


def verify(token: Token, sets: Sequence[ScopedKeySet], issuer: str, issuer_name: str, now: int) -> TrustedKey:
    """Check a token's issuer, and the signature over its exact bytes. Its times and audience are :func:`judge`'s.

    :param sets: the issuer's key sets.
    :param issuer_name: the issuer, as sentences call it: "Google".
    :param now: seconds; decides which key sets are stale.
    :returns: the key that verified it.
    :raises AttestationError: step decoding, if a claim that every token has is missing; step signature.
    :raises TrustUnavailableError: if a key set that may hold the key is not available.
    """
    # Looked at first, so that tokens of other issuers cause no fetch of keys.
    if token.claims.get("iss") != issuer:
        raise AttestationError(Step.SIGNATURE, f"the token was not issued by {issuer_name} ({issuer})")
    if not sets:
        raise AttestationError(Step.SIGNATURE, f"this CA has no key set of {issuer_name}; an operator configures one")
    candidates = find_keys(sets, token.key_id, token.algorithm, now)
    if not candidates:
        raise AttestationError(
            Step.SIGNATURE,
            f"the token is signed with the key {token.key_id[:64]!a}, which is not one of {issuer_name}'s",
        )
    for candidate in candidates:
        try:
            jwt.decode(
                token.text,
                candidate.key,
                algorithms=[token.algorithm],
                issuer=issuer,
                options={
                    "require": list(_REQUIRED),
                    "verify_signature": True,
                    "verify_iss": True,
                    # Judged by judge(), with the time and the binding of the challenge.
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.MissingRequiredClaimError as error:
            raise AttestationError(Step.DECODE, f"the token has no {error.claim!r}") from error
        except jwt.PyJWTError as error:
            raise AttestationError(Step.DECODE, f"the token is invalid: {error}") from error
        return candidate
    raise AttestationError(Step.SIGNATURE, f"the token's signature is not {issuer_name}'s")


def judge(claims: Mapping[str, object], audiences: Sequence[object], audience: str, now: int) -> None:
    """Check that a token is fresh, and meant for this challenge and account key alone.

    :param audiences: those in the token's ``aud``, read as the issuer writes it.
    :param audience: the challenge's own (:attr:`acme_iid.binding.Binding.audience`).
    :param now: seconds.
    :raises AttestationError: steps decoding, freshness and binding.
    """
    issued, expires = times(claims).values()
    starts = seconds(claims, "nbf") if "nbf" in claims else issued
    if max(issued, starts) > now + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS, f"the token is from {max(issued, starts) - now} seconds in the future; a clock is wrong"
        )
    if now - issued > MAX_AGE + CLOCK_SKEW:
        raise AttestationError(
            Step.FRESHNESS,
            f"the token was issued {now - issued} seconds ago, and {MAX_AGE} is the limit; fetch a new one for "
            "this challenge",
        )
    if expires <= now - CLOCK_SKEW:
        raise AttestationError(Step.FRESHNESS, f"the token expired {now - expires} seconds ago; fetch a new one")
    # The only one: a token that names other receivers as well can be passed on by any of them.
    if list(audiences) != [audience]:
        raise AttestationError(
            Step.BINDING,
            "the token's audience is not this challenge and account key alone; fetch one for the challenge's audience",
        )


def key_reference(token: Token, place: str, key: TrustedKey) -> KeyReference:
    """The reference to the key that verified a token.

    :param place: the owner of its key set, as :class:`~acme_iid.attestation.trust.KeyReference` names it.
    """
    return KeyReference(place, key_id(key.key), token.key_id, token.algorithm)


def times(claims: Mapping[str, object]) -> dict[str, int]:
    """The times at which a token was issued and ends, ``iat`` and ``exp``, in seconds.

    :raises AttestationError: step decoding.
    """
    return {name: seconds(claims, name) for name in ("iat", "exp")}


def seconds(claims: Mapping[str, object], name: str) -> int:
    """A time among the claims, whole seconds.

    :raises AttestationError: step decoding.
    """
    value = claims.get(name)
    # JSON's true is an int to Python.
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise AttestationError(Step.DECODE, f"the token's {name!r} is not a time in whole seconds")
    return value
