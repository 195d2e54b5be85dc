"""Keys that were revoked for keyCompromise: nothing is certified for one again, and no account signs with one."""

from __future__ import annotations

import hashlib

from acme_iid.errors import AcmeError, Problem, Remedy
from acme_iid.protocol import jwk
from acme_iid.store import compromised_keys
from acme_iid.store.database import Transaction


def require_certifiable(transaction: Transaction, spki_sha256: str) -> None:
    """Refuse to certify a compromised key.

    :param transaction: the one that records the certificate, so that no revocation comes in between.
    :param spki_sha256: the SHA-256 of the key's SubjectPublicKeyInfo, in hex.
    :raises AcmeError: ``badCSR``.
    """
    if compromised_keys.has(transaction, spki_sha256):
        raise AcmeError(
            Problem.BAD_CSR,
            "the CSR's key was revoked as compromised and is never certified again; make a new key, with acme-iid: "
            "'acme-iid rekey'",
            remedy=Remedy.NEW_KEY,
        )


def require_usable_by_account(transaction: Transaction, key: str) -> None:
    """Refuse a compromised key as an account's.

    :param transaction: the one that gives the key to the account.
    :param key: the public key as canonical JWK JSON.
    :raises AcmeError: ``badPublicKey``.
    """
    spki_sha256 = hashlib.sha256(jwk.spki(jwk.load(key))).hexdigest()
    if compromised_keys.has(transaction, spki_sha256):
        raise AcmeError(Problem.BAD_PUBLIC_KEY, "this key was revoked as compromised; make another account key")
