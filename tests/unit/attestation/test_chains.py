from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from certificate_chains import (
    AFTER,
    BEFORE,
    NOW,
    SERVER,
    WHEN,
    authority_below,
    leaf_of,
    named,
    numbered_key,
    root_authority,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA3_256, SHA224, SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from acme_iid.attestation import chains
from acme_iid.attestation.chains import Anchors, Root
from acme_iid.simulator.authority import Authority, Extension, key_usage


def _authority(issuer: Authority, extensions: Sequence[Extension], before: datetime = BEFORE) -> Authority:
    """An authority with just these extensions."""
    certificate = issuer.certify(named("Odd"), numbered_key(50).public_key(), extensions, before, AFTER)
    return Authority(numbered_key(50), (certificate, *issuer.chain))


def _verify(issuer: Authority, now: int = NOW, purpose: x509.ObjectIdentifier | None = SERVER) -> frozenset[str] | None:
    roots = chains.verify(leaf_of(issuer), issuer.chain[:-1], Anchors((Root(issuer.chain[-1]),)), now, purpose)
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
    assert _verify(authority_below(count)) is None


def test_a_chain_of_five_intermediates_is_too_long() -> None:
    assert "no chain leads from the signer's certificate, issued by 'CN=Authority 5" in _refused(authority_below(5))


def test_intermediates_may_be_pinned_or_supplied_in_any_order() -> None:
    authority = authority_below(3)
    first, second, third, root = authority.chain
    leaf = leaf_of(authority)
    for supplied, pinned in (((third, first, second), ()), ((), (second, third, first)), ((second,), (first, third))):
        assert chains.scope(chains.verify(leaf, supplied, Anchors((Root(root),), pinned), NOW)) is None
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, (first, third), Anchors((Root(root),)), NOW)


def test_a_root_that_came_along_is_none() -> None:
    authority = authority_below(1)
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf_of(authority), authority.chain, Anchors(), NOW)
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf_of(authority), (), Anchors((), authority.chain), NOW)


def test_an_impostor_with_the_issuers_name_does_not_stand_in_the_way() -> None:
    authority = authority_below(1)
    impostor = Authority.root(named("Root"), numbered_key(7)).below(named("Authority 1"), numbered_key(8))
    anchors_ = Anchors((Root(impostor.chain[-1]), Root(root_authority().chain[0])))
    assert (
        chains.scope(chains.verify(leaf_of(authority), (impostor.chain[0], authority.chain[0]), anchors_, NOW)) is None
    )
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf_of(impostor), (impostor.chain[0],), Anchors((Root(root_authority().chain[0]),)), NOW)


def test_a_cross_signed_issuer_leads_to_whichever_root_is_trusted() -> None:
    mine, other = root_authority(), Authority.root(named("Other root"), numbered_key(20))
    crossed = tuple(root.below(named("Crossed"), numbered_key(21)) for root in (mine, other))
    leaf, issuers = leaf_of(crossed[0]), tuple(one.chain[0] for one in crossed)
    for root in (mine, other):
        roots = chains.verify(leaf, issuers, Anchors((Root(root.chain[0], frozenset({"x"})),)), NOW)
        assert chains.scope(roots) == frozenset({"x"})


def test_the_scope_is_of_all_roots_reached_and_open_if_one_is_pinned() -> None:
    leaf, root = leaf_of(root_authority()), root_authority().chain[0]
    mine, yours = Root(root, frozenset({"mine"})), Root(root, frozenset({"yours"}))
    elsewhere = Root(Authority.root(named("Elsewhere"), numbered_key(30)).chain[0], frozenset({"theirs"}))
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
    assert sentence in _refused(_authority(root_authority(), extensions))
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(
            leaf_of(_authority(root_authority(), extensions)),
            (),
            Anchors((Root(_authority(root_authority(), extensions).chain[0]),)),
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
        chains.verify(
            leaf_of(root_authority(), extensions), (), Anchors((Root(root_authority().chain[0]),)), NOW, SERVER
        )


def test_an_issuer_for_servers_or_for_anything_may_issue_to_a_server() -> None:
    for usage in (SERVER, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, usage])
        assert _verify(_authority(root_authority(), (*USUAL, (usages, True)))) is None
    mail = _authority(root_authority(), (*USUAL, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True)))
    assert _verify(mail, purpose=None) is None


@pytest.mark.parametrize(("allowed", "below", "good"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False)])
def test_a_path_length_is_the_number_of_authorities_below(allowed: int, below: int, good: bool) -> None:
    constrained = root_authority().below(named("Constrained"), numbered_key(40), allowed)
    authority = authority_below(below, of=constrained)
    if good:
        assert _verify(authority) is None
    else:
        assert "pathLenConstraint" in _refused(authority)


def test_every_certificate_must_be_valid_at_the_time() -> None:
    late = _authority(root_authority(), USUAL, before=WHEN)
    assert _verify(late, NOW) is None
    assert "'CN=Odd,O=Test,C=US' is not valid at 2025-06-15T15:06:39Z" in _refused(late, NOW - 1)
    leaf_ends = int(AFTER.timestamp())
    assert _verify(authority_below(1), leaf_ends) is None
    assert "the signer's certificate is not valid at" in _refused(authority_below(1), leaf_ends + 1)
    root_starts = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp())
    with pytest.raises(ValueError, match="'CN=Root,O=Test,C=US' is not valid at"):
        chains.verify(
            root_authority().certify(
                named("Old"), numbered_key(1).public_key(), (), datetime(2010, 1, 1, tzinfo=UTC), AFTER
            ),
            (),
            Anchors((Root(root_authority().chain[0]),)),
            root_starts - 1,
        )


