"""What was warned of because little of its life is left, so that each warning is given once by all servers together."""

from __future__ import annotations

from acme_iid.store.writes import Reader, Statement, again


def has(reader: Reader, subject: str, percent: int, ends: int) -> bool:
    """Whether it was warned of something that ends then."""
    rows = reader.rows(
        "SELECT 1 FROM expiry_warnings WHERE subject = :subject AND percent = :percent AND ends = :ends",
        subject=subject,
        percent=percent,
        ends=ends,
    )
    return bool(rows)


def note(subject: str, percent: int, ends: int) -> Statement:
    """Note that it is warned of something now, in the place of what had its name and another end."""
    return Statement(
        """INSERT INTO expiry_warnings (subject, percent, ends) VALUES (:subject, :percent, :ends)
           ON CONFLICT (subject, percent) DO UPDATE SET ends = excluded.ends
           WHERE expiry_warnings.ends <> excluded.ends""",
        {"subject": subject, "percent": percent, "ends": ends},
        again,
    )
