"""Statements as they are written here, in the form that a driver takes."""

from __future__ import annotations

import re
from functools import lru_cache

# What stands in quotes or a comment, and a cast, has no parameters in it.
_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|::|:([A-Za-z_][A-Za-z0-9_]*)|%""")


@lru_cache(maxsize=512)
def translate(statement: str) -> bytes:
    """A statement with ``:name`` parameters as psycopg takes it, with ``%(name)s``."""
    return _TOKEN.sub(lambda match: f"%({match[1]})s" if match[1] else match[0].replace("%", "%%"), statement).encode()
