"""The external account binding of a newAccount request (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from jwt.algorithms import get_default_algorithms

from acme_iid.binding import from_base64url
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol import jwk, strict_json
from acme_iid.store import external_keys
from acme_iid.store.writes import Reader
from acme_iid.web.jws import JWS, SignedRequest

ALGORITHMS = ("HS256", "HS384", "HS512")
"""The MACs that a binding may have."""


class Binding(NamedTuple):
    """A binding whose MAC is good: the external key's id, and the JWS as it came, for the account object."""

    key_id: str
    jws: str


def read(reader: Reader, request: SignedRequest, value: object) -> Binding:
    """Check that the holder of an external key binds it to the key that signed ``request``; both JWS name its URL.

    :param value: the member ``externalAccountBinding``.
    :raises AcmeError: ``malformed``, ``badSignatureAlgorithm``, or ``unauthorized`` for a key that is not known or a
        MAC that is not made with it: who guesses does not learn which.
    """
    if not isinstance(value, Mapping):
        raise _malformed_error("is no JWS object")
    text = json.dumps(value)
    jws = JWS.read(text.encode(), "'externalAccountBinding'", ALGORITHMS)
    if "nonce" in jws.header:
        raise _malformed_error("has a nonce in its protected header; only the outer JWS has one")
    if jws.header.get("url") != request.url:
        raise _malformed_error("has a 'url' that is not the outer JWS's")
    key_id = jws.header.get("kid")
    if not isinstance(key_id, str):
        raise _malformed_error("has no 'kid', the external key's id")
    _check_payload(jws.payload, request.thumbprint)
    known = external_keys.get(reader, key_id)
    # An unknown key costs the same check as a known one.
    secret = known.secret if known is not None else "A" * 43
    algorithm = get_default_algorithms()[jws.algorithm]
    good = algorithm.verify(jws.signed, from_base64url(secret), jws.signature)
    if not good or known is None:
        raise AcmeError(
            Problem.UNAUTHORIZED,
            "the external account key is not known here, or the binding is not made with it; ask whoever runs this CA "
            "for a key ('acme-iid-ca eab add')",
        )
    return Binding(key_id, text)


def _check_payload(payload: bytes, thumbprint: str) -> None:
    try:
        key = strict_json.loads(payload)
        bound = jwk.thumbprint(jwk.load(jwk.canonical(key))) if isinstance(key, dict) else None
    except ValueError as error:
        raise _malformed_error(f"holds no account key: {error}") from error
    if bound != thumbprint:
        raise _malformed_error("binds another key than the one that signed the request")


def _malformed_error(what: str) -> AcmeError:
    return AcmeError(Problem.MALFORMED, f"'externalAccountBinding' {what}")
