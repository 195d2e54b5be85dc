"""The lines that go to a signer and come from it: one JSON object each, for the token's process and for programs.

A question is ``{"id", "key", "algorithm", "tbs"}``, with ``digest`` in place of ``tbs`` for the token's process, or
``{"id", "key", "ask"}``. An answer is ``{"id", "signature"}``, ``{"id", "public_key"}`` or ``{"id", "error"}``; octets
are in base64. Before its answers a signer may write ``{"ready": true}``, and before it ends ``{"fatal": "why"}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from acme_iid.protocol import strict_json

MAX_ANSWER_BYTES = 16 * 1024
"""The longest line that a signer may write."""
MAX_TEXT = 500
"""The characters of a signer's own words that are passed on."""


def encode(message: Mapping[str, object]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, object] | None:
    """Return the message in a line; None if it is not one."""
    try:
        message = strict_json.loads(line, max_depth=4, max_bytes=MAX_ANSWER_BYTES)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Return a signer's own words with an escape for what would write more than one line of a log, and cut."""
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)
