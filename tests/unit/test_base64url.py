"""base64url, as both sides write and read it: octets have one spelling, and a text that is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.binding import base64url, from_base64url


@given(st.binary(max_size=64))
def test_octets_that_were_written_are_read(octets: bytes) -> None:
    assert from_base64url(base64url(octets)) == octets


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[A-Za-z0-9_=+/-]{0,12}\n?", fullmatch=True)))
def test_a_text_that_is_read_is_the_only_spelling_of_its_octets(text: str) -> None:
    try:
        octets = from_base64url(text)
    except ValueError:
        return
    assert base64url(octets) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AA==", "without padding"),
        ("+/+/", "without padding"),
        ("AAAA\n", "without padding"),
        ("ÄAAA", "without padding"),
        ("A", "is not base64url$"),
        ("AB", "stray bits"),
        ("AAB", "stray bits"),
    ],
)
def test_other_texts_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_base64url(text)
