from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path

import forge
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation import asn1, cms
from acme_iid.simulator.aws import Keys
from acme_iid.simulator.cms import signed_data

CONTENT = b'{"some": "content"}'


def _signed(keys: Keys | None = None) -> bytes:
    return signed_data(CONTENT, (keys or forge.keys()).rsa2048, forge.SIGNED_AT)


def test_what_aws_serves_is_read_with_all_its_parts() -> None:
    signer = forge.keys().rsa2048
    read = cms.parse(_signed())
    assert read.content == CONTENT
    assert (read.digest, read.signature_algorithm) == ("sha256", cms.RSA_ENCRYPTION)
    assert read.serial == signer.certificate.serial_number
    assert read.signing_time == forge.SIGNED_AT
    assert read.certificates == ()
    signed = cms.signed_bytes(read)
    assert signed[0] == asn1.SET
    assert read.signature == signer.sign(signed)


@pytest.mark.parametrize("name", forge.cms_accepted())
def test_other_right_encodings_say_the_same(name: str) -> None:
    signer = forge.keys().rsa2048
    read = cms.parse(forge.cms_accepted()[name](CONTENT, signer))
    assert read.content == CONTENT
    assert read.signature == signer.sign(cms.signed_bytes(read))


@pytest.mark.parametrize("name", forge.cms_refused())
def test_a_single_fault_is_refused_with_its_name(name: str) -> None:
    make, sentence = forge.cms_refused()[name]
    with pytest.raises(ValueError, match=sentence):
        cms.parse(make(CONTENT, forge.keys().rsa2048))


def test_without_signed_attributes_the_signature_covers_the_content() -> None:
    signer = forge.keys().rsa2048
    read = cms.parse(forge.without_attributes(CONTENT, signer))
    assert read.signed_attributes is None
    assert cms.signed_bytes(read) == CONTENT
    assert read.signature == signer.sign(CONTENT)


def test_an_attached_certificate_is_handed_on_as_it_came() -> None:
    signer = forge.keys().rsa2048
    read = cms.parse(forge.cms_accepted()["a certificate attached"](CONTENT, signer))
    assert read.certificates == (forge.certificate(signer),)


def test_a_content_whose_digest_was_not_signed_gives_nothing_to_verify() -> None:
    read = cms.parse(forge.content_exchanged(CONTENT, b"{}", forge.keys().rsa2048))
    with pytest.raises(cms.DigestMismatchError, match="digest differs"):
        cms.signed_bytes(read)


def test_every_proper_prefix_is_refused() -> None:
    data = _signed()
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"\w"):
            cms.parse(data[:length])


def test_deep_nesting_is_refused_without_recursion() -> None:
    for opening in (b"\x30\x80", b"\x24\x80", b"\xa0\x80"):
        with pytest.raises(ValueError, match="levels deep"):
            asn1.parse(opening * 30_000)


def test_too_many_values_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 4096 values"):
        asn1.parse(asn1.tlv(asn1.SEQUENCE, b"\x05\x00" * 20_000))


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="65536 is the limit"):
        asn1.parse(bytes(65_537))


def test_the_worst_input_of_the_allowed_size_is_refused_in_no_time() -> None:
    # Nested definite values whose innermost is full: each byte is looked at once, not once a level.
    data = asn1.tlv(asn1.OCTET_STRING, bytes(60_000))
    for _ in range(20):
        data = asn1.tlv(asn1.SEQUENCE, data)
    started = time.process_time()
    for hostile in (data, b"\x30\x80" * 32_000, asn1.tlv(asn1.SEQUENCE, b"\x30\x00" * 4_000)):
        with pytest.raises(ValueError, match=r"\w"):
            cms.parse(hostile)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "ends within a value"),
        (b"\x30", "ends within a value"),
        (b"\x1f\x81\x01\x00", "tag of several bytes"),
        (b"\x10\x00", "SEQUENCE or SET is encoded as a primitive"),
        (b"\x04\x80\x00\x00", "primitive value has an indefinite length"),
        (b"\x30\x02\x04\x05", "longer than what it stands in"),
        (b"\x30\x06\x30\x02\x04\x02\xaa\xbb", "longer than what it stands in"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "length does not fit"),
        (b"\x30\x82\x01", "length does not fit"),
        (b"\x30\x81\x02\x05\x00", "shortest form"),
        (b"\x30\x82\x00\x80" + bytes(128), "shortest form"),
        (b"\x00\x00", "end-of-contents octets"),
        (b"\x30\x02\x00\x00", "end-of-contents octets"),
        (b"\x30\x03\x30\x80\x00\x00\x00", "bytes follow|longer than|ends within"),
        (b"\x05\x00\x05\x00", "2 bytes follow its end"),
    ],
)
def test_broken_encodings_are_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        asn1.parse(data)


