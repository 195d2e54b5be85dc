"""Positions in DER that a library has read already, so that lengths are right and in their shortest form (X.690)."""

from __future__ import annotations


def contents(der: bytes, start: int) -> int:
    """The position at which the contents of the value at ``start`` begin."""
    length = der[start + 1]
    return start + 2 + (length & 0x7F if length & 0x80 else 0)


def end(der: bytes, start: int) -> int:
    """The position after the value at ``start``, at which the next one begins."""
    begin = contents(der, start)
    return begin + (der[start + 1] if begin == start + 2 else int.from_bytes(der[start + 2 : begin]))
