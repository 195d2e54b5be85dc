from __future__ import annotations

import time
from typing import Any

import forge
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from hypothesis import example, given
from hypothesis import strategies as st

from acme_iid.attestation import cose
from acme_iid.simulator import nitro
from acme_iid.simulator.nitro import cbor

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=300) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.integers(-30, 300) | st.text(max_size=10), inner, max_size=5)
    ),
    max_leaves=30,
)
MESSAGE = nitro.sign_bytes(b"\xa0", generate_private_key(SECP384R1()))


def _refused(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"\w") as refused:
        cose.decode(data)
    return str(refused.value)


@pytest.mark.parametrize(
    ("encoded", "value"),
    [  # RFC 8949 appendix A
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1a000f4240", 1000000),
        ("1bffffffffffffffff", 18446744073709551615),
        ("20", -1),
        ("3903e7", -1000),
        ("3bffffffffffffffff", -18446744073709551616),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("40", b""),
        ("4401020304", bytes((1, 2, 3, 4))),
        ("60", ""),
        ("64f0908591", "\U00010151"),
        ("83010203", [1, 2, 3]),
        ("a201020304", {1: 2, 3: 4}),
        ("9fff", []),
        ("83018202039f0405ff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ],
)
def test_the_rfcs_own_examples_are_read(encoded: str, value: object) -> None:
    assert cose.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("encoded", "sentence"),
    [
        ("", "ends within a value"),
        ("18", "ends within a value"),
        ("4401", "ends within a value"),
        ("5bffffffffffffffff00", "ends within a value"),
        ("9bffffffffffffffff00", "ends within a value"),
        ("82", "ends within a value"),
        ("9f01", "ends within a value"),
        ("0000", "1 bytes follow its end"),
        ("1817", "shortest form"),
        ("1900ff", "shortest form"),
        ("1a0000ffff", "shortest form"),
        ("1b00000000ffffffff", "shortest form"),
        ("5801ff", "shortest form"),
        ("a2010201 02".replace(" ", ""), "the key 1 twice"),
        ("a2616101616102", "the key 'a' twice"),
        ("bf616101616102ff", "the key 'a' twice"),
        ("a1f501", "neither a number nor a text"),
        ("a1f601", "neither a number nor a text"),
        ("a1410101", "neither a number nor a text"),
        ("a1800001", "neither a number nor a text"),
        ("bf01ff", "no place here"),
        ("ff", "no place here"),
        ("5f4101ff", "no place here"),
        ("7f6161ff", "no place here"),
        ("1f", "no place here"),
        ("1c", "no place here"),
        ("c000", "no place here"),
        ("d400", "no place here"),
        ("d6", "no place here"),
        ("f90000", "no place here"),
        ("fb3ff199999999999a", "no place here"),
        ("f7", "no place here"),
        ("f0", "no place here"),
        ("f814", "no place here"),
        ("61ff", "not valid UTF-8"),
        ("63eda080", "not valid UTF-8"),
        ("81" * 9 + "00", "levels deep"),
        ("9f" * 9 + "00", "levels deep"),
        ("a100" * 9 + "00", "levels deep"),
        ("990400" + "00" * 1024, "more than 1024 values"),
        ("59ffff" + "00" * 65535, "32768 is the limit"),
    ],
)
def test_what_nitro_never_sends_is_refused(encoded: str, sentence: str) -> None:
    assert sentence in _refused(bytes.fromhex(encoded))


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert cose.decode(cbor(value)) == value


@given(st.binary(max_size=60))
@example(bytes.fromhex("bf61610161629f0203ffff"))
@example(bytes.fromhex("d28443a10126a0"))
def test_accepted_cbor_re_encodes_to_itself_but_for_indefinite_lengths(data: bytes) -> None:
    try:
        value = cose.decode(data)
    except ValueError:
        return
    encoded = cbor(value)
    assert cose.decode(encoded) == value
    if not {0x9F, 0xBF} & set(data):
        assert encoded == data


def test_hostile_bytes_of_the_allowed_size_are_refused_in_no_time() -> None:
    started = time.process_time()
    for pattern in (b"\x9f", b"\xbf", b"\x81", b"\xa1\x00", b"\x9b\xff", b"\x5b", b"\x00", b"\xff", b"\x40", b"\xf6"):
        assert _refused((pattern * cose.MAX_BYTES)[: cose.MAX_BYTES])
        assert _refused(b"\x9f" + (pattern * cose.MAX_BYTES)[: cose.MAX_BYTES - 1])
        assert _refused(b"\xbf" + (pattern * cose.MAX_BYTES)[: cose.MAX_BYTES - 1])
    assert time.process_time() - started < 5


# COSE_Sign1


def test_a_message_is_read_with_and_without_its_tag() -> None:
    assert cose.parse(MESSAGE) == cose.parse(b"\xd2" + MESSAGE)
    read = cose.parse(MESSAGE)
    assert (read.protected, read.payload, len(read.signature)) == (bytes.fromhex("a1013822"), b"\xa0", 96)


def test_the_signature_covers_header_and_payload_as_the_rfc_has_it() -> None:
    """RFC 9052 section 4.4: the context, the protected header, no external data, the payload."""
    for size in (0, 23, 24, 255, 256, 5000):
        message = cose.Sign1(bytes.fromhex("a1013822"), bytes(size), b"")
        assert cose.decode(cose.signed_bytes(message)) == ["Signature1", message.protected, b"", message.payload]
        assert cbor(["Signature1", message.protected, b"", message.payload]) == cose.signed_bytes(message)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([b"\xa1\x01\x38\x22", {}, b"x"], "not a COSE_Sign1"),
        ([b"\xa1\x01\x38\x22", {}, None, bytes(96)], "not a COSE_Sign1"),
        ([b"\xa1\x01\x38\x22", [], b"x", bytes(96)], "not a COSE_Sign1"),
        ([{1: -35}, {}, b"x", bytes(96)], "not a COSE_Sign1"),
        ({0: b"", 1: {}, 2: b"x", 3: b""}, "not a COSE_Sign1"),
        ([b"\xa1\x01\x38\x22", {}, b"x", bytes(96), b""], "not a COSE_Sign1"),
        ([b"\xa1\x01\x26", {}, b"x", bytes(64)], "does not say ES384"),
        ([b"\xa0", {}, b"x", bytes(96)], "does not say ES384"),
        ([cbor({1: -35, 4: b"kid"}), {}, b"x", bytes(96)], "does not say ES384"),
        ([cbor([1, -35]), {}, b"x", bytes(96)], "does not say ES384"),
        ([b"", {}, b"x", bytes(96)], "ends within a value"),
        ([b"\xa1\x01\x38\x22", {1: -35}, b"x", bytes(96)], "unprotected headers"),
        ([b"\xa1\x01\x38\x22", {}, b"x", bytes(95)], "not 96 bytes long"),
        ([b"\xa1\x01\x38\x22", {}, b"x", bytes(97)], "not 96 bytes long"),
    ],
)
def test_a_message_that_is_not_as_nitro_makes_it_is_refused(members: object, sentence: str) -> None:
    for prefix in (b"", b"\xd2"):
        with pytest.raises(ValueError, match=sentence):
            cose.parse(prefix + cbor(members))


def test_another_tag_or_two_are_refused() -> None:
    for prefix in (b"\xd1", b"\xd8\x3d", b"\xd2\xd2"):
        with pytest.raises(ValueError, match="no place here"):
            cose.parse(prefix + MESSAGE)


@given(data=st.data())
def test_no_mutated_message_does_worse_than_a_refusal(data: st.DataObject) -> None:
    mutated = forge.mutated(MESSAGE, data.draw)
    try:
        read = cose.parse(mutated)
    except ValueError:
        return
    assert cose.decode(read.protected) == {1: cose.ES384}
