"""Keys that were revoked for keyCompromise: nothing is certified for one again, and no account signs with one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from acme_iid.errors import AcmeError, Problem, Remedy
from acme_iid.protocol import jwk
from acme_iid.store import accounts, compromised_keys
from acme_iid.store.writes import Reader, Statement, Write

Refusal = Exception | Write[Any]
"""An error, or one that is recorded."""


def certifiable(spki_sha256: str, thumbprint: str, refused: Callable[[Reader, AcmeError], Refusal]) -> Statement:
    """The guard of the write that records a certificate: its key is not compromised, and is no account's.

    :param spki_sha256: the SHA-256 of the key's SubjectPublicKeyInfo, in hex.
    :param thumbprint: the key's (RFC 7638).
    :param refused: makes a refusal of ``badCSR``.
    """

    def verdict(reader: Reader) -> Refusal | None:
        if compromised_keys.has(reader, spki_sha256):
            return refused(
                reader,
                AcmeError(
                    Problem.BAD_CSR,
                    "the CSR's key was revoked as compromised and is never certified again; make a new key, with "
                    "acme-iid: 'acme-iid rekey'",
                    remedy=Remedy.NEW_KEY,
                ),
            )
        if accounts.by_thumbprint(reader, thumbprint) is not None:
            return AcmeError(
                Problem.BAD_CSR, "the CSR's key is an account's key; make a key pair for the certificate alone"
            )
        return None

    return compromised_keys.certifiable(spki_sha256, thumbprint, verdict)


def require_usable_by_account(reader: Reader, key: str) -> list[Statement]:
    """Refuse a compromised key as an account's.

    :param key: the public key as canonical JWK JSON.
    :returns: the statements for the write that gives the key to the account; they come after the one that gives it.
    :raises AcmeError: ``badPublicKey``.
    """
    spki_sha256 = hashlib.sha256(jwk.spki(jwk.load(key))).hexdigest()
    if compromised_keys.has(reader, spki_sha256):
        raise AcmeError(Problem.BAD_PUBLIC_KEY, "this key was revoked as compromised; make another account key")
    return compromised_keys.keep_free(spki_sha256)
