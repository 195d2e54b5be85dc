"""The iid-01 challenge on the wire, for both sides (rfc-notes/iid-01.md).

josepy and the acme library give the classes that every ACME client in Python knows; this module adds
the one challenge type and the binding that ties evidence to a challenge and to an account key.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from acme import challenges
from josepy.json_util import field
from josepy.jwk import JWK

CHALLENGE_TYPE = "iid-01"
AUDIENCE_PREFIX = "acme-iid-01:"
MAX_ANSWER_BYTES = 64 * 1024
"""The size an answer's payload may have, in octets."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What evidence is bound to: one challenge and one account key.

    ``digest`` is K, the SHA-256 of the key authorization's ASCII bytes (32 octets).
    """

    digest: bytes

    @property
    def audience(self) -> str:
        """The audience that token formats carry: ``acme-iid-01:`` and base64url(K), unpadded."""
        return AUDIENCE_PREFIX + base64.urlsafe_b64encode(self.digest).rstrip(b"=").decode()

    @property
    def nonce(self) -> str:
        """The nonce that Azure's documents carry: lower-case base32 of K's first 20 octets, 32 characters."""
        return base64.b32encode(self.digest[:20]).decode().lower()


def binding(key_authorization: str) -> Binding:
    """The binding for a key authorization: token, a dot, the account key's thumbprint (RFC 8555 section 8.1)."""
    return Binding(hashlib.sha256(key_authorization.encode("ascii")).digest())


@challenges.ChallengeResponse.register
class IID01Response(challenges.KeyAuthorizationChallengeResponse):
    """The answer to an iid-01 challenge: evidence in one of the challenge's formats.

    ``format`` names the kind of evidence. CMS and token formats carry ``evidence``; ``aws-signature``
    carries ``document`` (base64url of the exact bytes) and ``signature``.
    """

    typ = CHALLENGE_TYPE
    format: str = field("format", omitempty=True)
    evidence: str = field("evidence", omitempty=True)
    document: str = field("document", omitempty=True)
    signature: str = field("signature", omitempty=True)
    provisioner: str = field("provisioner", omitempty=True)


@challenges.Challenge.register
class IID01(challenges.KeyAuthorizationChallenge):
    """The challenge: prove which cloud instance you are.

    ``formats`` is what the server would accept, most preferred first. ``audience`` and ``nonce`` are
    convenience copies; :meth:`binding` is what a client uses, and it refuses a server that sends others.
    """

    typ = CHALLENGE_TYPE
    response_cls = IID01Response
    formats: tuple[str, ...] = field("formats", omitempty=True, default=())
    audience: str = field("audience", omitempty=True)
    nonce: str = field("nonce", omitempty=True)

    def binding(self, account_key: JWK) -> Binding:
        """The binding of this challenge to ``account_key``, computed here and compared with the server's copies.

        :raises ValueError: if the server asks for an audience or nonce that is not this challenge's own:
            it may be passing on a challenge that another server made.
        """
        own = binding(self.key_authorization(account_key))
        for name, theirs, ours in (("audience", self.audience, own.audience), ("nonce", self.nonce, own.nonce)):
            if theirs and theirs != ours:
                raise ValueError(
                    f"the server asks for a {name} that does not follow from this challenge and this account "
                    "key; it may be relaying another server's challenge, so no evidence is sent"
                )
        return own

    def validation(self, account_key: JWK, **_kwargs: Any) -> Binding:
        """What evidence must be bound to; the name that the acme library calls it by."""
        return self.binding(account_key)
