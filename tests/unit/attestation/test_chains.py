from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources

import forge
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, SECP256R1, SECP521R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.hashes import SHA3_256, SHA224, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation import anchors, aws_trust, azure_trust, chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.simulator.authority import Authority, Extension, key_usage, name

NOW = forge.SIGNED_AT
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_WHEN = datetime.fromtimestamp(NOW, UTC)
_BEFORE, _AFTER = _WHEN.replace(year=2020), _WHEN.replace(year=2040)


@cache
def _key(_number: int = 0) -> EllipticCurvePrivateKey:
    """Keys by number, so that each is made once."""
    return generate_ec(SECP256R1())


def _named(text: str) -> x509.Name:
    return name(text, "Test")


@cache
def _root() -> Authority:
    return Authority.root(_named("Root"), _key())


def _below(count: int, path_length: int | None = None, of: Authority | None = None) -> Authority:
    authority = of or _root()
    for number in range(1, count + 1):
        authority = authority.below(_named(f"Authority {number}"), _key(number), path_length)
    return authority


def _leaf(issuer: Authority, extensions: Sequence[Extension] = ()) -> x509.Certificate:
    return issuer.certify(_named("Signer"), _key(99).public_key(), extensions, _BEFORE, _AFTER)


def _authority(issuer: Authority, extensions: Sequence[Extension], before: datetime = _BEFORE) -> Authority:
    """An authority with just these extensions."""
    certificate = issuer.certify(_named("Odd"), _key(50).public_key(), extensions, before, _AFTER)
    return Authority(_key(50), (certificate, *issuer.chain))


def _verify(issuer: Authority, now: int = NOW, purpose: x509.ObjectIdentifier | None = SERVER) -> frozenset[str] | None:
    roots = chains.verify(_leaf(issuer), issuer.chain[:-1], Anchors((Root(issuer.chain[-1]),)), now, purpose)
    return chains.scope(roots)


def _refused(issuer: Authority, now: int = NOW) -> str:
    with pytest.raises(ValueError, match=r"certificate") as refused:
        _verify(issuer, now)
    return str(refused.value)


USUAL: tuple[Extension, ...] = (
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (key_usage(signatures=True, certificates=True), True),
)


@pytest.mark.parametrize("count", range(5))
def test_a_chain_of_up_to_four_intermediates_leads_to_the_root(count: int) -> None:
    assert _verify(_below(count)) is None


def test_a_chain_of_five_intermediates_is_too_long() -> None:
    assert "no chain leads from the signer's certificate, issued by 'CN=Authority 5" in _refused(_below(5))


def test_intermediates_may_be_pinned_or_supplied_in_any_order() -> None:
    authority = _below(3)
    first, second, third, root = authority.chain
    leaf = _leaf(authority)
    for supplied, pinned in (((third, first, second), ()), ((), (second, third, first)), ((second,), (first, third))):
        assert chains.scope(chains.verify(leaf, supplied, Anchors((Root(root),), pinned), NOW)) is None
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, (first, third), Anchors((Root(root),)), NOW)


def test_a_root_that_came_along_is_none() -> None:
    authority = _below(1)
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(_leaf(authority), authority.chain, Anchors(), NOW)
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(_leaf(authority), (), Anchors((), authority.chain), NOW)


def test_an_impostor_with_the_issuers_name_does_not_stand_in_the_way() -> None:
    authority = _below(1)
    impostor = Authority.root(_named("Root"), _key(7)).below(_named("Authority 1"), _key(8))
    anchors_ = Anchors((Root(impostor.chain[-1]), Root(_root().chain[0])))
    assert chains.scope(chains.verify(_leaf(authority), (impostor.chain[0], authority.chain[0]), anchors_, NOW)) is None
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(_leaf(impostor), (impostor.chain[0],), Anchors((Root(_root().chain[0]),)), NOW)


def test_a_cross_signed_issuer_leads_to_whichever_root_is_trusted() -> None:
    mine, other = _root(), Authority.root(_named("Other root"), _key(20))
    crossed = tuple(root.below(_named("Crossed"), _key(21)) for root in (mine, other))
    leaf, issuers = _leaf(crossed[0]), tuple(one.chain[0] for one in crossed)
    for root in (mine, other):
        roots = chains.verify(leaf, issuers, Anchors((Root(root.chain[0], frozenset({"x"})),)), NOW)
        assert chains.scope(roots) == frozenset({"x"})


