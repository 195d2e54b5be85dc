"""A signed request, checked in the order that gives nothing away (RFC 8555 sections 6.2 to 6.5).

Content type, one protected header, algorithm, url, kid or jwk, the account's key, signature, then the
nonce: it is spent only by a request that its account really sent. A key change carries a second JWS in its
payload, which is read in the same way and has no nonce (section 7.3.5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from acme_iid.authority.context import RequestContext
from acme_iid.authority.signers import require_active
from acme_iid.binding import from_base64url
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import jwk, strict_json
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.protocol.resources import Account
from acme_iid.serving.messages import Request
from acme_iid.store.database import Database
from acme_iid.store.writes import Reader
from acme_iid.web.ahead import Ahead, KnownAccounts
from acme_iid.web.links import Links
from acme_iid.web.nonces import Nonces

CONTENT_TYPE = "application/jose+json"

_ACCOUNT = "/acme/account/"
REVOKE_CERT = "/acme/revoke-cert"
"""The path at which a certificate's own key signs, whose kind is not the accounts' business."""

_ALGORITHMS: Mapping[str, Algorithm] = {name: get_default_algorithms()[name] for name in jwk.ALGORITHMS}
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_SIGNATURE_BYTES = {"ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64}
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request whose signature and nonce are good.

    :ivar account: the account that sent it, by ``kid``; None for a request that carries its own key.
    :ivar jwk: the key as canonical JSON, for a request that carries it.
    :ivar thumbprint: of the key that signed.
    :ivar payload: the payload's bytes; empty for POST-as-GET.
    :ivar url: the URL that it was sent to, and signed for.
    :ivar query: of the URL.
    :ivar context: the client's address, and the time for which the request is checked and decided.
    :ivar reader: the store, with the answers to what such a request asks in any case, as they were just now.
    """

    account: Account | None
    jwk: str
    thumbprint: str
    payload: bytes
    url: str
    query: str
    context: RequestContext
    reader: Reader

    def json(self) -> dict[str, object]:
        """The payload as an object.

        :raises AcmeError: ``malformed``.
        """
        return _object(self.payload, "the payload")

    def require_post_as_get(self) -> None:
        """Refuse a payload where the resource is only read (RFC 8555 section 6.3).

        :raises AcmeError: ``malformed``.
        """
        if self.payload:
            raise _malformed_error("this resource is read with POST-as-GET: a request with an empty payload")


@dataclass(frozen=True, slots=True)
class JWS:
    """A flattened JWS whose form is right and whose signature nobody has checked yet (RFC 8555 section 6.2).

    :ivar signed: the bytes that the signature is over.
    """

    header: Mapping[str, object]
    algorithm: str
    signed: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def read(cls, data: bytes, what: str, accepted: Collection[str]) -> JWS:
        """Read a JWS.

        :param what: the name of the JWS in messages.
        :param accepted: the algorithms that may have signed it.
        :raises AcmeError: ``malformed``, or ``badSignatureAlgorithm`` with those that are accepted.
        """
        envelope = _object(data, what)
        for name, why in (("signatures", "the general JWS form"), ("header", "an unprotected header")):
            if name in envelope:
                raise _malformed_error(
                    f"the JWS has {why} ({name!r}); send the flattened form with a protected header only"
                )
        protected, payload, signature = (_member(envelope, name) for name in ("protected", "payload", "signature"))
        header = _object(_decode(protected, "protected"), "the protected header")
        for name in ("b64", "crit"):
            if name in header:
                raise _malformed_error(f"the protected header has {name!r}, which ACME does not use")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in accepted:
            raise _bad_algorithm_error(accepted)
        signed, raw = f"{protected}.{payload}", _decode(payload, "payload")
        return cls(header, algorithm, signed.encode("ascii"), raw, _decode(signature, "signature"))

    def own_key(self) -> str:
        """The key in the protected header, as canonical JSON.

        :raises AcmeError: ``malformed``, or ``badPublicKey``.
        """
        key = self.header.get("jwk")
        if not isinstance(key, dict):
            raise _malformed_error("the protected header's 'jwk' is not an object")
        try:
            return jwk.canonical(key)
        except ValueError as error:
            raise _bad_key_error(str(error)) from error

    def verify(self, key_text: str) -> PublicKey:
        """The key in JWK JSON, once it is one that this server takes and has made the signature.

        :raises AcmeError: ``badPublicKey`` or ``malformed``.
        """
        key = _public_key(key_text)
        _check_key_fits(self.algorithm, key)
        _verify(self.algorithm, key, self.signed, self.signature)
        return key


