"""Members of payloads that are octets in base64url: one spelling, and a sentence for every other."""

from __future__ import annotations

import pytest

from acme_iid.errors import AcmeError, Problem
from acme_iid.web.jws import decode_field


@pytest.mark.parametrize(("text", "octets"), [("", b""), ("AA", b"\0"), ("AAA", b"\0\0"), ("-_-_", b"\xfb\xff\xbf")])
def test_octets_are_read(text: str, octets: bytes) -> None:
    assert decode_field({"csr": text}, "csr") == octets


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "the payload has no 'csr'"),
        (7, "the payload has no 'csr'"),
        (["AAAA"], "the payload has no 'csr'"),
        ("AAAAA", "'csr' is not base64url"),
        ("A", "'csr' is not base64url"),
        ("AA==", "'csr' is not base64url without padding"),
        ("+/+/", "'csr' is not base64url without padding"),
        ("AAAA\n", "'csr' is not base64url without padding"),
        ("AB", "stray bits"),
        ("AAB", "stray bits"),
    ],
)
def test_what_is_no_base64url_is_malformed(value: object, sentence: str) -> None:
    with pytest.raises(AcmeError, match=sentence) as refused:
        decode_field({"csr": value}, "csr")
    assert refused.value.problem is Problem.MALFORMED
