"""Keys that were revoked for keyCompromise, which no certificate and no account may have again."""

from __future__ import annotations

from acme_iid.store.writes import Question, Reader, Statement, again, ask


def add(spki_sha256: str, now: int) -> Statement:
    """Note a key for good, unless it was noted before.

    :param spki_sha256: the SHA-256 of its SubjectPublicKeyInfo, in hex.
    """
    return Statement(
        """INSERT INTO compromised_keys (spki_sha256, compromised_at) VALUES (:spki_sha256, :now)
           ON CONFLICT DO NOTHING""",
        {"spki_sha256": spki_sha256, "now": now},
        again,
    )


def hold_free(spki_sha256: str) -> Statement:
    """Rely on it that a key was not noted."""
    return Statement(
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM compromised_keys WHERE spki_sha256 = :spki_sha256)",
        {"spki_sha256": spki_sha256},
        again,
    )


def has(reader: Reader, spki_sha256: str) -> bool:
    """Whether a key was noted."""
    return bool(ask(reader, question(spki_sha256)))


def question(spki_sha256: str) -> Question:
    """What :func:`has` asks."""
    return Question("SELECT 1 FROM compromised_keys WHERE spki_sha256 = :spki_sha256", {"spki_sha256": spki_sha256})
