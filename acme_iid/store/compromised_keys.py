"""Keys that were revoked for keyCompromise, which no certificate and no account may have again."""

from __future__ import annotations

from acme_iid.store.writes import Question, Reader, Statement, Verdict, again, ask


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


def certifiable(spki_sha256: str, thumbprint: str, verdict: Verdict) -> Statement:
    """Rely on it that a key was not noted, and is no account's.

    :param thumbprint: the key's (RFC 7638).
    """
    return Statement(
        """SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM compromised_keys WHERE spki_sha256 = :spki_sha256)
           AND NOT EXISTS (SELECT 1 FROM accounts WHERE thumbprint = :thumbprint)""",
        {"spki_sha256": spki_sha256, "thumbprint": thumbprint},
        verdict,
    )


def keep_free(spki_sha256: str) -> list[Statement]:
    """Rely on it that a key was not noted, and let whoever is about to note it wait until the write is committed.

    A later write that notes it sees the rows of this one.
    """
    values = {"spki_sha256": spki_sha256}
    return [
        Statement(
            """INSERT INTO compromised_keys (spki_sha256, compromised_at) VALUES (:spki_sha256, 0)
               ON CONFLICT DO NOTHING""",
            values,
            again,
        ),
        Statement("DELETE FROM compromised_keys WHERE spki_sha256 = :spki_sha256", values),
    ]


def has(reader: Reader, spki_sha256: str) -> bool:
    """Whether a key was noted."""
    return bool(ask(reader, question(spki_sha256)))


def question(spki_sha256: str) -> Question:
    """The question of :func:`has`."""
    return Question("SELECT 1 FROM compromised_keys WHERE spki_sha256 = :spki_sha256", {"spki_sha256": spki_sha256})
