"""Documents in the clouds' own byte shapes, signed by test keys: good ones, and ones with a single fault each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st
from trusting import trusting

from acme_iid.attestation import asn1
from acme_iid.attestation.asn1 import tlv
from acme_iid.attestation.aws_trust import AwsTrust
from acme_iid.attestation.cms import CONTENT_TYPE, ID_DATA, ID_SIGNED_DATA, MESSAGE_DIGEST, SHA1, SHA256, SIGNING_TIME
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.trust import TrustStore
from acme_iid.simulator import cms
from acme_iid.simulator.aws import Instance, Keys, wrap
from acme_iid.simulator.cms import Signer, attribute, indefinite, oid, sequence

SIGNED_AT = 1_750_000_000
"""When the documents here were signed, in seconds."""

ID_SIGNED_RECEIPT = "1.2.840.113549.1.9.16.1.1"
UNKNOWN_ATTRIBUTE = "1.2.840.113549.1.9.7"
_CONTEXT_1 = 0xA1


@cache
def keys() -> Keys:
    """One set of throw-away keys for a whole test run."""
    return Keys.generate()


@cache
def other_keys() -> Keys:
    """Another set, which no test trusts."""
    return Keys.generate()


def trust(provisioner: str = "test") -> TrustStore:
    """Believe AWS and, for one provisioner, the throw-away keys."""
    return trusting({provisioner: keys().certificates})


def pinned(*regions: str) -> TrustStore:
    """Believe the throw-away keys as if AWS's lists named them for ``regions``, and no other key."""
    given = (key for key in trust().part(AwsTrust).keys if key.scope is not None)
    return TrustStore((AwsTrust(tuple(replace(key, regions=frozenset(regions), scope=None) for key in given)),))


def instance(pending_time: int = SIGNED_AT - 30, **facts: str) -> Instance:
    """One instance, the same at every call but for what is given."""
    return Instance(**{"instance_id": "i-0123456789abcdef0", **facts}, pending_time=pending_time)


def document(**members: object) -> bytes:
    """That instance's document with members changed, or removed where ``...`` is given."""
    changed = json.loads(instance().document) | members
    return json.dumps({name: value for name, value in changed.items() if value is not ...}).encode()


def aws_rsa2048(content: bytes, signer: Signer | None = None) -> Evidence:
    """The evidence that AWS's ``rsa2048`` would be for any content."""
    return cms_evidence(cms.signed_data(content, signer or keys().rsa2048, SIGNED_AT))


def aws_pkcs7(content: bytes, signer: Signer | None = None) -> Evidence:
    """The evidence that AWS's ``pkcs7`` would be for any content."""
    return cms_evidence(cms.signed_data(content, signer or keys().dsa, SIGNED_AT), "aws-pkcs7")


def aws_signature(content: bytes, signer: Signer | None = None) -> Evidence:
    """The evidence that AWS's ``document`` and ``signature`` would be for any content."""
    signature = (signer or keys().rsa1024).sign(content)
    return Evidence("aws-signature", {"document": base64url(content), "signature": wrap(signature).decode()})


def cms_evidence(data: bytes, name: str = "aws-rsa2048") -> Evidence:
    """Any bytes as the evidence of a CMS format."""
    return Evidence(name, {"evidence": wrap(data).decode()})


