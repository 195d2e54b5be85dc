"""AWS's documents as they come: what is read, what is refused as malformed, and bytes of any kind."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from functools import cache

import forge
import pytest
from aws_evidence import KIND, SIGN, authenticate, every_format, malformed, refusal
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation.identity import Evidence
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step


@cache
def _signed_once(name: str) -> Evidence:
    """One evidence a format: DSA signs differently each time, and hypothesis wants to repeat itself."""
    return SIGN[name](forge.document())


# Decoding


@pytest.mark.parametrize("fault", forge.cms_refused())
@pytest.mark.parametrize("name", ["aws-rsa2048", "aws-pkcs7"])
def test_a_cms_with_a_fault_is_refused_at_decoding(name: str, fault: str) -> None:
    make, sentence = forge.cms_refused()[fault]
    signer = getattr(forge.keys(), KIND[name])
    error = refusal(forge.cms_evidence(make(forge.document(), signer), name))
    assert error.step is Step.DECODE
    assert sentence in error.detail


@pytest.mark.parametrize("encoding", forge.cms_accepted())
def test_a_cms_in_another_right_encoding_proves_the_same(encoding: str) -> None:
    content = forge.document()
    data = forge.cms_accepted()[encoding](content, forge.keys().rsa2048)
    assert authenticate(forge.cms_evidence(data)).content == content


@every_format
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (forge.document()[:-1] + b', "accountId" : "999999999999"}', "the key 'accountId' twice"),
        (forge.document() + b"{}", "not one JSON value"),
        (b"\xef\xbb\xbf" + forge.document(), "not one JSON value"),
        (forge.document().replace(b'"t3.micro"', b"NaN"), "holds NaN"),
        (forge.document().replace(b'"t3.micro"', b"[" * 9 + b"]" * 9), "levels deep"),
        (forge.document().replace(b"t3.micro", b"t" * 20_000), "16384 is the limit"),
        (forge.document().replace(b"t3.micro", b"\xff"), "not valid UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'"region"', "not a JSON object"),
    ],
    ids=["duplicate", "trailing", "mark", "NaN", "deep", "long", "UTF-8", "array", "string"],
)
def test_a_signed_document_that_parsers_read_differently_is_refused(name: str, content: bytes, sentence: str) -> None:
    error = refusal(SIGN[name](content))
    assert error.step is Step.DECODE
    assert sentence in error.detail
    assert not isinstance(error, MalformedEvidenceError)


@every_format
def test_missing_and_unknown_fields_are_malformed(name: str) -> None:
    evidence = SIGN[name](forge.document())
    for field in evidence.fields:
        rest = {other: text for other, text in evidence.fields.items() if other != field}
        assert repr(field) in malformed(Evidence(name, rest))
    assert "'intermediates' does not belong" in malformed(Evidence(name, {**evidence.fields, "intermediates": "x"}))


def test_a_cms_beside_a_document_and_signature_is_malformed() -> None:
    fields = {**forge.aws_signature(forge.document()).fields, **forge.aws_rsa2048(forge.document()).fields}
    assert "'evidence' does not belong" in malformed(Evidence("aws-signature", fields))


def test_base64_is_read_in_lines_and_in_one() -> None:
    evidence = forge.aws_rsa2048(forge.document())
    text = evidence.fields["evidence"]
    assert "\n" in text
    for spelling in (text, text + "\n", text.replace("\n", "")):
        assert authenticate(Evidence(evidence.format, {"evidence": spelling})).content == forge.document()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda _: "\n",
        lambda text: "\n" + text,
        lambda text: text + "\n\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " "),
        lambda text: text[:-1],
        lambda text: text + "=",
        lambda text: text + "====",
        lambda text: text + "AAAA",
        lambda text: "*" + text,
        lambda text: "\u041c" + text[1:],
        lambda text: "\udc4d" + text[1:],
        lambda text: "-" + text[1:],
        lambda _: "A" * (64 * 1024 + 4),
    ],
    ids=list("abcdefghijklmno"),
)
@pytest.mark.parametrize(("name", "field"), [("aws-rsa2048", "evidence"), ("aws-signature", "signature")])
def test_text_that_is_not_exactly_base64_is_malformed(name: str, field: str, spoil: Callable[[str], str]) -> None:
    padded = (SIGN[name](forge.document() + b" " * spaces) for spaces in range(3))
    evidence = next(evidence for evidence in padded if evidence.fields[field].endswith("="))
    assert repr(field) in malformed(Evidence(name, {**evidence.fields, field: spoil(evidence.fields[field])}))


def test_padding_bits_that_decoders_overlook_are_malformed() -> None:
    fields = dict(forge.aws_signature(b"{}").fields)
    assert fields["document"] == "e30"
    for document in ("e31", "e30=", "e3", "e", "e30\n", "e+/0"):
        assert "'document'" in malformed(Evidence("aws-signature", {**fields, "document": document}))


@every_format
def test_a_refusal_never_shows_the_document(name: str) -> None:
    secret = "999999999999"
    content = forge.document(accountId=secret)
    stranger = getattr(forge.other_keys(), KIND[name])
    for evidence in (SIGN[name](content, stranger), SIGN[name](content[:-1]), SIGN[name](content + b"{}")):
        assert secret not in refusal(evidence).detail


# Any bytes


@given(st.dictionaries(st.sampled_from(("evidence", "document", "signature", "x")), st.text(max_size=80), max_size=4))
def test_no_fields_do_worse_than_a_refusal(fields: dict[str, str]) -> None:
    for name in SIGN:
        assert refusal(Evidence(name, fields)).detail


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_refusal(data: bytes) -> None:
    assert refusal(forge.cms_evidence(b"\x30" + data)).step in (Step.DECODE, Step.SIGNATURE)
    fields = {"document": forge.base64url(b"{" + data), "signature": base64.b64encode(data + b"x").decode()}
    assert refusal(Evidence("aws-signature", fields)).step in (Step.DECODE, Step.SIGNATURE)


@every_format
@given(data=st.data())
def test_mutated_evidence_never_authenticates_another_content(name: str, data: st.DataObject) -> None:
    content = forge.document()
    fields = dict(_signed_once(name).fields)
    field = data.draw(st.sampled_from(sorted(fields)))
    url = field == "document"
    decoded = content if url else base64.b64decode(fields[field])
    mutated = forge.mutated(decoded, data.draw)
    fields[field] = forge.base64url(mutated) if url else base64.b64encode(mutated).decode()
    try:
        authenticated = authenticate(Evidence(name, fields)).content
    except AttestationError:
        authenticated = content
    assert authenticated == content


def test_hostile_evidence_of_the_allowed_size_is_refused_in_no_time() -> None:
    started = time.process_time()
    for pattern in (b"\x30\x80", b"\x24\x80", b"\x30\x82\xb0\x00", b"\x00", b"\xff"):
        assert refusal(forge.cms_evidence((pattern * 50_000)[:48_000])).step is Step.DECODE
    for pattern in (b"[", b'{"a":', b'"', b"1"):
        assert refusal(forge.aws_signature((pattern * 48_000)[:48_000])).step is Step.DECODE
    assert time.process_time() - started < 5
