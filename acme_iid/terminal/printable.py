"""Text from outside as people are shown it: it moves no cursor, turns no line round, and hides nothing."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text in which characters that do not print stand as Python escapes them."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