def test_the_scope_is_of_all_roots_reached_and_open_if_one_is_pinned() -> None:
    leaf, root = _leaf(_root()), _root().chain[0]
    mine, yours = Root(root, frozenset({"mine"})), Root(root, frozenset({"yours"}))
    elsewhere = Root(Authority.root(_named("Elsewhere"), _key(30)).chain[0], frozenset({"theirs"}))
    assert chains.scope(chains.verify(leaf, (), Anchors((mine, yours, elsewhere)), NOW)) == frozenset({"mine", "yours"})
    assert chains.scope(chains.verify(leaf, (), Anchors((mine, Root(root))), NOW)) is None


@pytest.mark.parametrize(
    ("extensions", "sentence"),
    [
        ((USUAL[1],), "not an authority's"),
        ((USUAL[0],), "not for signing certificates"),
        (((x509.BasicConstraints(ca=False, path_length=None), True), USUAL[1]), "not an authority's"),
        ((USUAL[0], (key_usage(signatures=True, certificates=False), True)), "not for signing certificates"),
        ((*USUAL, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)), "another purpose"),
        ((*USUAL, (x509.NameConstraints([x509.DNSName("example.com")], None), True)), "name constraints"),
        ((*USUAL, (x509.NameConstraints(None, [x509.DNSName("azure.com")]), False)), "name constraints"),
        ((*USUAL, (x509.InhibitAnyPolicy(0), True)), "not understood (2.5.29.54)"),
        ((*USUAL, (x509.SubjectKeyIdentifier(b"1"), True)), "not understood (2.5.29.14)"),
    ],
)
def test_a_certificate_that_may_not_issue_others_vouches_for_nothing(
    extensions: Sequence[Extension], sentence: str
) -> None:
    assert sentence in _refused(_authority(_root(), extensions))
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(
            _leaf(_authority(_root(), extensions)),
            (),
            Anchors((Root(_authority(_root(), extensions).chain[0]),)),
            NOW,
            SERVER,
        )


@pytest.mark.parametrize(
    ("extensions", "sentence"),
    [
        ([USUAL[0]], "is an authority's"),
        ([(key_usage(signatures=False, certificates=True), True)], "is not for signatures"),
        ([(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)], "is for another purpose"),
        ([(x509.InhibitAnyPolicy(0), True)], "has a critical extension that is not understood"),
    ],
)
def test_a_certificate_that_may_not_sign_documents_is_refused(extensions: list[Extension], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"the signer's certificate {sentence}"):
        chains.verify(_leaf(_root(), extensions), (), Anchors((Root(_root().chain[0]),)), NOW, SERVER)


def test_an_issuer_for_servers_or_for_anything_may_issue_to_a_server() -> None:
    for usage in (SERVER, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, usage])
        assert _verify(_authority(_root(), (*USUAL, (usages, True)))) is None
    mail = _authority(_root(), (*USUAL, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True)))
    assert _verify(mail, purpose=None) is None


@pytest.mark.parametrize(("allowed", "below", "good"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False)])
def test_a_path_length_is_the_number_of_authorities_below(allowed: int, below: int, good: bool) -> None:
    constrained = _root().below(_named("Constrained"), _key(40), allowed)
    authority = _below(below, of=constrained)
    if good:
        assert _verify(authority) is None
    else:
        assert "pathLenConstraint" in _refused(authority)


def test_every_certificate_must_be_valid_at_the_time() -> None:
    late = _authority(_root(), USUAL, before=_WHEN)
    assert _verify(late, NOW) is None
    assert "'CN=Odd,O=Test,C=US' is not valid at 2025-06-15T15:06:39Z" in _refused(late, NOW - 1)
    leaf_ends = int(_AFTER.timestamp())
    assert _verify(_below(1), leaf_ends) is None
    assert "the signer's certificate is not valid at" in _refused(_below(1), leaf_ends + 1)
    root_starts = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp())
    with pytest.raises(ValueError, match="'CN=Root,O=Test,C=US' is not valid at"):
        chains.verify(
            _root().certify(_named("Old"), _key(1).public_key(), (), datetime(2010, 1, 1, tzinfo=UTC), _AFTER),
            (),
            Anchors((Root(_root().chain[0]),)),
            root_starts - 1,
        )


