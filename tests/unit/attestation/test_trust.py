from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections import Counter
from importlib import resources

import forge
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from trusting import trusting

from acme_iid.attestation.aws_trust import AwsTrust, pinned_keys

PublicKey = rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey


def _pem(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _pinned_pem(region: str) -> bytes:
    return _pem(trusting().part(AwsTrust).keys_for("rsa2048", region)[0].key)


def test_every_pinned_key_is_the_one_that_its_hash_names() -> None:
    listed = json.loads(resources.files("acme_iid.attestation.keys").joinpath("aws.json").read_bytes())["keys"]
    loaded = {(key.kind, key.key_id): key for key in pinned_keys()}
    assert len(loaded) == len(listed)
    for entry in listed:
        spki = base64.b64decode(entry["spki"])
        assert hashlib.sha256(spki).hexdigest() == entry["spki_sha256"]
        key = loaded[entry["kind"], "sha256:" + entry["spki_sha256"]]
        assert key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
        assert key.regions == frozenset(entry["regions"])
        assert key.scope is None
        assert {"rsa2048": 2048, "rsa1024": 1024, "dsa": 1024}[key.kind] == key.key.key_size
        assert isinstance(key.key, dsa.DSAPublicKey) == (key.kind == "dsa")


def test_the_pinned_keys_cover_the_regions_that_aws_publishes() -> None:
    regions = {
        kind: {r for key in pinned_keys() if key.kind == kind for r in key.regions or ()}
        for kind in ("rsa2048", "rsa1024", "dsa")
    }
    assert len(regions["rsa2048"]) == 39
    assert regions["rsa2048"] == regions["rsa1024"]
    assert len(regions["dsa"]) == 34
    assert regions["dsa"] < regions["rsa2048"]


def test_each_rsa2048_key_proves_its_region_except_in_china() -> None:
    shared = {key.regions for key in pinned_keys() if key.kind == "rsa2048" and len(key.regions or ()) > 1}
    assert shared == {frozenset({"cn-north-1", "cn-northwest-1"})}
    counts = Counter(r for key in pinned_keys() if key.kind == "rsa2048" for r in key.regions or ())
    assert {region for region, count in counts.items() if count > 1} == {"cn-north-1", "cn-northwest-1"}


def test_keys_are_found_by_kind_and_region() -> None:
    trust = trusting()
    (key,) = trust.part(AwsTrust).keys_for("rsa2048", "us-west-2")
    assert (key.kind, key.regions) == ("rsa2048", frozenset({"us-west-2"}))
    aws = trust.part(AwsTrust)
    assert aws.keys_for("rsa2048", "mars-north-1") == ()
    assert aws.keys_for("rsa1024", "us-west-2") == aws.keys_for("rsa1024", "us-east-1")


def test_an_operators_certificates_count_for_their_provisioner_anywhere() -> None:
    trust = trusting({"mine": forge.keys().certificates})
    for kind in ("rsa2048", "rsa1024", "dsa"):
        (key,) = trust.part(AwsTrust).keys_for(kind, "mars-north-1")
        assert (key.kind, key.regions, key.scope) == (kind, None, frozenset({"mine"}))


def test_an_operators_public_keys_count_like_certificates() -> None:
    public = b"".join(_pem(getattr(forge.keys(), kind).key.public_key()) for kind in ("rsa2048", "rsa1024", "dsa"))
    assert trusting({"mine": public}) == trusting({"mine": forge.keys().certificates})


def test_text_round_the_blocks_is_no_fault() -> None:
    pem = b"us-west-2:\r\n" + forge.keys().certificates.replace(b"\n", b"\r\n") + b"\r\nthe end\r\n"
    assert trusting({"mine": pem}) == trusting({"mine": forge.keys().certificates})


def test_one_key_given_to_two_provisioners_is_believed_for_both() -> None:
    trust = trusting({"one": forge.keys().certificates, "two": forge.keys().certificates})
    (key,) = trust.part(AwsTrust).keys_for("rsa2048", "mars-north-1")
    assert key.scope == frozenset({"one", "two"})


def test_a_pinned_key_given_again_stays_open_to_all_in_its_region_alone() -> None:
    trust = trusting({"mine": _pinned_pem("us-west-2")})
    (at_home,) = trust.part(AwsTrust).keys_for("rsa2048", "us-west-2")
    assert at_home.scope is None
    elsewhere = trust.part(AwsTrust).keys_for("rsa2048", "us-east-1")
    assert [key.scope for key in elsewhere] == [None, frozenset({"mine"})]
    assert elsewhere[1].key_id == at_home.key_id


@pytest.mark.parametrize(
    ("pem", "sentence"),
    [
        (b"", "hold no key"),
        (b"-----BEGIN CERTIFICATE-----\n", "hold no key"),
        (
            _pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
            "P-256 keys are not accepted",
        ),
        (_pem(rsa.RSAPublicNumbers(3, (1 << 2047) + 1).public_key()), "the RSA key's public exponent is not accepted"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "'mine': "),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "'mine': "),
        (
            forge.keys().rsa2048.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "a block is a PRIVATE KEY",
        ),
    ],
    ids=["empty", "cut off", "elliptic curve", "exponent", "broken certificate", "broken key", "private key"],
)
@pytest.mark.parametrize("before", [b"", forge.keys().certificates], ids=["alone", "after good ones"])
def test_a_file_with_anything_but_usable_keys_is_refused(pem: bytes, sentence: str, before: bytes) -> None:
    if before and sentence == "hold no key":
        assert trusting({"mine": before + pem}).part(AwsTrust).keys_for("dsa", "mars-north-1")
        return
    with pytest.raises(ValueError, match=sentence) as refused:
        trusting({"mine": before + pem})
    assert "iid_roots of the provisioner 'mine'" in str(refused.value)


def test_importing_the_verifiers_reads_no_keys() -> None:
    code = "import acme_iid.attestation.aws_trust as t; assert t.pinned_keys.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True)