def base64url(data: bytes) -> str:
    """``data`` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def cms_accepted() -> dict[str, Callable[[bytes, Signer], bytes]]:
    """Encodings that AWS does not use today and that are right all the same."""
    return {
        "definite lengths throughout": _definite,
        "content in several pieces": lambda content, signer: _with_content(content, signer, _pieces(content)),
        "content in one primitive string": lambda content, signer: _with_content(
            content, signer, tlv(asn1.OCTET_STRING, content)
        ),
        "a certificate attached": lambda content, signer: _assembled(
            content, signer, certificates=tlv(asn1.CONTEXT_0, certificate(signer))
        ),
        "no signingTime": lambda content, signer: _with_attributes(content, signer, drop=1),
    }


def cms_refused() -> dict[str, tuple[Callable[[bytes, Signer], bytes], str]]:
    """Faults by name: what makes a CMS with that fault, and a part of the sentence that refuses it."""
    return {
        "two signers": (lambda c, s: _assembled(c, s, signers=2), "the set of signers has 2 values"),
        "no signer": (lambda c, s: _assembled(c, s, signers=0), "the set of signers has 0 values"),
        "bytes after the end": (lambda c, s: cms.signed_data(c, s, SIGNED_AT) + b"\0", "1 bytes follow its end"),
        "a second CMS after the end": (lambda c, s: cms.signed_data(c, s, SIGNED_AT) * 2, "bytes follow its end"),
        "the end missing": (lambda c, s: cms.signed_data(c, s, SIGNED_AT)[:-1], "it ends within a value"),
        "not signed data": (_not_signed_data, "the content type is not signed data"),
        "content of another type": (_receipt, "the encapsulated content's type is not id-data"),
        "detached content": (_detached, "the content is detached"),
        "two contents": (_two_contents, "the encapsulated content has 2 values"),
        "pieces inside pieces": (
            lambda c, s: _with_content(c, s, indefinite(asn1.CONSTRUCTED_OCTET_STRING, _pieces(c))),
            "the encapsulated content has the tag 0x24",
        ),
        "an attribute twice": (_duplicate_attribute, "is there twice"),
        "an attribute with two values": (_two_digests, "has 2 values instead of one"),
        "no messageDigest": (lambda c, s: _with_attributes(c, s, drop=2), "no messageDigest"),
        "no contentType": (lambda c, s: _with_attributes(c, s, drop=0), "do not name id-data"),
        "another contentType": (_other_content_type, "do not name id-data"),
        "attributes out of order": (
            lambda c, s: _assembled(c, s, attributes=cms.signed_attributes(c, s.digest, SIGNED_AT)[::-1]),
            "the signed attributes are not in DER",
        ),
        "an attribute of indefinite length": (_ber_attribute, "the signed attributes are not in DER"),
        "unsigned attributes": (_unsigned_attributes, "unsigned attributes"),
        "another digest announced": (_other_digest, "is not the one that the SignedData announces"),
        "an unknown digest": (_unknown_digest, "is not supported"),
        "version 3": (_version_3, "version is not 1"),
        "a length that is not minimal": (_long_length, "not written in its shortest form"),
        "revocation lists": (
            lambda c, s: _assembled(c, s, certificates=tlv(_CONTEXT_1, b"")),
            "the set of certificates has the tag 0xa1",
        ),
        "a signer without a signature": (_no_signature, "the SignerInfo is incomplete"),
        "a signingTime of words": (_odd_time, "the signingTime is not a time"),
    }


def without_attributes(content: bytes, signer: Signer) -> bytes:
    """Sign the content itself, without attributes, as Azure does."""
    return _with_signer(content, signer, _signer_members(content, signer, signature=signer.sign(content), without=3))


def other_signature_algorithm(content: bytes, signer: Signer, dotted: str) -> bytes:
    """A true signature under the name of another algorithm."""
    signature = signer.sign(tlv(asn1.SET, b"".join(cms.signed_attributes(content, signer.digest, SIGNED_AT))))
    members = _signer_members(content, signer, signature=signature)
    members[4] = sequence(oid(dotted), cms.NULL)
    return _with_signer(content, signer, members)


def sha1_digest(content: bytes, signer: Signer) -> bytes:
    """A true signature over attributes that hold the content's SHA-1."""
    algorithm = sequence(oid(SHA1), cms.NULL)
    attributes = cms.signed_attributes(content, "sha1", SIGNED_AT)
    members = [member.encoding for member in asn1.parse(cms.signer_info(signer, attributes)).children]
    members[2] = algorithm
    return cms.content_info(cms.encapsulated(content), [sequence(*members)], algorithm)


def content_exchanged(signed: bytes, content: bytes, signer: Signer) -> bytes:
    """A signer's true signature of ``signed``, round another ``content``."""
    attributes = cms.signed_attributes(signed, signer.digest, SIGNED_AT)
    return cms.content_info(cms.encapsulated(content), [cms.signer_info(signer, attributes)], signer.digest_algorithm)