@pytest.mark.parametrize("algorithm", [SHA224(), SHA3_256()])
def test_a_weak_signature_is_refused_except_a_roots_over_itself(algorithm: SHA224 | SHA3_256) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named("Weak"))
        .serial_number(1)
        .not_valid_before(_BEFORE)
        .not_valid_after(_AFTER)
        .public_key(_key(60).public_key())
    )
    for extension, critical in USUAL:
        builder = builder.add_extension(extension, critical)
    own = builder.issuer_name(_named("Weak")).sign(_key(60), algorithm)
    under = builder.issuer_name(_named("Root")).sign(_key(), algorithm)
    assert _verify(Authority(_key(60), (own,))) is None
    assert "algorithm that is not accepted" in _refused(Authority(_key(60), (under, *_root().chain)))


def test_a_signature_with_rsassa_pss_is_refused() -> None:
    root = Authority.root(_named("RSA root"), rsa.generate_private_key(65537, 2048))
    builder = x509.CertificateBuilder(
        root.chain[0].subject, _named("Signer"), _key(99).public_key(), 1, _BEFORE, _AFTER
    )
    assert isinstance(root.key, rsa.RSAPrivateKey)
    usual = builder.sign(root.key, SHA256())
    assert chains.verify(usual, (), Anchors((Root(root.chain[0]),)), NOW)
    pss = builder.sign(root.key, SHA256(), rsa_padding=padding.PSS(padding.MGF1(SHA256()), 32))
    with pytest.raises(ValueError, match="the signer's certificate is signed with an algorithm that is not accepted"):
        chains.verify(pss, (), Anchors((Root(root.chain[0]),)), NOW)


def test_a_signer_that_is_given_as_a_root_vouches_for_nobody() -> None:
    builder = x509.CertificateBuilder(_named("Alone"), _named("Alone"), _key(61).public_key(), 1, _BEFORE, _AFTER)
    alone = builder.sign(_key(61), SHA256())
    with pytest.raises(chains.NoChainError, match="'CN=Alone,O=Test,C=US' is not an authority's"):
        chains.verify(alone, (), Anchors((Root(alone),)), NOW)
    under_a_root = _leaf(_root())
    with pytest.raises(chains.NoChainError):
        chains.verify(under_a_root, (), Anchors((Root(under_a_root),)), NOW)


def test_issuers_of_other_names_cost_nothing_and_are_not_spoken_of() -> None:
    authority = _below(1)
    strangers = [_authority(_root(), USUAL, before=_AFTER.replace(year=2039)).chain[0] for _ in range(chains.MAX_LINKS)]
    anchors_ = Anchors((Root(_root().chain[0]),), tuple(strangers))
    assert chains.scope(chains.verify(_leaf(authority), authority.chain[:-1], anchors_, NOW)) is None
    with pytest.raises(ValueError, match=r"to a trusted root\Z"):
        chains.verify(_leaf(authority), (), anchors_, NOW)


def test_no_more_signatures_are_checked_than_a_chain_may_take() -> None:
    """Issuers of one name, of which each was issued by the next: as many signatures as their number allows."""
    keys = [_key(90 + number) for number in range(chains.MAX_INTERMEDIATES)]
    ladder = [
        Authority.root(_named("Ladder"), above).certify(_named("Ladder"), key.public_key(), USUAL, _BEFORE, _AFTER)
        for key, above in zip(keys, [*keys[1:], _key(89)], strict=True)
    ]
    leaf = Authority(keys[0], (ladder[0],)).certify(_named("Signer"), _key(99).public_key(), (), _BEFORE, _AFTER)
    roots = (Root(_root().chain[0]),)
    # 4 + 3 + 2 + 1 signatures, of which one in each row is right.
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, ladder, Anchors(roots), NOW)
    one_more = Authority.root(_named("Ladder"), _key(88)).chain[0]
    with pytest.raises(ValueError, match="too entangled"):
        chains.verify(leaf, (*ladder, one_more), Anchors(roots), NOW)


def test_certificates_that_came_along_cannot_make_much_work() -> None:
    """Each of these could have issued each other one by name, and none did."""
    tangled = [
        Authority.root(_named("Tangled"), _key(70)).certify(
            _named("Tangled"), _key(70).public_key(), USUAL, _BEFORE, _AFTER.replace(year=2040 - number)
        )
        for number in range(8)
    ]
    leaf = Authority(_key(70), (tangled[0],)).certify(_named("Signer"), _key(99).public_key(), (), _BEFORE, _AFTER)
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, tangled, Anchors((Root(_root().chain[0]),)), NOW)
    pinned = [
        Authority.root(_named("Tangled"), _key(71)).below(_named("Tangled"), _key(80 + number), None).chain[0]
        for number in range(9)
    ]
    with pytest.raises(ValueError, match="too entangled"):
        chains.verify(leaf, tangled, Anchors((Root(_root().chain[0]),), tuple(pinned)), NOW)
    with pytest.raises(ValueError, match="more than 8 certificates"):
        chains.verify(leaf, (*tangled, tangled[0]), Anchors(), NOW)


