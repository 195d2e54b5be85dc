"""The iid-01 challenge on the wire, for both sides (rfc-notes/iid-01.md).

josepy and the acme library give the classes that every ACME client in Python knows; this module adds
the one challenge type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acme import challenges
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from josepy.json_util import field
from josepy.jwk import JWK

from acme_iid.binding import CHALLENGE_TYPE, Binding, binding


@challenges.ChallengeResponse.register
class IID01Response(challenges.KeyAuthorizationChallengeResponse):
    """The answer to an iid-01 challenge: evidence in one of the challenge's formats.

    ``format`` names the kind of evidence. CMS, COSE and token formats carry ``evidence``; ``aws-signature``
    carries ``document`` (base64url of the exact bytes) and ``signature``. ``rsa2048`` and ``attested`` are the
    documents beside a NitroTPM document and a managed identity token; ``intermediates`` are PEM certificates.
    """

    typ = CHALLENGE_TYPE
    format: str = field("format", omitempty=True)
    evidence: str = field("evidence", omitempty=True)
    document: str = field("document", omitempty=True)
    signature: str = field("signature", omitempty=True)
    rsa2048: str = field("rsa2048", omitempty=True)
    attested: str = field("attested", omitempty=True)
    intermediates: str = field("intermediates", omitempty=True)
    provisioner: str = field("provisioner", omitempty=True)


@challenges.Challenge.register
class IID01(challenges.KeyAuthorizationChallenge):
    """The challenge: prove which cloud instance you are.

    ``formats`` are those that the server would accept, most preferred first. ``audience`` and ``nonce`` are
    convenience copies; a client uses :meth:`binding`, which refuses a server that sends others.
    ``names``, in a valid one, are the identifiers that the instance may hold.
    """

    typ = CHALLENGE_TYPE
    response_cls = IID01Response
    formats: tuple[str, ...] = field("formats", omitempty=True, default=())
    audience: str = field("audience", omitempty=True)
    nonce: str = field("nonce", omitempty=True)
    names: tuple[Mapping[str, str], ...] = field("names", omitempty=True, default=())

    def binding(self, account_key: JWK) -> Binding:
        """The binding of this challenge to ``account_key``, computed here and compared with the server's copies.

        It holds the key itself as well, for evidence that names the key that it is for.

        :raises ValueError: if the server asks for an audience or nonce that is not this challenge's own:
            it may be passing on a challenge that another server made.
        """
        spki = account_key.public_key().key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        own = binding(self.key_authorization(account_key), spki)
        for name, theirs, ours in (("audience", self.audience, own.audience), ("nonce", self.nonce, own.nonce)):
            if theirs and theirs != ours:
                raise ValueError(
                    f"the server asks for a {name} that does not follow from this challenge and this account "
                    "key; it may be relaying another server's challenge, so no evidence is sent"
                )
        return own

    def validation(self, account_key: JWK, **_kwargs: Any) -> Binding:
        """The binding, by the name under which the acme library asks for it."""
        return self.binding(account_key)
