"""Keys that were revoked for keyCompromise, which no certificate and no account may have again."""

from __future__ import annotations

from acme_iid.store.database import Reader, Transaction


def add(transaction: Transaction, spki_sha256: str, now: int) -> bool:
    """Note a key for good; False if it was noted before.

    :param spki_sha256: the SHA-256 of its SubjectPublicKeyInfo, in hex.
    """
    return bool(
        transaction.run(
            """INSERT INTO compromised_keys (spki_sha256, compromised_at) VALUES (:spki_sha256, :now)
               ON CONFLICT DO NOTHING""",
            spki_sha256=spki_sha256,
            now=now,
        )
    )


def has(reader: Reader, spki_sha256: str) -> bool:
    """Whether a key was noted."""
    return bool(reader.rows("SELECT 1 FROM compromised_keys WHERE spki_sha256 = :spki_sha256", spki_sha256=spki_sha256))
