"""Evidence of AWS's formats: documents that prove an instance, and ones with a single fault each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from vectors.case import Case, Identity
from vectors.fixed import NOW, authority, base64url, bound, es384, rsa, token, token_key

from acme_iid.attestation import cose
from acme_iid.simulator import aws, cms, nitro, sts
from acme_iid.simulator.cms import Signer

INSTANCE = aws.Instance(
    account="123456789042",
    region="us-west-2",
    instance_id="i-0123456789abcdef0",
    image="ami-0123456789abcdef0",
    private_ip="172.31.65.180",
    pending_time=NOW - 120,
)
ISSUER = sts.Issuer(token_key("sts-rs256"), token_key("sts-es384"))
SIGNED_AT = NOW - 60
PLACE = "us-west-2"
PRIVATE_NAME = "ip-172-31-65-180.us-west-2.compute.internal"
PCRS = {index: hashlib.sha384(bytes((index,))).hexdigest() for index in range(24)}

_SESSION = "https://sts.amazonaws.com/"
_DOCUMENT_FACTS = {
    "account": "123456789042",
    "partition": "aws",
    "region": "us-west-2",
    "zone": "us-west-2a",
    "image": "ami-0123456789abcdef0",
    "instance_id": "i-0123456789abcdef0",
    "instance_type": "t3.micro",
    "architecture": "x86_64",
    "private_ip": "172.31.65.180",
    "private_name": PRIVATE_NAME,
}
_IDENTITY = Identity(
    id="aws:aws:123456789042:us-west-2:i-0123456789abcdef0",
    owner="123456789042",
    instance_id="i-0123456789abcdef0",
    credential_id="123456789042",
    binding="first use",
    facts=_DOCUMENT_FACTS,
    names=(("dns", "i-0123456789abcdef0"), ("dns", PRIVATE_NAME), ("ip", "172.31.65.180")),
    times={"pendingTime": NOW - 120},
    started_at=NOW - 120,
)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _rsa2048()
    yield from _signature()
    yield from _nitrotpm()
    yield from _web_identity()


def _signer(name: str) -> Signer:
    return Signer(rsa(name), authority(name).chain[0])


def _rsa2048_evidence(document: bytes) -> str:
    return aws.wrap(cms.signed_data(document, _signer("aws-rsa2048"), SIGNED_AT)).decode()


def _duplicate() -> bytes:
    return INSTANCE.document.replace(b'"accountId"', b'"accountId" : "999999999999",\n  "accountId"', 1)


def _changed(**members: object) -> bytes:
    return json.dumps(json.loads(INSTANCE.document) | members).encode()


def _rsa2048() -> Iterator[Case]:
    signer, document = _signer("aws-rsa2048"), INSTANCE.document
    good = {"evidence": _rsa2048_evidence(document)}
    other = _changed(accountId="999999999999")
    attributes = cms.signed_attributes(document, "sha256", SIGNED_AT)
    info = cms.signer_info(signer, attributes)
    exchanged = cms.content_info(cms.encapsulated(other), [info], signer.digest_algorithm)
    twice = cms.content_info(cms.encapsulated(document), [info, info], signer.digest_algorithm)

    def case(name: str, outcome: str, **fields: str) -> Case:
        return Case(name, "aws-rsa2048", fields, outcome)

    proven = replace(_IDENTITY, times={"pendingTime": NOW - 120, "signingTime": SIGNED_AT})
    yield Case("as the metadata service serves it, in lines", "aws-rsa2048", good, "proven", proven)
    yield Case("in one line", "aws-rsa2048", {"evidence": good["evidence"].replace("\n", "")}, "proven", proven)
    yield case("another document beside the signed one", "malformed", **good, document=base64url(other))
    yield case("padding that does not belong there", "malformed", evidence=good["evidence"] + "=")
    yield case("two signers", "decoding", evidence=aws.wrap(twice).decode())
    yield case("a member twice, truly signed", "decoding", evidence=_rsa2048_evidence(_duplicate()))
    yield case("another document inside the signed attributes' CMS", "signature", evidence=aws.wrap(exchanged).decode())
    elsewhere = replace(INSTANCE, region="eu-central-1").document
    yield case(
        "a document of a region that the key does not sign for", "signature", evidence=_rsa2048_evidence(elsewhere)
    )
    ahead = replace(INSTANCE, pending_time=NOW + 61).document
    yield case("an instance started 61 seconds from now", "freshness", evidence=_rsa2048_evidence(ahead))


def _signature() -> Iterator[Case]:
    signer = _signer("aws-rsa1024")

    def signature(document: bytes) -> str:
        return aws.wrap(signer.sign(document)).decode()

    def case(name: str, outcome: str, document: bytes, signed: bytes, identity: Identity | None = None) -> Case:
        fields = {"document": base64url(document), "signature": signature(signed)}
        return Case(name, "aws-signature", fields, outcome, identity)

    document = INSTANCE.document
    yield case("as the metadata service serves it", "proven", document, document, _IDENTITY)
    yield Case("no signature", "aws-signature", {"document": base64url(document)}, "malformed")
    yield case("a member twice, truly signed", "decoding", _duplicate(), _duplicate())
    yield case("a newline after the document", "signature", document + b"\n", document)
    yield case("another document", "signature", _changed(accountId="999999999999"), document)
    ahead = replace(INSTANCE, pending_time=NOW + 61).document
    yield case("an instance started 61 seconds from now", "freshness", ahead, ahead)


def _nitro_document(challenge: str = "example", account: str = "example", at: int = NOW - 10) -> bytes:
    signer = authority("nitro-signer")
    assert isinstance(signer.key, EllipticCurvePrivateKey)
    # The simulator gives the byte shape; a signature that is the same each time replaces its own.
    made = nitro.sign(
        nitro.payload(
            INSTANCE.instance_id,
            list(signer.chain),
            at,
            nonce=bound(challenge).digest,
            public_key=bound(account).public_key,
        ),
        signer.key,
    )
    return made[:-96] + es384(signer.key, cose.signed_bytes(cose.parse(made)))


def _nitrotpm() -> Iterator[Case]:
    beside = _rsa2048_evidence(INSTANCE.document)
    good = _nitro_document()

    def case(name: str, outcome: str, evidence: bytes, rsa2048: str = beside, identity: Identity | None = None) -> Case:
        fields = {"evidence": base64url(evidence), "rsa2048": rsa2048}
        return Case(name, "aws-nitrotpm", fields, outcome, identity)

    proven = replace(
        _IDENTITY,
        binding="nonce",
        facts={**_DOCUMENT_FACTS, **{f"pcr{index}": value for index, value in PCRS.items()}},
        times={"pendingTime": NOW - 120, "signingTime": SIGNED_AT, "timestamp": NOW - 10},
    )
    yield case("as the hypervisor makes it", "proven", good, identity=proven)
    yield Case("without the instance identity document", "aws-nitrotpm", {"evidence": base64url(good)}, "malformed")
    yield case("a byte after its end", "decoding", good + b"\0")
    changed = good.replace(b"SHA384", b"SHA385", 1)
    yield case("one byte of the payload changed", "signature", changed)
    yield case("six minutes and one second old", "freshness", _nitro_document(at=NOW - 361))
    yield case("the nonce of another challenge", "binding", _nitro_document(challenge="another challenge"))
    yield case("another account's key", "binding", _nitro_document(account="another account"))
    neighbour = replace(INSTANCE, instance_id="i-0fedcba9876543210").document
    yield case("beside the document of another instance", "binding", good, _rsa2048_evidence(neighbour))


def _web_identity() -> Iterator[Case]:
    service = sts.SecurityTokenService(INSTANCE, ISSUER, vpc="vpc-0123456789abcdef0", organization="o-abcdefghij")

    def claims(changed: dict[str, Any] | None = None, issued: int = NOW - 10) -> dict[str, Any]:
        made = service.claims([bound().audience], issued)
        return {**made, "jti": "b7d0e6a6-64f5-4a0b-9ab4-6a4e0a0a6a55", **(changed or {})}

    def case(name: str, outcome: str, evidence: str, identity: Identity | None = None) -> Case:
        return Case(name, "aws-web-identity", {"evidence": evidence}, outcome, identity)

    proven = replace(
        _IDENTITY,
        binding="audience",
        facts={
            "account": "123456789042",
            "partition": "aws",
            "region": "us-west-2",
            "instance_id": "i-0123456789abcdef0",
            "principal": "arn:aws:iam::123456789042:role/my-role",
            "private_ip": "172.31.65.180",
            "private_name": PRIVATE_NAME,
            "vpc": "vpc-0123456789abcdef0",
            "organization": "o-abcdefghij",
        },
        times={"iat": NOW - 10, "exp": NOW + 290},
        started_at=None,
    )
    session = claims()[_SESSION]
    without_arn = {name: value for name, value in session.items() if name != "ec2_source_instance_arn"}
    two = [bound().audience, "https://somebody-else.example"]
    yield case("signed with RS256", "proven", token(claims(), ISSUER.rs256), proven)
    yield case("signed with ES384", "proven", token(claims(), ISSUER.es384), proven)
    yield case("two segments", "malformed", token(claims(), ISSUER.rs256).rpartition(".")[0])
    yield case("of no instance", "decoding", token(claims({_SESSION: without_arn}), ISSUER.rs256))
    stranger = "https://11111111-2222-3333-4444-555555555555.tokens.sts.global.api.aws"
    yield case("of an issuer that is not configured", "signature", token(claims({"iss": stranger}), ISSUER.rs256))
    foreign = {**session, "aws_account": "999999999999"}
    yield case("of another account than the issuer's", "signature", token(claims({_SESSION: foreign}), ISSUER.rs256))
    yield case("six minutes and one second old", "freshness", token(claims(issued=NOW - 361), ISSUER.rs256))
    yield case("for two audiences", "binding", token(claims({"aud": two}), ISSUER.rs256))
    other = bound("another challenge").audience
    yield case("for another challenge", "binding", token(claims({"aud": other}), ISSUER.rs256))
