"""Who is admitted, and which names an instance may hold."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.errors import AttestationError, Step
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import Demand, NameRule, template
from acme_iid.policy.namespace import Namespace
from acme_iid.policy.policy import Decision, Policy, Refusal
from acme_iid.protocol.identifiers import Identifier, dns, ip

OURS = "123456789042"
DOMAINS = Namespace(("local", "internal"))
P = Provisioner("P", "AWS", (Demand("accounts", ("account",), (OURS,)),), ("aws-rsa2048", "aws-signature"))
STRANGERS = (Demand("accounts", ("account",), ("999999999999",)),)
INSTANCE = InstanceIdentity(
    cloud="aws",
    id=f"aws:aws:{OURS}:us-west-2:i-0123456789abcdef0",
    owner=OURS,
    instance_id="i-0123456789abcdef0",
    credential_id=OURS,
    format="aws-rsa2048",
    key_id="sha256:00",
    binding="first use",
    facts={
        "account": OURS,
        "region": "us-west-2",
        "instance_id": "i-0123456789abcdef0",
        "private_ip": "10.0.0.5",
        "private_name": "ip-10-0-0-5.us-west-2.compute.internal",
    },
    names=(dns("i-0123456789abcdef0"), dns("ip-10-0-0-5.us-west-2.compute.internal"), ip("10.0.0.5")),
)


def admit(
    provisioners: Sequence[Provisioner],
    namespace: Namespace,
    identity: InstanceIdentity,
    identifier: Identifier,
    *,
    others: Collection[Identifier] = (),
    only: str | None = None,
) -> Decision:
    """The decision to give an instance a name.

    :raises AttestationError: the refusal.
    """
    policy = Policy(namespace, tuple(provisioners))
    decision = policy.decide(identity, identifier, others=others, only=only)
    if isinstance(decision, Refusal):
        raise decision.error
    return decision


def refusal_to_order(provisioners: Sequence[Provisioner], namespace: Namespace, identifier: Identifier) -> str | None:
    return Policy(namespace, tuple(provisioners)).offers(identifier).refusal


def names(provisioner: Provisioner, namespace: Namespace, identity: InstanceIdentity) -> tuple[Identifier, ...]:
    return Policy(namespace, (provisioner,)).names(provisioner, identity)


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
    decision = admit([P], DOMAINS, INSTANCE, dns("foo.local"))
    assert decision.provisioner is P
    assert decision.trust_on_first_use


@pytest.mark.parametrize("name", INSTANCE.names, ids=str)
def test_an_instance_holds_its_documents_names_even_without_custom_names(name: Identifier) -> None:
    strict = replace(P, disable_custom_sans=True)
    assert admit([strict], Namespace(), INSTANCE, name).provisioner is strict


def test_an_account_that_is_not_on_the_list_is_refused_by_name() -> None:
    error = refusal(
        dns("foo.local"), P, identity=replace(INSTANCE, facts={**INSTANCE.facts, "account": "999999999999"})
    )
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
    assert "does not trust the key" in refusal(dns("foo.local"), P, identity=scoped).detail


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


def test_without_custom_names_the_refusal_lists_the_documents_names() -> None:
    error = refusal(dns("foo.local"), replace(P, disable_custom_sans=True))
    assert error.step is Step.NAMES
    assert "i-0123456789abcdef0, ip-10-0-0-5.us-west-2.compute.internal, 10.0.0.5" in error.detail


def test_a_named_provisioner_narrows_and_never_widens() -> None:
    stranger = replace(P, name="Q", demands=STRANGERS)
    assert refusal(dns("foo.local"), P, stranger, only="Q").step is Step.ADMISSION
    assert "no provisioner" in refusal(dns("foo.local"), P, only="R").detail


def test_the_provisioner_that_gives_all_of_an_orders_names_goes_first() -> None:
    own_names_only = replace(P, name="own", disable_custom_sans=True)
    both = [own_names_only, P]
    alone = admit(both, DOMAINS, INSTANCE, INSTANCE.names[0])
    together = admit(both, DOMAINS, INSTANCE, INSTANCE.names[0], others=[INSTANCE.names[0], dns("foo.local")])
    assert alone.provisioner is own_names_only
    assert together.provisioner is P


def test_first_use_is_off_only_if_all_admitting_provisioners_turn_it_off() -> None:
    off = replace(P, name="off", disable_trust_on_first_use=True)
    stranger = replace(P, name="stranger", demands=STRANGERS)
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
def test_an_order_that_nobody_can_prove_is_refused_before_any_evidence(
    name: Identifier, provisioner: Provisioner, *, refused: bool
) -> None:
    assert (refusal_to_order([provisioner], DOMAINS, name) is not None) == refused


def rules(*texts: str, wildcards: bool = False, when: tuple[Demand, ...] = ()) -> tuple[NameRule, ...]:
    known = ("instance_id", "region", "account", "instance_name")
    return tuple(NameRule(template(text, known, wildcards=wildcards), when) for text in texts)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("i-0123456789abcdef0.vm.internal", True),
        ("i-0123456789abcdef1.vm.internal", False),
        ("vm.internal", False),
        ("web.foo.local", True),
        ("a.web.foo.local", False),
        ("foo.local", False),
        ("bar.local", False),
        ("us-west-2.zone.local", True),
        ("us-west-1.zone.local", False),
    ],
)
def test_rules_give_the_names_that_they_name_and_no_others(name: str, *, given: bool) -> None:
    ruled = replace(P, allow=rules("{instance_id}.vm.internal", "*.foo.local", "{region}.zone.local"))
    if given:
        assert admit([ruled], DOMAINS, INSTANCE, dns(name)).provisioner is ruled
    else:
        assert refusal(dns(name), ruled).step is Step.NAMES


def test_no_rule_gives_a_name_of_the_cas_own() -> None:
    own = replace(DOMAINS, reserved=frozenset({dns("ca.local"), INSTANCE.names[0]}))
    exact = replace(P, allow=(NameRule(template("ca.local", ())),), allow_wildcards=(NameRule(template("local", ())),))
    for provisioner in (P, exact):
        for name in (dns("ca.local"), dns("*.local"), INSTANCE.names[0]):
            with pytest.raises(AttestationError, match="is reserved") as caught:
                admit([provisioner], own, INSTANCE, name)
            assert caught.value.step is Step.NAMES
        assert not {dns("ca.local"), INSTANCE.names[0]} & set(names(provisioner, own, INSTANCE))


def test_an_instances_own_names_need_no_rule() -> None:
    ruled = replace(P, allow=())
    for name in INSTANCE.names:
        assert admit([ruled], Namespace(), INSTANCE, name).provisioner is ruled


def test_rules_stay_inside_the_domains() -> None:
    assert "outside" in refusal(dns("web.foo.example"), replace(P, allow=rules("*.foo.example"))).detail


def test_a_rule_with_a_condition_is_for_those_who_meet_it() -> None:
    when = (Demand("region", ("region",), ("us-west-2", "us-east-1")),)
    ruled = replace(P, allow=rules("web.local", when=when))
    assert admit([ruled], DOMAINS, INSTANCE, dns("web.local")).provisioner is ruled
    elsewhere = replace(INSTANCE, facts={**INSTANCE.facts, "region": "eu-west-1"})
    assert "region us-west-2 or us-east-1" in refusal(dns("web.local"), ruled, identity=elsewhere).detail


def test_a_wildcard_is_given_only_where_a_rule_names_it() -> None:
    ruled = replace(P, allow_wildcards=rules("*.{instance_id}.local", "*.apps.internal", wildcards=True))
    for name in ("*.i-0123456789abcdef0.local", "*.apps.internal"):
        assert admit([ruled], DOMAINS, INSTANCE, dns(name)).provisioner is ruled
    for name in ("*.i-0123456789abcdef1.local", "*.local", "*.x.apps.internal"):
        assert "allow_wildcards" in refusal(dns(name), ruled).detail
    assert refusal(dns("*.foo.local"), replace(P, allow=rules("*.foo.local"))).step is Step.NAMES


@pytest.mark.parametrize("fact", ["a.b", "a_b", "-a", "a-", "", "*", "a b", "\u00fc", "x" * 64])
def test_no_fact_forges_a_label_or_a_dot(fact: str) -> None:
    forged = replace(INSTANCE, facts={**INSTANCE.facts, "instance_name": fact})
    ruled = replace(P, allow=rules("{instance_name}.local", "{instance_name}"))
    for text in (f"{fact}.local", "a.b.local", "b.local", "a.local"):
        try:
            name = dns(text)
        except ValueError:
            continue
        with pytest.raises(AttestationError):
            admit([ruled], DOMAINS, forged, name)


def test_a_fact_in_capitals_is_written_small() -> None:
    loud = replace(INSTANCE, facts={**INSTANCE.facts, "instance_name": "Web"})
    ruled = replace(P, allow=rules("{instance_name}.local"))
    assert admit([ruled], DOMAINS, loud, dns("web.local")).provisioner is ruled


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{nonsense}.local", "unknown placeholder {nonsense}"),
        ("{}.local", "unknown placeholder {}"),
        ("{instance_id}-{region}.local", "two placeholders"),
        ("{instance_id.local", "brace"),
        ("a*.local", "one whole label"),
        ("a..local", "label"),
        ("Foo.local", "capital"),
        ("", "label"),
    ],
)
def test_a_template_that_cannot_be_meant_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("{", r"\{").replace("}", r"\}")):
        rules(text)


@pytest.mark.parametrize("text", ["foo.local", "*.*.local", "*", "*."])
def test_a_wildcard_rule_names_one_wildcard(text: str) -> None:
    with pytest.raises(ValueError, match=r"label|\*"):
        rules(text, wildcards=True)


def test_addresses_outside_the_networks_and_their_names_are_not_believed() -> None:
    near = replace(P, networks=(ipaddress.ip_network("10.0.0.0/8"),), disable_custom_sans=True)
    far = replace(near, networks=(ipaddress.ip_network("192.168.0.0/16"),))
    for name in INSTANCE.names:
        assert admit([near], Namespace(), INSTANCE, name).provisioner is near
    assert admit([far], Namespace(), INSTANCE, INSTANCE.names[0]).provisioner is far
    for name in INSTANCE.names[1:]:
        assert refusal(name, far).step is Step.NAMES


def test_a_list_about_a_fact_that_is_not_proven_admits_nobody() -> None:
    picky = replace(P, demands=(*P.demands, Demand("vpcs", ("vpc",), ("vpc-1",))))
    error = refusal(dns("foo.local"), picky)
    assert "does not prove the vpc" in error.detail


def test_lists_are_compared_without_case_and_on_any_of_their_facts() -> None:
    demand = Demand("projects", ("project", "project_number"), ("my-project",))
    assert demand.refusal({"project": "My-Project", "project_number": "7"}) is None
    assert Demand("projects", ("project", "project_number"), ("7",)).refusal({"project_number": "7"}) is None
    assert "other" in str(demand.refusal({"project": "other"}))


def test_the_list_has_the_instances_own_names_and_those_of_exact_rules() -> None:
    ruled = replace(P, allow=rules("{instance_id}.vm.internal", "*.foo.local", "web.local", "x.example"))
    listed = [name.value for name in names(ruled, DOMAINS, INSTANCE)]
    assert listed == [name.value for name in INSTANCE.names] + ["i-0123456789abcdef0.vm.internal", "web.local"]


def test_an_address_of_a_believed_network_stands_in_a_name_with_dashes() -> None:
    known = ("private_ip", "private_name")
    given = tuple(NameRule(template(text, known)) for text in ("{private_ip}.ip.local", "x-{private_name}.local"))
    near = replace(P, allow=given, networks=(ipaddress.ip_network("10.0.0.0/8"),))
    far = replace(near, networks=(ipaddress.ip_network("192.168.0.0/16"),))
    for name in ("10-0-0-5.ip.local", "x-ip-10-0-0-5-us-west-2-compute-internal.local"):
        assert admit([near], DOMAINS, INSTANCE, dns(name)).provisioner is near
        assert refusal(dns(name), far).step is Step.NAMES
    assert refusal(dns("10-0-0-6.ip.local"), near).step is Step.NAMES
