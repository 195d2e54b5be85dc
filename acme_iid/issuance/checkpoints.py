"""Signing a place of the chain of events with an issuer's key, and verifying that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from acme_iid.issuance.issuer import Signer, key_id, sign
from acme_iid.issuance.roots import is_signed_by

PREFIX = "acme-iid checkpoint of events\n"
"""The beginning of each text: nothing else that an issuer signs begins so, since all of it is DER."""


def statement(facts: Mapping[str, object]) -> str:
    """The text that is signed."""
    return PREFIX + json.dumps(facts, sort_keys=True, separators=(",", ":"))


def facts_of(text: str) -> dict[str, Any]:
    """The facts in such a text.

    :raises ValueError: if it is another text.
    """
    if not text.startswith(PREFIX):
        raise ValueError("this is no checkpoint of events")
    facts: dict[str, Any] = json.loads(text.removeprefix(PREFIX))
    return facts


def signed(signer: Signer, text: str) -> bytes:
    """The signature of a text: as the issuer signs certificates.

    :raises SignerError: if the key is elsewhere and gives none now.
    """
    return sign(signer, text.encode("ascii"))


def is_signed(text: str, signature: bytes, issuer: x509.Certificate) -> bool:
    """Whether an issuer's key has signed a text."""
    key, data = issuer.public_key(), text.encode()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True


def issuer_in(
    chains: Iterable[Sequence[x509.Certificate]], roots: Sequence[x509.Certificate], issuer_id: str
) -> x509.Certificate | None:
    """The issuer with an id, among chains that may be anybody's: one of CA certificates that leads to a root.

    :param chains: each with the issuer's certificate first.
    """
    for chain in chains:
        if chain and key_id(chain[0].public_key()) == issuer_id and _leads_to(chain, roots):
            return chain[0]
    return None


def _leads_to(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    if not all(_is_ca(certificate) for certificate in chain):
        return False
    linked = all(is_signed_by(below, above) for below, above in pairwise(chain))
    return linked and any(is_signed_by(chain[-1], root) for root in roots)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, UnsupportedAlgorithm):
        return False