# Reading


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (lambda: forge.keys().rsa1024.key, "RSA key has 1024 bits"),
        (lambda: dsa.generate_private_key(2048), "DSA keys are not accepted"),
        (ed25519.Ed25519PrivateKey.generate, "Ed25519 keys are not accepted"),
        (lambda: generate_ec(SECP256K1()), "secp256k1 keys are not accepted"),
        (lambda: generate_ec(SECP521R1()), "P-521 keys are not accepted"),
    ],
)
def test_a_certificate_with_another_kind_of_key_is_refused(key: Callable[[], rsa.RSAPrivateKey], sentence: str) -> None:
    certificate = _root().certify(_named("Odd key"), key().public_key(), (), _BEFORE, _AFTER)
    with pytest.raises(ValueError, match=sentence):
        chains.read(certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize("exponent", [3, (1 << 32) + 1, (1 << 3071) + 1], ids=["3", "33 bits", "3072 bits"])
def test_a_certificate_with_an_absurd_exponent_is_refused_unused(exponent: int) -> None:
    key = rsa.RSAPublicNumbers(exponent, (1 << 3071) | (1 << 3070) | 1).public_key()
    certificate = _root().certify(_named("Costly"), key, (), _BEFORE, _AFTER)
    for read in (chains.read, lambda der: anchors.with_operators(Anchors(), {"mine": _pem(der)}, "iid_roots")):
        with pytest.raises(ValueError, match="a certificate's key is refused: the RSA key's public exponent"):
            read(certificate.public_bytes(Encoding.DER))


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def test_a_key_for_rsassa_pss_alone_is_refused() -> None:
    key = rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()
    der = _root().certify(_named("PSS"), key, (), _BEFORE, _AFTER).public_bytes(Encoding.DER)
    any_use, pss = (bytes.fromhex("06092a864886f70d0101") + last for last in (b"\x01\x05\0", b"\x0a\x30\0"))
    assert chains.read(der)
    assert der.count(any_use) == 1
    with pytest.raises(ValueError, match="RSASSA-PSS keys are not accepted"):
        chains.read(der.replace(any_use, pss))


@pytest.mark.parametrize("multi", [False, True], ids=["one after the other", "in one RDN"])
def test_a_name_of_many_attributes_is_refused(multi: bool) -> None:
    for count, fits in ((chains.MAX_ATTRIBUTES, True), (chains.MAX_ATTRIBUTES + 1, False)):
        parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, str(number)) for number in range(count)]
        long = x509.Name([x509.RelativeDistinguishedName(parts)] if multi else parts)
        of_subject = _root().certify(long, _key().public_key(), (), _BEFORE, _AFTER)
        of_issuer = _leaf(Authority.root(long, _key()))
        for certificate in (of_subject, of_issuer):
            der = certificate.public_bytes(Encoding.DER)
            if fits:
                assert chains.read(der)
                continue
            with pytest.raises(ValueError, match="a certificate has a name of more than 16 attributes"):
                chains.read(der)


def test_a_certificate_of_many_extensions_is_refused() -> None:
    extensions: list[Extension] = [
        (x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b""), False)
        for number in range(chains.MAX_EXTENSIONS + 1)
    ]
    assert chains.read(_leaf(_root(), extensions[:-1]).public_bytes(Encoding.DER))
    with pytest.raises(ValueError, match="a certificate has more than 32 extensions"):
        chains.read(_leaf(_root(), extensions).public_bytes(Encoding.DER))


