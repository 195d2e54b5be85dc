"""Statements as they are written here, in the form that a driver takes."""

from __future__ import annotations

import re
from functools import lru_cache

NOW = "/* DATABASE TIME */ :now"
"""In a statement, the time in seconds: the parameter ``now`` on one machine, the database's own where many share it."""
SKIP_LOCKED = "/* SKIP LOCKED */"
"""At the end of a SELECT, what locks its rows and leaves out those that others have locked, where there are others."""
_WORDS = {NOW: "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)", SKIP_LOCKED: "FOR UPDATE SKIP LOCKED"}
# Quoted text, comments and casts have no parameters in them.
_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|::|:([A-Za-z_][A-Za-z0-9_]*)|%""")


@lru_cache(maxsize=512)
def translate(statement: str) -> bytes:
    """A statement with ``:name`` parameters as psycopg takes it, with ``%(name)s``, and PostgreSQL's words."""
    for word, own in _WORDS.items():
        statement = statement.replace(word, own)
    return _TOKEN.sub(lambda match: f"%({match[1]})s" if match[1] else match[0].replace("%", "%%"), statement).encode()


_RETURNING = re.compile(r"\bRETURNING\b")


def returns(statement: str) -> bool:
    """Whether a statement that changes rows gives some of them back."""
    return _RETURNING.search(statement) is not None


@lru_cache(maxsize=512)
def guarded(statement: str, *, shared: bool) -> str:
    """A statement that fails (division by zero) where ``statement`` gives or changes no row, and ends its transaction.

    :param shared: keep others from changing the rows that it selects, until the transaction ends.
    """
    if statement.lstrip().startswith("SELECT"):
        lock = " FOR SHARE" if shared else ""
        return f"SELECT 1 / count(*) AS held FROM ({statement}{lock}) AS guard"  # noqa: S608 - a statement of ours
    if returns(statement):
        return (
            f"WITH guard AS ({statement}) SELECT guard.*, counted.held "  # noqa: S608 - as above
            "FROM (SELECT 1 / count(*) AS held FROM guard) AS counted LEFT JOIN guard ON TRUE"
        )
    return f"WITH guard AS ({statement} RETURNING 1) SELECT 1 / count(*) AS held FROM guard"  # noqa: S608 - as above