@pytest.mark.parametrize("value", [b"", b"\x00\x01", b"\xff\x80"])
def test_integers_have_one_form(value: bytes) -> None:
    with pytest.raises(ValueError, match="not an INTEGER"):
        asn1.integer(asn1.parse(asn1.tlv(asn1.INTEGER, value)), "it")


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, -1, -128, -129])
def test_integers_are_read_as_they_are_written(number: int) -> None:
    encoded = number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, signed=True)
    assert asn1.integer(asn1.parse(asn1.tlv(asn1.INTEGER, encoded)), "it") == number


@pytest.mark.parametrize("value", [b"", b"\x80", b"\x2a\x86", b"\x2a\x80\x01", b"\x2a" * 65])
def test_object_identifiers_have_one_form(value: bytes) -> None:
    with pytest.raises(ValueError, match="not an OBJECT IDENTIFIER"):
        asn1.oid(asn1.parse(asn1.tlv(asn1.OID, value)), "it")


def test_object_identifiers_above_the_second_arc_are_read() -> None:
    assert asn1.oid(asn1.parse(b"\x06\x03\x88\x37\x03"), "it") == "2.999.3"


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        cms.parse(data)


@given(st.data())
def test_mutated_signed_data_is_refused_or_holds_less_than_it_is_long(data: st.DataObject) -> None:
    mutated = forge.mutated(_signed(), data.draw)
    try:
        content = cms.parse(mutated).content
    except ValueError:
        content = b""
    assert len(content) < len(mutated)


@given(st.recursive(st.binary(max_size=40), lambda inner: st.lists(inner, max_size=4), max_leaves=20))
def test_der_is_what_der_is_re_encoded_to(value: object) -> None:
    def encode(value: object) -> bytes:
        if isinstance(value, bytes):
            return asn1.tlv(asn1.OCTET_STRING, value)
        assert isinstance(value, list)
        return asn1.tlv(asn1.SEQUENCE, b"".join(map(encode, value)))

    encoded = encode(value)
    assert asn1.der(asn1.parse(encoded)) == encoded


def test_openssl_reads_what_the_simulator_signs(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(forge.keys().certificates)
    for signer in (forge.keys().rsa2048, forge.keys().dsa):
        verified = subprocess.run(
            ["openssl", "cms", "-verify", "-inform", "DER", "-noverify", "-certfile", str(tmp_path / "roots.pem")],
            input=signed_data(CONTENT, signer, forge.SIGNED_AT),
            capture_output=True,
            check=True,
        )
        assert verified.stdout == CONTENT


def test_real_cms_documents_of_aws_and_azure_are_read(samples: Path) -> None:
    read = 0
    for path in sorted(samples.glob("*.json")):
        sample = json.loads(path.read_bytes())
        if "pkcs7" not in sample["format"]:
            continue
        signed = cms.parse(base64.b64decode(sample["signature"]))
        azure = sample["cloud"] == "azure"
        # Azure names its leaf, attaches it, and signs the content itself; AWS does none of these.
        assert (len(signed.certificates), signed.signed_attributes is None) == ((1, True) if azure else (0, False))
        if sample["verifies"]:
            assert cms.signed_bytes(signed)
            assert signed.content == sample["document"].encode()
        read += 1
    assert read >= 8