def test_a_certificate_too_long_or_with_an_extension_twice_is_refused() -> None:
    long = _leaf(_root(), [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(3072)), False)])
    with pytest.raises(ValueError, match="3072 is the limit"):
        chains.read(long.public_bytes(Encoding.DER))
    twice = [(x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.{arc}"), b"x"), False) for arc in (3, 4)]
    data = _leaf(_root(), twice).public_bytes(Encoding.DER)
    assert chains.read(data)
    with pytest.raises(ValueError, match="cannot be read"):
        chains.read(data.replace(b"\x06\x02\x2a\x04", b"\x06\x02\x2a\x03"))


@cache
def _usual_leaf() -> x509.Certificate:
    return _leaf(_root(), [(key_usage(signatures=True, certificates=False), True)])


@pytest.mark.parametrize("first", [0x80, 0xFF])
def test_a_serial_number_that_is_not_positive_is_refused(first: int) -> None:
    genuine = _usual_leaf().public_bytes(Encoding.DER)
    # SEQUENCE, SEQUENCE, [0] with its INTEGER; then the serial number's tag and length.
    at = 15
    assert genuine[8:13] == bytes.fromhex("a003020102")
    assert genuine[at - 2] == 2
    with pytest.raises(ValueError, match="serial number is not positive"):
        chains.read(genuine[:at] + bytes([first]) + genuine[at + 1 :])


@given(data=st.data())
def test_no_bytes_do_worse_than_a_refusal(data: st.DataObject) -> None:
    genuine = _usual_leaf().public_bytes(Encoding.DER)
    try:
        certificate = chains.read(forge.mutated(genuine, data.draw))
        chains.verify(certificate, (), Anchors((Root(_root().chain[0]),)), NOW, SERVER)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either outcome is right, another exception is not


def test_pem_holds_certificates_and_nothing_else() -> None:
    whole = _below(2).chain
    text = "".join(one.public_bytes(Encoding.PEM).decode() for one in whole)
    assert chains.read_pem(text) == whole
    assert len(chains.read_pem(text.replace("\n", "\r\n"))) == 3
    assert len(chains.read_pem("\n" + text + "\n\n")) == 3
    for spoilt, sentence in (
        ("# " + text, "not a CERTIFICATE block"),
        (text + "x", "not a CERTIFICATE block"),
        (text.replace("CERTIFICATE", "X509 CRL"), "not a CERTIFICATE block"),
        (text * 3, "more than 8 certificates"),
        ("", "no certificate"),
        (" \n", "not a CERTIFICATE block"),
        (text.replace("-----END", "=-----END", 1), "not base64"),
    ):
        with pytest.raises(ValueError, match=sentence):
            chains.read_pem(spoilt)


# Anchors


def test_the_pinned_certificates_are_the_ones_that_their_hashes_name() -> None:
    listed = json.loads(resources.files("acme_iid.attestation.keys").joinpath("azure.json").read_bytes())
    pinned = azure_trust.pinned_anchors()
    assert all(root.scope is None for root in pinned.roots)
    for kind, loaded in (
        ("roots", [root.certificate for root in pinned.roots]),
        ("intermediates", pinned.intermediates),
    ):
        assert len(loaded) == len(listed[kind])
        for entry, certificate in zip(listed[kind], loaded, strict=True):
            assert certificate.fingerprint(SHA256()).hex() == entry["sha256"]
            assert certificate.subject.rfc4514_string() == entry["subject"]
            assert (certificate.issuer == certificate.subject) == (kind == "roots")
            assert certificate.not_valid_after_utc > datetime(2026, 12, 1, tzinfo=UTC)


def test_every_pinned_issuer_leads_to_a_pinned_root() -> None:
    pinned = azure_trust.pinned_anchors()
    roots = {root.certificate.subject: root.certificate for root in pinned.roots}
    for certificate in pinned.intermediates:
        certificate.verify_directly_issued_by(roots[certificate.issuer])


def test_nitros_pinned_root_is_awss() -> None:
    """The fingerprint is the one that AWS publishes in the Nitro Enclaves User Guide."""
    (root,) = aws_trust.pinned_nitro().roots
    assert root.scope is None
    assert root.certificate.fingerprint(SHA256()).hex() == (
        "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    )


def test_what_operators_give_counts_for_them_and_intermediates_for_nobody() -> None:
    authority = _below(1)
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)
    given_ = anchors.with_operators(Anchors(), {"mine": pem, "yours": pem}, "iid_roots")
    assert given_.roots == (Root(authority.chain[-1], frozenset({"mine", "yours"})),)
    assert given_.intermediates == (authority.chain[0],)
    for bad in (b"", b"\xff", b"-----BEGIN PUBLIC KEY-----\n"):
        with pytest.raises(ValueError, match="iid_roots of the provisioner 'mine': "):
            anchors.with_operators(Anchors(), {"mine": bad}, "iid_roots")
