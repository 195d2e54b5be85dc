"""Counts the SQL statements of a server that has this folder on its PYTHONPATH: a line each, with the statement's verb.

Python imports it before anything else. Lines are appended, so processes and threads count into one file, which the
variable ``ACME_IID_STATEMENTS`` names. What a trigger does belongs to the statement that sets it off.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

_FILE = os.open(os.environ["ACME_IID_STATEMENTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
_connect = sqlite3.connect


def _count(statement: str) -> None:
    if not statement.startswith("--"):
        os.write(_FILE, statement.split(None, 1)[0].upper().rstrip(";").encode() + b"\n")


def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connect(*arguments, **options)
    connection.set_trace_callback(_count)
    return connection


sqlite3.connect = connect  # type: ignore[assignment]  # it stands for all of the overloads