@pytest.mark.parametrize("algorithm", [SHA224(), SHA3_256()])
def test_a_weak_signature_is_refused_except_a_roots_over_itself(algorithm: SHA224 | SHA3_256) -> None:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named("Weak"))
        .serial_number(1)
        .not_valid_before(BEFORE)
        .not_valid_after(AFTER)
        .public_key(numbered_key(60).public_key())
    )
    for extension, critical in USUAL:
        builder = builder.add_extension(extension, critical)
    own = builder.issuer_name(named("Weak")).sign(numbered_key(60), algorithm)
    under = builder.issuer_name(named("Root")).sign(numbered_key(), algorithm)
    assert _verify(Authority(numbered_key(60), (own,))) is None
    assert "algorithm that is not accepted" in _refused(Authority(numbered_key(60), (under, *root_authority().chain)))


def test_a_signature_with_rsassa_pss_is_refused() -> None:
    root = Authority.root(named("RSA root"), rsa.generate_private_key(65537, 2048))
    builder = x509.CertificateBuilder(
        root.chain[0].subject, named("Signer"), numbered_key(99).public_key(), 1, BEFORE, AFTER
    )
    assert isinstance(root.key, rsa.RSAPrivateKey)
    usual = builder.sign(root.key, SHA256())
    assert chains.verify(usual, (), Anchors((Root(root.chain[0]),)), NOW)
    pss = builder.sign(root.key, SHA256(), rsa_padding=padding.PSS(padding.MGF1(SHA256()), 32))
    with pytest.raises(ValueError, match="the signer's certificate is signed with an algorithm that is not accepted"):
        chains.verify(pss, (), Anchors((Root(root.chain[0]),)), NOW)


def test_a_signer_that_is_given_as_a_root_vouches_for_nobody() -> None:
    builder = x509.CertificateBuilder(named("Alone"), named("Alone"), numbered_key(61).public_key(), 1, BEFORE, AFTER)
    alone = builder.sign(numbered_key(61), SHA256())
    with pytest.raises(chains.NoChainError, match="'CN=Alone,O=Test,C=US' is not an authority's"):
        chains.verify(alone, (), Anchors((Root(alone),)), NOW)
    under_a_root = leaf_of(root_authority())
    with pytest.raises(chains.NoChainError):
        chains.verify(under_a_root, (), Anchors((Root(under_a_root),)), NOW)


def test_issuers_of_other_names_cost_nothing_and_are_not_spoken_of() -> None:
    authority = authority_below(1)
    strangers = [
        _authority(root_authority(), USUAL, before=AFTER.replace(year=2039)).chain[0] for _ in range(chains.MAX_LINKS)
    ]
    anchors_ = Anchors((Root(root_authority().chain[0]),), tuple(strangers))
    assert chains.scope(chains.verify(leaf_of(authority), authority.chain[:-1], anchors_, NOW)) is None
    with pytest.raises(ValueError, match=r"to a trusted root\Z"):
        chains.verify(leaf_of(authority), (), anchors_, NOW)


def test_no_more_signatures_are_checked_than_a_chain_may_take() -> None:
    """Issuers of one name, of which each was issued by the next: as many signatures as their number allows."""
    keys = [numbered_key(90 + number) for number in range(chains.MAX_INTERMEDIATES)]
    ladder = [
        Authority.root(named("Ladder"), above).certify(named("Ladder"), key.public_key(), USUAL, BEFORE, AFTER)
        for key, above in zip(keys, [*keys[1:], numbered_key(89)], strict=True)
    ]
    leaf = Authority(keys[0], (ladder[0],)).certify(named("Signer"), numbered_key(99).public_key(), (), BEFORE, AFTER)
    roots = (Root(root_authority().chain[0]),)
    # 4 + 3 + 2 + 1 signatures, of which one in each row is right.
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, ladder, Anchors(roots), NOW)
    one_more = Authority.root(named("Ladder"), numbered_key(88)).chain[0]
    with pytest.raises(ValueError, match="too entangled"):
        chains.verify(leaf, (*ladder, one_more), Anchors(roots), NOW)


def test_certificates_that_came_along_cannot_make_much_work() -> None:
    """Each of these could have issued each other one by name, and none did."""
    tangled = [
        Authority.root(named("Tangled"), numbered_key(70)).certify(
            named("Tangled"), numbered_key(70).public_key(), USUAL, BEFORE, AFTER.replace(year=2040 - number)
        )
        for number in range(8)
    ]
    leaf = Authority(numbered_key(70), (tangled[0],)).certify(
        named("Signer"), numbered_key(99).public_key(), (), BEFORE, AFTER
    )
    with pytest.raises(ValueError, match="no chain leads"):
        chains.verify(leaf, tangled, Anchors((Root(root_authority().chain[0]),)), NOW)
    pinned = [
        Authority.root(named("Tangled"), numbered_key(71))
        .below(named("Tangled"), numbered_key(80 + number), None)
        .chain[0]
        for number in range(9)
    ]
    with pytest.raises(ValueError, match="too entangled"):
        chains.verify(leaf, tangled, Anchors((Root(root_authority().chain[0]),), tuple(pinned)), NOW)
    with pytest.raises(ValueError, match="more than 8 certificates"):
        chains.verify(leaf, (*tangled, tangled[0]), Anchors(), NOW)