class NewKey(NamedTuple):
    """The key that a key change is to: as canonical JWK JSON, and its RFC 7638 thumbprint."""

    jwk: str
    thumbprint: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks of a signed request, with all that they need."""

    database: Database
    links: Links
    nonces: Nonces
    accounts: KnownAccounts
    algorithms: tuple[str, ...] = jwk.ALGORITHMS
    ahead: Ahead | None = None

    def check(self, request: Request, context: RequestContext) -> SignedRequest:
        """Check a request and say who sent it.

        :raises AcmeError: saying what is wrong with it.
        """
        if request.content_type != CONTENT_TYPE:
            raise AcmeError(Problem.MALFORMED, f"requests are sent with the content type {CONTENT_TYPE}", status=415)
        jws = JWS.read(
            request.body, "the request body", jwk.ALGORITHMS if request.target == REVOKE_CERT else self.algorithms
        )
        if "jwk" not in jws.header and jws.algorithm not in self.algorithms:
            raise _bad_algorithm_error(self.algorithms)
        url = jws.header.get("url")
        if not isinstance(url, str) or self.links.path_of(url) != request.target:
            raise AcmeError(
                Problem.UNAUTHORIZED,
                f"the protected header's 'url' is not this resource's URL, {self.links.path(request.target)}",
            )
        account_id = self._account_id(jws)
        if account_id is None:
            key_text = jws.own_key()
            key = jws.verify(key_text)
        else:
            key_text, key = self._verified(jws, account_id)
        nonce = jws.header.get("nonce")
        questions = (
            ()
            if self.ahead is None or account_id is None
            else self.ahead.questions(request.path, account_id, context.now)
        )
        spent = isinstance(nonce, str) and self.nonces.spend_asking(nonce, context.now, self.database, questions)
        if not spent:
            # acme.sh goes on after a problem of this type only if the text holds these very words.
            raise AcmeError(
                Problem.BAD_NONCE,
                "JWS has an invalid anti-replay nonce: it is missing, unknown, too old or was used before; "
                "use the fresh one",
            )
        account = None
        thumbprint = ""
        if account_id is None:
            thumbprint = jwk.thumbprint(key)
        else:
            account = self._account(spent, account_id)
            if account.jwk != key_text:
                # It was changed since: a request that another key has signed is no longer the account's.
                jws.verify(account.jwk)
            require_active(account)
            key_text, thumbprint = account.jwk, account.thumbprint
        return SignedRequest(account, key_text, thumbprint, jws.payload, url, request.query, context, spent)

    def _verified(self, jws: JWS, account_id: str) -> tuple[str, PublicKey]:
        """The key of an account, once it has made the signature, in both forms.

        The store is asked only if the key that the account had lately has not made it.
        """
        known = self.accounts.key(account_id)
        if known is not None:
            try:
                return known, jws.verify(known)
            except AcmeError:
                pass
        key_text = self._account(self.database, account_id).jwk
        key = jws.verify(key_text)
        return key_text, key

    def new_key(self, request: SignedRequest) -> NewKey:
        """The key that a key change is to, once the JWS in the payload shows that it agrees (RFC 8555 section 7.3.5).

        :param request: the change, signed with the account's key as it is now.
        :raises AcmeError: saying what is wrong with it.
        """
        account = require_account(request)
        inner = JWS.read(request.payload, "the payload, which is the JWS by the new key,", self.algorithms)
        for name, why in (("nonce", "only the outer JWS has one"), ("kid", "it carries the new key, 'jwk'")):
            if name in inner.header:
                raise _malformed_error(f"the inner JWS has {name!r} in its protected header; {why}")
        if inner.header.get("url") != request.url:
            raise _malformed_error("the inner JWS's 'url' is not that of the outer one")
        key_text = inner.own_key()
        key = inner.verify(key_text)
        change = _object(inner.payload, "the inner JWS's payload")
        if change.get("account") != self.links.account(account.id):
            raise _malformed_error(
                "'account' in the inner JWS is not the outer one's 'kid': the key change is of another"
            )
        if _thumbprint(change.get("oldKey")) != account.thumbprint:
            raise _malformed_error("'oldKey' in the inner JWS is not the account's key")
        return NewKey(key_text, jwk.thumbprint(key))

    def _account_id(self, jws: JWS) -> str | None:
        """The account that ``kid`` names; None if there is a key in ``jwk`` instead."""
        kid, own = jws.header.get("kid"), jws.header.get("jwk")
        if (kid is None) == (own is None):
            raise _malformed_error("the protected header has one of 'kid' and 'jwk', and only one")
        if own is not None:
            return None
        path = self.links.path_of(kid) if isinstance(kid, str) else ""
        account_id = path.removeprefix(_ACCOUNT)
        if account_id == path or not _ACCOUNT_ID.match(account_id):
            raise _malformed_error("the protected header's 'kid' is not the URL of an account of this server")
        if kid != self.links.account(account_id):
            # A client that signs with a former URL would look for everything else there, too.
            raise AcmeError(
                Problem.ACCOUNT_DOES_NOT_EXIST,
                "the account's URL is under a former address of this CA; newAccount with onlyReturnExisting gives "
                "the present one",
            )
        return account_id

    def _account(self, reader: Reader, account_id: str) -> Account:
        account = self.accounts.get(reader, account_id)
        if account is None:
            raise AcmeError(Problem.ACCOUNT_DOES_NOT_EXIST, "there is no such account here; create one with newAccount")
        return account


def require_account(request: SignedRequest) -> Account:
    """The account that sent the request.

    :raises AcmeError: ``malformed`` if the request carries its key instead.
    """
    if request.account is None:
        raise _malformed_error("this resource takes requests of accounts: 'kid' in the protected header, not 'jwk'")
    return request.account


def require_jwk(request: SignedRequest) -> None:
    """Refuse a request that names an account where the key itself is needed.

    :raises AcmeError: ``malformed``.
    """
    if request.account is not None:
        raise _malformed_error("this resource takes requests with their key: 'jwk' in the protected header, not 'kid'")


def decode_field(payload: Mapping[str, object], name: str) -> bytes:
    """The base64url octets in a payload's member.

    :raises AcmeError: ``malformed``.
    """
    value = payload.get(name)
    if not isinstance(value, str):
        raise _malformed_error(f"the payload has no {name!r}")
    return _decode(value, name)


def _malformed_error(detail: str) -> AcmeError:
    return AcmeError(Problem.MALFORMED, detail)


def _object(data: bytes, what: str) -> dict[str, object]:
    try:
        value = strict_json.loads(data)
    except ValueError as error:
        raise _malformed_error(f"{what} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise _malformed_error(f"{what} is not a JSON object")
    return value


def _member(envelope: Mapping[str, object], name: str) -> str:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise _malformed_error(f"the JWS has no {name!r} (a detached payload is not accepted)")
    return value


def _decode(text: str, what: str) -> bytes:
    try:
        return from_base64url(text)
    except ValueError as error:
        raise _malformed_error(f"{what!r} {error}") from error


def _thumbprint(value: object) -> str:
    """The thumbprint of the key in ``oldKey``: it stands for the key, however its JWK is spelt."""
    if not isinstance(value, dict):
        raise _malformed_error("the inner JWS has no 'oldKey', the account's key as it is now")
    try:
        return jwk.thumbprint(jwk.load(jwk.canonical(value)))
    except ValueError as error:
        raise _malformed_error(f"'oldKey' in the inner JWS: {error}") from error


def _public_key(text: str) -> PublicKey:
    try:
        key = jwk.load(text)
    except ValueError as error:
        raise _bad_key_error(str(error)) from error
    return key


def _bad_algorithm_error(accepted: Collection[str]) -> AcmeError:
    return AcmeError(
        Problem.BAD_SIGNATURE_ALGORITHM,
        f"requests are signed with one of {', '.join(accepted)}",
        members={"algorithms": list(accepted)},
    )


def _bad_key_error(detail: str) -> AcmeError:
    return AcmeError(Problem.BAD_PUBLIC_KEY, detail)


def _check_key_fits(algorithm: str, key: PublicKey) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        fits = _CURVES.get(algorithm) == key.curve.name
    elif isinstance(key, rsa.RSAPublicKey):
        fits = algorithm == "RS256"
    else:
        fits = algorithm == "EdDSA"
    if not fits:
        raise _bad_key_error(f"the key is not one that signs with {algorithm}")


def _verify(algorithm: str, key: PublicKey, signed: bytes, signature: bytes) -> None:
    length = _SIGNATURE_BYTES.get(algorithm, len(signature))
    if len(signature) != length or not _ALGORITHMS[algorithm].verify(signed, key, signature):
        raise _malformed_error("the signature does not verify")
