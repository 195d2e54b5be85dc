"""Keys that were revoked for keyCompromise: nothing is certified for one again, and no account signs with one."""

from __future__ import annotations

import hashlib

from acme_iid.errors import AcmeError, Problem, Remedy
from acme_iid.protocol import jwk
from acme_iid.store import compromised_keys
from acme_iid.store.writes import Reader, Statement


def require_certifiable(reader: Reader, spki_sha256: str) -> Statement:
    """Refuse to certify a compromised key.

    :param spki_sha256: the SHA-256 of the key's SubjectPublicKeyInfo, in hex.
    :returns: what the write that records the certificate relies on.
    :raises AcmeError: ``badCSR``.
    """
    if compromised_keys.has(reader, spki_sha256):
        raise AcmeError(
            Problem.BAD_CSR,
            "the CSR's key was revoked as compromised and is never certified again; make a new key, with acme-iid: "
            "'acme-iid rekey'",
            remedy=Remedy.NEW_KEY,
        )
    return compromised_keys.hold_free(spki_sha256)


def require_usable_by_account(reader: Reader, key: str) -> list[Statement]:
    """Refuse a compromised key as an account's.

    :param key: the public key as canonical JWK JSON.
    :returns: what the write that gives the key to the account relies on, after it has given it.
    :raises AcmeError: ``badPublicKey``.
    """
    spki_sha256 = hashlib.sha256(jwk.spki(jwk.load(key))).hexdigest()
    if compromised_keys.has(reader, spki_sha256):
        raise AcmeError(Problem.BAD_PUBLIC_KEY, "this key was revoked as compromised; make another account key")
    return compromised_keys.keep_free(spki_sha256)