def digest_exchanged(signed: bytes, content: bytes, signer: Signer) -> bytes:
    """The same, with the messageDigest made to fit the other ``content``."""
    signature = signer.sign(tlv(asn1.SET, b"".join(cms.signed_attributes(signed, signer.digest, SIGNED_AT))))
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    info = cms.signer_info(signer, attributes, signature)
    return cms.content_info(cms.encapsulated(content), [info], signer.digest_algorithm)


def attributes_as_content(content: bytes, signer: Signer) -> bytes:
    """A true signature over attributes, passed off as one over a content of the same bytes."""
    attributes = tlv(asn1.SET, b"".join(cms.signed_attributes(content, signer.digest, SIGNED_AT)))
    members = _signer_members(attributes, signer, signature=signer.sign(attributes), without=3)
    return _with_signer(attributes, signer, members)


def mutated(data: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """``data`` with a few bytes changed, cut out or put in, as hypothesis draws them."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(("change", "cut", "insert", "repeat"))):
            case "change":
                changed[at] ^= draw(st.integers(1, 255))
            case "cut":
                del changed[at : at + draw(st.integers(1, 8))]
            case "insert":
                changed[at:at] = draw(st.binary(min_size=1, max_size=8))
            case _:
                changed[at:at] = changed[at : at + draw(st.integers(1, 64))]
        if not changed:
            break
    return bytes(changed)


def _assembled(
    content: bytes,
    signer: Signer,
    *,
    signers: int = 1,
    certificates: bytes = b"",
    attributes: list[bytes] | None = None,
    digest_algorithm: bytes | None = None,
) -> bytes:
    if attributes is None:
        attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    infos = [cms.signer_info(signer, attributes)] * signers
    return cms.content_info(cms.encapsulated(content), infos, digest_algorithm or signer.digest_algorithm, certificates)


def _with_attributes(content: bytes, signer: Signer, *, drop: int) -> bytes:
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    del attributes[drop]
    return _assembled(content, signer, attributes=attributes)


def _with_content(content: bytes, signer: Signer, octets: bytes) -> bytes:
    info = cms.signer_info(signer, cms.signed_attributes(content, signer.digest, SIGNED_AT))
    inner = indefinite(asn1.SEQUENCE, oid(ID_DATA), indefinite(asn1.CONTEXT_0, octets))
    return cms.content_info(inner, [info], signer.digest_algorithm)


def _pieces(content: bytes) -> bytes:
    halves = (content[: len(content) // 2], b"", content[len(content) // 2 :])
    return indefinite(asn1.CONSTRUCTED_OCTET_STRING, *(tlv(asn1.OCTET_STRING, half) for half in halves))


def certificate(signer: Signer) -> bytes:
    """Return the signer's certificate in DER."""
    return signer.certificate.public_bytes(Encoding.DER)


def _definite(content: bytes, signer: Signer) -> bytes:
    info = cms.signer_info(signer, cms.signed_attributes(content, signer.digest, SIGNED_AT))
    inner = sequence(oid(ID_DATA), tlv(asn1.CONTEXT_0, tlv(asn1.OCTET_STRING, content)))
    signed = sequence(tlv(asn1.INTEGER, b"\x01"), tlv(asn1.SET, signer.digest_algorithm), inner, tlv(asn1.SET, info))
    return sequence(oid(ID_SIGNED_DATA), tlv(asn1.CONTEXT_0, signed))


def _signer_members(content: bytes, signer: Signer, *, signature: bytes, without: int | None = None) -> list[bytes]:
    """A SignerInfo's members, encoded: version, sid, digest, attributes, algorithm, signature."""
    info = cms.signer_info(signer, cms.signed_attributes(content, signer.digest, SIGNED_AT), signature)
    members = [member.encoding for member in asn1.parse(info).children]
    if without is not None:
        del members[without]
    return members


def _with_signer(content: bytes, signer: Signer, members: list[bytes]) -> bytes:
    return cms.content_info(cms.encapsulated(content), [sequence(*members)], signer.digest_algorithm)


def _not_signed_data(content: bytes, signer: Signer) -> bytes:
    return cms.signed_data(content, signer, SIGNED_AT).replace(oid(ID_SIGNED_DATA), oid(ID_DATA), 1)


def _receipt(content: bytes, signer: Signer) -> bytes:
    info = cms.signer_info(signer, cms.signed_attributes(content, signer.digest, SIGNED_AT))
    octets = indefinite(asn1.CONTEXT_0, tlv(asn1.OCTET_STRING, content))
    return cms.content_info(sequence(oid(ID_SIGNED_RECEIPT), octets), [info], signer.digest_algorithm)


def _detached(content: bytes, signer: Signer) -> bytes:
    info = cms.signer_info(signer, cms.signed_attributes(content, signer.digest, SIGNED_AT))
    return cms.content_info(sequence(oid(ID_DATA)), [info], signer.digest_algorithm)


def _two_contents(content: bytes, signer: Signer) -> bytes:
    return _with_content(content, signer, tlv(asn1.OCTET_STRING, content) + tlv(asn1.OCTET_STRING, b"{}"))


def _duplicate_attribute(content: bytes, signer: Signer) -> bytes:
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    return _assembled(content, signer, attributes=[*attributes, attributes[2]])


def _two_digests(content: bytes, signer: Signer) -> bytes:
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    value = asn1.parse(attributes[2]).children[1].children[0].encoding
    return _assembled(content, signer, attributes=[*attributes[:2], attribute(MESSAGE_DIGEST, value, value)])


def _other_content_type(content: bytes, signer: Signer) -> bytes:
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    return _assembled(content, signer, attributes=[attribute(CONTENT_TYPE, oid(ID_SIGNED_DATA)), *attributes[1:]])


def _ber_attribute(content: bytes, signer: Signer) -> bytes:
    """Sign what DER would be, and send one attribute with an indefinite length."""
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    members = _signer_members(content, signer, signature=signer.sign(tlv(asn1.SET, b"".join(attributes))))
    first = indefinite(asn1.SEQUENCE, *(member.encoding for member in asn1.parse(attributes[0]).children))
    members[3] = tlv(asn1.CONTEXT_0, first + b"".join(attributes[1:]))
    return _with_signer(content, signer, members)


def _unsigned_attributes(content: bytes, signer: Signer) -> bytes:
    signature = signer.sign(tlv(asn1.SET, b"".join(cms.signed_attributes(content, signer.digest, SIGNED_AT))))
    unsigned = tlv(_CONTEXT_1, attribute(UNKNOWN_ATTRIBUTE, cms.NULL))
    return _with_signer(content, signer, [*_signer_members(content, signer, signature=signature), unsigned])


def _other_digest(content: bytes, signer: Signer) -> bytes:
    other = SHA1 if signer.digest == "sha256" else SHA256
    return _assembled(content, signer, digest_algorithm=sequence(oid(other), cms.NULL))


def _unknown_digest(content: bytes, signer: Signer) -> bytes:
    md5 = sequence(oid("1.2.840.113549.2.5"), cms.NULL)
    members = _signer_members(content, signer, signature=b"")
    members[2] = md5
    return cms.content_info(cms.encapsulated(content), [sequence(*members)], md5)


def _version_3(content: bytes, signer: Signer) -> bytes:
    members = _signer_members(content, signer, signature=b"")
    members[0] = tlv(asn1.INTEGER, b"\x03")
    return _with_signer(content, signer, members)


def _long_length(content: bytes, signer: Signer) -> bytes:
    version = tlv(asn1.INTEGER, b"\x01")
    return cms.signed_data(content, signer, SIGNED_AT).replace(version, b"\x02\x81\x01\x01", 1)


def _no_signature(content: bytes, signer: Signer) -> bytes:
    return _with_signer(content, signer, _signer_members(content, signer, signature=b"", without=5)[:4])


def _odd_time(content: bytes, signer: Signer) -> bytes:
    attributes = cms.signed_attributes(content, signer.digest, SIGNED_AT)
    attributes[1] = attribute(SIGNING_TIME, tlv(asn1.UTC_TIME, b"yesterday"))
    return _assembled(content, signer, attributes=sorted(attributes))
