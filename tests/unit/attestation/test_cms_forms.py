"""Signed data with one member that is not as RFC 5652 has it: each fault by the guard that names it."""

from __future__ import annotations

from collections.abc import Callable

import forge
import pytest

from acme_iid.attestation import asn1, cms
from acme_iid.attestation.asn1 import Node, tlv
from acme_iid.simulator.cms import signed_data

Change = Callable[[Node], bytes]

SIGNED_DATA = (1, 0)
ENCAPSULATED = (*SIGNED_DATA, 2)
SIGNER = (*SIGNED_DATA, 3, 0)
SIGNING_TIME = (*SIGNER, 3, 1, 1, 0)
NULL = tlv(asn1.NULL, b"")


def rebuilt(node: Node, path: tuple[int, ...], change: Change) -> bytes:
    """A value's encoding with another one at a path of members below it."""
    if not path:
        return change(node)
    members = [member.encoding for member in node.children]
    members[path[0]] = rebuilt(node.children[path[0]], path[1:], change)
    return tlv(node.tag, b"".join(members))


def sent(path: tuple[int, ...], change: Change) -> bytes:
    """What AWS would send with that change."""
    return rebuilt(asn1.parse(signed_data(b"{}", forge.keys().rsa2048, forge.SIGNED_AT)), path, change)


def members(*chosen: int | bytes) -> Change:
    """The members that have these numbers, and others, in their place."""
    return lambda node: tlv(
        node.tag, b"".join(node.children[each].encoding if isinstance(each, int) else each for each in chosen)
    )


def value(content: bytes) -> Change:
    """Another content under the same tag."""
    return lambda node: tlv(node.tag, content)


@pytest.mark.parametrize(
    ("path", "change", "sentence"),
    [
        ((), members(0, 1, NULL), "the ContentInfo has 3 members instead of 2"),
        (SIGNED_DATA, members(0, 1, 2), "the SignedData is incomplete"),
        (SIGNED_DATA, members(0, 1, 2, tlv(asn1.CONTEXT_0, b""), NULL, 3), "holds more than content, certificates"),
        ((*SIGNED_DATA, 0), value(b"\x03"), "the SignedData's version is not 1"),
        (ENCAPSULATED, members(), "the encapsulated content's type is not id-data"),
        (
            SIGNED_DATA,
            members(0, 1, 2, tlv(asn1.CONTEXT_0, b"\x30\x80\x00\x00"), 3),
            "a certificate is not in DER",
        ),
        ((*SIGNER, 2), members(), "the signer's digest algorithm is not an AlgorithmIdentifier"),
        ((*SIGNER, 2), members(0, NULL, NULL), "the signer's digest algorithm is not an AlgorithmIdentifier"),
        ((*SIGNER, 2), members(0, tlv(asn1.NULL, b"\0")), "the parameter of the signer's digest algorithm is not NULL"),
        (SIGNER, members(0, 1, 2, 3, 4, 5, tlv(0xA1, b"")), "unsigned attributes"),
        (SIGNING_TIME, value(b"2401010000000"), "the signingTime is not a time in UTC with seconds"),
        (SIGNING_TIME, value(b"24010100000\xb2Z"), "the signingTime is not a time in UTC with seconds"),
        (SIGNING_TIME, lambda _: tlv(asn1.OCTET_STRING, b"20240101000000Z"), "the signingTime is not a time$"),
        (SIGNING_TIME, lambda _: tlv(asn1.GENERALIZED_TIME, b"2024010100000Z"), "the signingTime is not a time$"),
        (SIGNING_TIME, value(b"240230000000Z"), "the signingTime is not a time that exists"),
    ],
)
def test_one_member_that_is_not_as_it_must_be_is_named(path: tuple[int, ...], change: Change, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        cms.parse(sent(path, change))


def test_what_is_rebuilt_without_a_change_is_read() -> None:
    for path in ((), SIGNED_DATA, ENCAPSULATED, SIGNER, SIGNING_TIME):
        assert cms.parse(sent(path, lambda node: node.encoding)).content == b"{}"


@pytest.mark.parametrize("tag", [asn1.CONSTRUCTED_OCTET_STRING, 0x23, 0x2C, 0x36])
def test_a_string_in_pieces_has_no_der(tag: int) -> None:
    pieces = tlv(asn1.OCTET_STRING, b"a") + tlv(asn1.OCTET_STRING, b"b")
    with pytest.raises(ValueError, match="in pieces where DER is demanded"):
        asn1.der(asn1.parse(tlv(asn1.SEQUENCE, tlv(tag, pieces))))
