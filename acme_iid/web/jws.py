"""A signed request, checked in the order that gives nothing away (RFC 8555 sections 6.2 to 6.5).

Content type, one protected header, algorithm, url, kid or jwk, the account's key, signature, then the
nonce: it is spent only by a request that its account really sent.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import jwk, strict_json
from acme_iid.protocol.resources import Account
from acme_iid.store import accounts
from acme_iid.store.database import Database
from acme_iid.web.links import Links
from acme_iid.web.nonces import Nonces

CONTENT_TYPE = "application/jose+json"
MAX_REQUEST_BYTES = 128 * 1024
"""The size a request's body may have: an answer of 64 KiB, base64url, and its envelope."""

_ALGORITHMS: Mapping[str, Algorithm] = {
    name: get_default_algorithms()[name] for name in ("ES256", "ES384", "ES512", "EdDSA", "RS256")
}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_SIGNATURE_BYTES = {"ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signature and nonce are good.

    :ivar account: who sent it, by ``kid``; None for a request that carries its own key.
    :ivar jwk: the key as canonical JSON, for a request that carries it.
    :ivar thumbprint: of the key that signed.
    :ivar payload: the payload's bytes; empty for POST-as-GET.
    """

    account: Account | None
    jwk: str
    thumbprint: str
    payload: bytes

    def json(self) -> dict[str, object]:
        """The payload as an object.

        :raises AcmeError: ``malformed``.
        """
        try:
            value = strict_json.loads(self.payload)
        except ValueError as error:
            raise _malformed(f"the payload cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise _malformed("the payload is not a JSON object")
        return value

    def require_post_as_get(self) -> None:
        """Refuse a payload where the resource is only read (RFC 8555 section 6.3).

        :raises AcmeError: ``malformed``.
        """
        if self.payload:
            raise _malformed("this resource is read with POST-as-GET: a request with an empty payload")


@dataclass(frozen=True, slots=True)
class Gate:
    """What checking a request takes."""

    database: Database
    links: Links
    nonces: Nonces

    def check(self, body: bytes, content_type: str | None, path: str, now: int) -> SignedRequest:
        """Check a request to ``path`` and say who sent it.

        :param path: the request's path with its query, below the server's URL.
        :raises AcmeError: saying what is wrong with it.
        """
        if content_type != CONTENT_TYPE:
            raise AcmeError(Problem.MALFORMED, f"requests are sent with the content type {CONTENT_TYPE}", status=415)
        envelope = _object(body, "the request body")
        for name, why in (("signatures", "the general JWS form"), ("header", "an unprotected header")):
            if name in envelope:
                raise _malformed(f"the JWS has {why} ({name!r}); send the flattened form with a protected header only")
        protected, payload, signature = (_member(envelope, name) for name in ("protected", "payload", "signature"))
        header = _object(_decode(protected, "protected"), "the protected header")
        for name in ("b64", "crit"):
            if name in header:
                raise _malformed(f"the protected header has {name!r}, which ACME does not use")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
            raise AcmeError(
                Problem.BAD_SIGNATURE_ALGORITHM,
                f"requests are signed with one of {', '.join(_ALGORITHMS)}",
                members={"algorithms": list(_ALGORITHMS)},
            )
        url = header.get("url")
        if url != self.links.path(path):
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"the protected header's 'url' is not this resource's URL, {self.links.path(path)}",
            )
        account, key_text = self._key(header)
        key = _public_key(key_text)
        _check_key_fits(algorithm, key)
        signed = f"{protected}.{payload}".encode("ascii")
        _verify(algorithm, key, signed, _decode(signature, "signature"))
        nonce = header.get("nonce")
        if not isinstance(nonce, str) or not self.nonces.spend(nonce, now):
            raise AcmeError(
                Problem.BAD_NONCE, "the nonce is missing, unknown, too old or was used before; use the fresh one"
            )
        if account is not None and account.deactivated_at is not None:
            raise AcmeError(Problem.UNAUTHORIZED, "this account is deactivated", status=401)
        thumbprint = jwk.thumbprint(key) if account is None else account.thumbprint
        return SignedRequest(account, key_text, thumbprint, _decode(payload, "payload"))

    def _key(self, header: Mapping[str, object]) -> tuple[Account | None, str]:
        """The account that ``kid`` names and its key, or the key in ``jwk``."""
        kid, own = header.get("kid"), header.get("jwk")
        if (kid is None) == (own is None):
            raise _malformed("the protected header has one of 'kid' and 'jwk', and only one")
        if own is not None:
            if not isinstance(own, dict):
                raise _malformed("the protected header's 'jwk' is not an object")
            return None, json.dumps(own, sort_keys=True, separators=(",", ":"))
        prefix = self.links.account("")
        if not isinstance(kid, str) or not kid.startswith(prefix) or not _BASE64URL.match(kid[len(prefix) :]):
            raise _malformed("the protected header's 'kid' is not the URL of an account of this server")
        account = accounts.get(self.database, kid[len(prefix) :])
        if account is None:
            raise AcmeError(Problem.ACCOUNT_DOES_NOT_EXIST, "there is no such account here; create one with newAccount")
        return account, account.jwk


def require_account(request: SignedRequest) -> Account:
    """The account that sent the request.

    :raises AcmeError: ``malformed`` if the request carries its key instead.
    """
    if request.account is None:
        raise _malformed("this resource takes requests of accounts: 'kid' in the protected header, not 'jwk'")
    return request.account


def require_jwk(request: SignedRequest) -> None:
    """Refuse a request that names an account where the key itself is needed.

    :raises AcmeError: ``malformed``.
    """
    if request.account is not None:
        raise _malformed("this resource takes requests with their key: 'jwk' in the protected header, not 'kid'")


def decode_field(payload: Mapping[str, object], name: str) -> bytes:
    """The base64url octets in a payload's member.

    :raises AcmeError: ``malformed``.
    """
    value = payload.get(name)
    if not isinstance(value, str):
        raise _malformed(f"the payload has no {name!r}")
    return _decode(value, name)


def _malformed(detail: str) -> AcmeError:
    return AcmeError(Problem.MALFORMED, detail)


def _object(data: bytes, what: str) -> dict[str, object]:
    try:
        value = strict_json.loads(data)
    except ValueError as error:
        raise _malformed(f"{what} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise _malformed(f"{what} is not a JSON object")
    return value


def _member(envelope: Mapping[str, object], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise _malformed(f"the JWS has no {name!r} (a detached payload is not accepted)")
    return value


def _decode(text: str, what: str) -> bytes:
    """base64url without padding or junk, in its one canonical spelling (RFC 7515 section 2)."""
    if not _BASE64URL.match(text):
        raise _malformed(f"{what!r} is not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise _malformed(f"{what!r} is not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise _malformed(f"{what!r} is base64url with stray bits at its end")
    return data


def _public_key(text: str) -> jwk.PublicKey:
    try:
        key = jwk.load(text)
    except ValueError as error:
        raise _bad_key(str(error)) from error
    return key


def _bad_key(detail: str) -> AcmeError:
    return AcmeError(Problem.BAD_PUBLIC_KEY, detail)


def _check_key_fits(algorithm: str, key: jwk.PublicKey) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        fits = _CURVES.get(algorithm) == key.curve.name
    elif isinstance(key, rsa.RSAPublicKey):
        fits = algorithm == "RS256"
    else:
        fits = algorithm == "EdDSA"
    if not fits:
        raise _bad_key(f"the key is not one that signs with {algorithm}")


def _verify(algorithm: str, key: jwk.PublicKey, signed: bytes, signature: bytes) -> None:
    length = _SIGNATURE_BYTES.get(algorithm, len(signature))
    if len(signature) != length or not _ALGORITHMS[algorithm].verify(signed, key, signature):
        raise _malformed("the signature does not verify")
