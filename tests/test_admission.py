"""Who is admitted, and which names an instance may hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acme_iid.admission import Provisioner, admit, refusal_to_order
from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.errors import AttestationError, Step
from acme_iid.protocol.identifiers import Identifier, dns, ip

OURS = "123456789042"
DOMAINS = ("local", "internal")
P = Provisioner("P", "AWS", (OURS,), None, None, ("aws-rsa2048", "aws-signature"))
INSTANCE = InstanceIdentity(
    cloud="aws",
    id=f"aws:aws:{OURS}:us-west-2:i-0123456789abcdef0",
    owner=OURS,
    instance_id="i-0123456789abcdef0",
    credential_id=OURS,
    format="aws-rsa2048",
    key_id="sha256:00",
    binding="first use",
    names=(dns("i-0123456789abcdef0"), dns("ip-10-0-0-5.us-west-2.compute.internal"), ip("10.0.0.5")),
)


def refusal(
    identifier: Identifier,
    *provisioners: Provisioner,
    identity: InstanceIdentity = INSTANCE,
    only: str | None = None,
) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        admit(provisioners, DOMAINS, identity, identifier, only=only)
    return caught.value


def test_an_admitted_instance_holds_a_name_inside_the_domains() -> None:
    grant = admit([P], DOMAINS, INSTANCE, dns("foo.local"))
    assert grant.provisioner is P
    assert grant.trust_on_first_use


@pytest.mark.parametrize("name", INSTANCE.names, ids=str)
def test_an_instance_holds_what_follows_from_its_document_even_without_custom_names(name: Identifier) -> None:
    strict = replace(P, disable_custom_sans=True)
    assert admit([strict], (), INSTANCE, name).provisioner is strict


def test_an_account_that_is_not_on_the_list_is_refused_by_name() -> None:
    error = refusal(dns("foo.local"), P, identity=replace(INSTANCE, owner="999999999999"))
    assert error.step is Step.ADMISSION
    assert "999999999999" in error.detail
    assert "accounts" in error.detail


def test_a_ca_without_provisioners_admits_nobody() -> None:
    assert refusal(dns("foo.local")).step is Step.ADMISSION


def test_a_format_that_no_provisioner_accepts_is_refused() -> None:
    error = refusal(dns("foo.local"), P, identity=replace(INSTANCE, format="aws-pkcs7"))
    assert error.step is Step.ADMISSION
    assert "aws-pkcs7" in error.detail


def test_an_operators_key_counts_for_its_own_provisioner_only() -> None:
    other = replace(P, name="Q")
    scoped = replace(INSTANCE, scope=frozenset({"Q"}))
    assert admit([P, other], DOMAINS, scoped, dns("foo.local")).provisioner is other
    assert "iid_roots" in refusal(dns("foo.local"), P, identity=scoped).detail


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (dns("foo.example"), "outside"),
        (dns("notlocal"), "outside"),
        (dns("*.foo.local"), "wildcard"),
        (ip("10.0.0.6"), "addresses follow"),
        (dns("ip-10-0-0-6.us-west-2.compute.internal"), "another instance"),
        (dns("i-0123456789abcdef1"), "another instance"),
    ],
    ids=str,
)
def test_a_name_that_is_not_the_instances_to_hold_is_refused(name: Identifier, reason: str) -> None:
    error = refusal(name, P)
    assert error.step is Step.NAMES
    assert reason in error.detail


def test_without_custom_names_the_refusal_lists_those_that_follow_from_the_document() -> None:
    error = refusal(dns("foo.local"), replace(P, disable_custom_sans=True))
    assert error.step is Step.NAMES
    assert "i-0123456789abcdef0, ip-10-0-0-5.us-west-2.compute.internal, 10.0.0.5" in error.detail


def test_a_named_provisioner_narrows_and_never_widens() -> None:
    stranger = replace(P, name="Q", accounts=("999999999999",))
    assert refusal(dns("foo.local"), P, stranger, only="Q").step is Step.ADMISSION
    assert "no provisioner" in refusal(dns("foo.local"), P, only="R").detail


def test_the_provisioner_that_gives_all_of_an_orders_names_goes_first() -> None:
    own_names_only = replace(P, name="own", disable_custom_sans=True)
    both = [own_names_only, P]
    alone = admit(both, DOMAINS, INSTANCE, INSTANCE.names[0])
    together = admit(both, DOMAINS, INSTANCE, INSTANCE.names[0], others=[INSTANCE.names[0], dns("foo.local")])
    assert alone.provisioner is own_names_only
    assert together.provisioner is P


def test_first_use_is_off_only_when_every_admitting_provisioner_turns_it_off() -> None:
    off = replace(P, name="off", disable_trust_on_first_use=True)
    stranger = replace(P, name="stranger", accounts=("999999999999",))
    assert not admit([off, stranger], DOMAINS, INSTANCE, dns("foo.local")).trust_on_first_use
    assert admit([off, P], DOMAINS, INSTANCE, dns("foo.local")).trust_on_first_use
    assert admit([off, P], DOMAINS, INSTANCE, dns("foo.local"), only="off").trust_on_first_use


@pytest.mark.parametrize(
    ("name", "provisioner", "refused"),
    [
        (dns("foo.local"), P, False),
        (dns("foo.example"), P, True),
        (dns("*.foo.local"), P, True),
        (dns("foo.local"), replace(P, disable_custom_sans=True), True),
        (dns("i-0123456789abcdef1"), replace(P, disable_custom_sans=True), False),
        (ip("10.9.9.9"), P, False),
    ],
    ids=str,
)
def test_an_order_that_nobody_could_prove_is_refused_before_evidence_is_asked_for(
    name: Identifier, provisioner: Provisioner, *, refused: bool
) -> None:
    assert (refusal_to_order([provisioner], DOMAINS, name) is not None) == refused
