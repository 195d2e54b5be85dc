"""The names that the certificates above a leaf permit: the matcher, and what the policy makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation.identity import InstanceIdentity
from acme_iid.config.parsers import network
from acme_iid.errors import AcmeError, Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.policy.name_rules import Demand, NameRule, template
from acme_iid.policy.namespace import Namespace
from acme_iid.policy.policy import Decision, Policy, Refusal
from acme_iid.protocol.identifiers import dns, from_text, ip

OURS = "the CA's certificate"
EXAMPLE = NameConstraints(OURS, permitted_domains=("example.com", "corp.example"), rotates=True)
BELOW = NameConstraints(OURS, permitted_domains=(".example.com",))
CLOSED = NameConstraints(OURS, excluded_domains=("closed.example.com", ".below.example.com"))
ADDRESSES = NameConstraints(
    OURS,
    permitted_networks=(network("10.0.0.0/8"), network("fd00::/8")),
    excluded_networks=(network("10.1.0.0/16"), network("fd00:1::/32")),
)
NO_ADDRESS = NameConstraints(OURS, excluded_networks=(network("0.0.0.0/0"), network("::/0")))


@pytest.mark.parametrize(
    ("constraints", "name", "reason"),
    [
        (EXAMPLE, "example.com", None),
        (EXAMPLE, "a.b.example.com", None),
        (EXAMPLE, "*.example.com", None),
        (EXAMPLE, "*.a.example.com", None),
        (EXAMPLE, "corp.example", None),
        (EXAMPLE, "foo.local", "permits names below example.com or names below corp.example, not foo.local"),
        (EXAMPLE, "xexample.com", "permits names below example.com or names below corp.example, not xexample.com"),
        (EXAMPLE, "example.com.local", "permits names below example.com or names below corp.example, not example"),
        (EXAMPLE, "com", "not com"),
        (EXAMPLE, "*.com", "not *.com"),
        (EXAMPLE, "192.0.2.1", None),
        (BELOW, "example.com", "permits names below example.com, not example.com"),
        (BELOW, "a.example.com", None),
        (BELOW, "*.example.com", None),
        (CLOSED, "foo.local", None),
        (CLOSED, "example.com", None),
        (CLOSED, "closed.example.com", "excludes names below closed.example.com, and closed.example.com is one of"),
        (CLOSED, "a.closed.example.com", "excludes names below closed.example.com, and a.closed.example.com is one"),
        (CLOSED, "*.closed.example.com", "excludes names below closed.example.com, and *.closed.example.com is one"),
        (CLOSED, "xclosed.example.com", None),
        # A star stands for one label (RFC 6125 section 6.4.3).
        (CLOSED, "*.example.com", "excludes names below closed.example.com, and *.example.com covers closed.example."),
        (CLOSED, "*.com", None),
        (CLOSED, "below.example.com", None),
        (CLOSED, "a.below.example.com", "excludes names below below.example.com, and a.below.example.com is one of"),
        (NameConstraints(OURS, permitted_domains=("",)), "foo.local", None),
        (
            NameConstraints(OURS, excluded_domains=("",)),
            "foo.local",
            "excludes all names, and foo.local is one of them",
        ),
        (NameConstraints(OURS, excluded_domains=("",)), "10.0.0.1", None),
        (ADDRESSES, "10.0.0.1", None),
        (ADDRESSES, "fd00::1", None),
        (ADDRESSES, "foo.local", None),
        (ADDRESSES, "192.0.2.1", "permits addresses in 10.0.0.0/8 or fd00::/8, not 192.0.2.1"),
        (ADDRESSES, "2001:db8::1", "permits addresses in 10.0.0.0/8 or fd00::/8, not 2001:db8::1"),
        (ADDRESSES, "::ffff:10.0.0.1", "permits addresses in 10.0.0.0/8 or fd00::/8, not ::ffff:"),
        (ADDRESSES, "10.1.2.3", "excludes addresses in 10.1.0.0/16, and 10.1.2.3 is one of them"),
        (ADDRESSES, "fd00:1::1", "excludes addresses in fd00:1::/32, and fd00:1::1 is one of them"),
        (NO_ADDRESS, "10.0.0.1", "excludes addresses in 0.0.0.0/0"),
        (NO_ADDRESS, "fd00::1", "excludes addresses in ::/0"),
        (NO_ADDRESS, "foo.local", None),
        (NameConstraints(OURS), "foo.local", None),
        (NameConstraints(OURS), "10.0.0.1", None),
    ],
)
def test_a_name_is_in_a_permitted_subtree_and_in_no_excluded_one(
    constraints: NameConstraints, name: str, reason: str | None
) -> None:
    refusal = constraints.refusal(from_text(name))
    if reason is None:
        assert refusal is None
    else:
        assert str(refusal).startswith(OURS + " ")
        assert reason in str(refusal)


labels = st.sampled_from(["a", "b", "ab"])
domains = st.lists(labels, min_size=1, max_size=3).map(".".join)
subtrees = st.builds(lambda dot, domain: dot + domain, st.sampled_from(["", "."]), domains) | st.just("")


@given(st.lists(subtrees, min_size=1, max_size=2), st.lists(subtrees, max_size=2), domains)
def test_a_wildcard_is_permitted_only_if_each_name_that_it_covers_is(
    permitted: list[str], excluded: list[str], domain: str
) -> None:
    constraints = NameConstraints(OURS, tuple(permitted), tuple(excluded))
    if constraints.refusal(dns(f"*.{domain}")) is None:
        assert [constraints.refusal(dns(f"{label}.{domain}")) for label in ("a", "b", "ab", "c")] == [None] * 4


ACCOUNT = "123456789042"
INSTANCE = InstanceIdentity(
    cloud="aws",
    id=f"aws:aws:{ACCOUNT}:us-west-2:i-0123456789abcdef0",
    owner=ACCOUNT,
    instance_id="i-0123456789abcdef0",
    credential_id=ACCOUNT,
    format="aws-rsa2048",
    key_id="sha256:00",
    binding="first use",
    facts={"account": ACCOUNT, "instance_id": "i-0123456789abcdef0", "private_ip": "10.0.0.5"},
    names=(dns("i-0123456789abcdef0"), ip("10.0.0.5")),
)
RULES = (NameRule(template("a.example.com", ())), NameRule(template("a.example.org", ())))
CLOUD = Provisioner("C", "AWS", (Demand("accounts", ("account",), (ACCOUNT,)),), ("aws-rsa2048",), allow=RULES)
HOSTS = HostProvisioner("H", ("dns-01",))
ROOT = NameConstraints("the CA's root", permitted_domains=("com", "org"))
DOMAINS = Namespace(("example.com", "example.org", "net"))
CONSTRAINED = replace(DOMAINS, constraints=lambda: (EXAMPLE, ROOT))
REMEDY = "an operator permits more by the next issuer (acme-iid-ca issuer rotate prepare --domain DOMAIN)"
REASON = "the CA's certificate permits names below example.com or names below corp.example, not a.example.org"


def test_an_order_for_a_name_that_is_not_permitted_is_refused_at_once() -> None:
    for provisioners, hosts in (((CLOUD,), ()), ((), (HOSTS,)), ((CLOUD,), (HOSTS,))):
        policy = Policy(CONSTRAINED, provisioners, hosts)
        assert policy.offers(dns("a.example.com")).refusal is None
        offer = policy.offers(dns("a.example.org"))
        assert (offer.challenges, offer.refusal) == ((), f"{REASON}; {REMEDY}")


def test_no_instance_is_given_a_name_that_is_not_permitted() -> None:
    policy = Policy(CONSTRAINED, (CLOUD,))
    assert isinstance(policy.decide(INSTANCE, dns("a.example.com")), Decision)
    for name in ("a.example.org", "i-0123456789abcdef0"):
        decision = policy.decide(INSTANCE, dns(name))
        assert isinstance(decision, Refusal)
        assert decision.error.detail.startswith(REASON.replace("a.example.org", name))
    # A chain that names no network permits all addresses.
    assert policy.names(CLOUD, INSTANCE) == (ip("10.0.0.5"), dns("a.example.com"))


def test_no_host_proves_a_name_that_is_not_permitted() -> None:
    policy = Policy(CONSTRAINED, (), (HOSTS,))
    assert policy.giver(dns("a.example.com"), "dns-01") is HOSTS
    assert policy.giver(dns("a.example.org"), "dns-01") is None


def test_a_name_that_was_proven_before_is_not_given_any_more() -> None:
    before, after = Policy(DOMAINS, (CLOUD,), (HOSTS,)), Policy(CONSTRAINED, (CLOUD,), (HOSTS,))
    for under, challenge, identity in (("C", "iid-01", INSTANCE), ("H", "dns-01", None)):
        assert before.still_gives(under, dns("a.example.org"), challenge, identity) is None
        assert after.still_gives(under, dns("a.example.com"), challenge, identity) is None
        assert after.still_gives(under, dns("a.example.org"), challenge, identity) is not None


def test_every_certificate_above_must_permit_a_name() -> None:
    within = replace(CONSTRAINED, domains=("example",))
    assert within.refusal(dns("corp.example")) == (
        "the CA's root permits names below com or names below org, not corp.example; "
        "only another certificate in the place of the CA's root can permit it"
    )
    assert CONSTRAINED.refusal(dns("a.example.com")) is None


def test_nothing_is_signed_that_is_not_permitted() -> None:
    CONSTRAINED.require_issuable([dns("a.example.com")])
    with pytest.raises(AcmeError, match=r"permits names below example\.com") as caught:
        CONSTRAINED.require_issuable([dns("a.example.com"), dns("a.example.org")])
    assert caught.value.problem is Problem.REJECTED_IDENTIFIER
    assert [fault.identifier for fault in caught.value.subproblems] == [dns("a.example.org")]


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("a.corp.net", ["outside this CA's domains", "issuer rotate prepare --domain DOMAIN", "to [ca] domains"]),
        ("i-0123456789abcdef0", ["not i-0123456789abcdef0; a bare instance id is in no domain", "order another name"]),
        ("8a205152-b25a-417f-a676-80465535a6c9", ["a bare instance id is in no domain"]),
        ("ip-10-0-0-1.ec2.internal", ["permits names below example.com", "issuer rotate prepare --domain DOMAIN"]),
        ("203.0.113.9", ["permits addresses in 10.0.0.0/8", "issuer rotate prepare --permit-network NETWORK"]),
    ],
)
def test_a_refusal_says_what_lifts_it(name: str, sentences: list[str]) -> None:
    issuer = replace(EXAMPLE, permitted_networks=ADDRESSES.permitted_networks)
    said = str(Namespace(("example.com",), constraints=lambda: (issuer,)).refusal(from_text(name)))
    assert [sentence for sentence in sentences if sentence not in said] == []
    # A next issuer changes nothing where the root is constrained.
    said = str(Namespace(("example.com",), constraints=lambda: (issuer, replace(issuer, holder="R", rotates=False)))
               .refusal(from_text(name)))  # fmt: skip
    assert "issuer rotate prepare" not in said


@pytest.mark.parametrize(
    ("constraints", "domain", "reason"),
    [
        (EXAMPLE, "example.com", None),
        (EXAMPLE, "a.example.com", None),
        (EXAMPLE, "com", "permits names below example.com or names below corp.example, not com"),
        (EXAMPLE, "local", "permits names below example.com or names below corp.example, not local"),
        (BELOW, "example.com", None),
        (BELOW, "com", "not com"),
        (CLOSED, "example.com", None),
        (CLOSED, "closed.example.com", "excludes names below closed.example.com"),
        (CLOSED, "a.closed.example.com", "excludes names below closed.example.com"),
        (CLOSED, "below.example.com", "excludes names below below.example.com"),
        (ADDRESSES, "local", None),
    ],
)
def test_a_domain_is_permitted_with_the_names_below_it(
    constraints: NameConstraints, domain: str, reason: str | None
) -> None:
    refusal = constraints.refusal_of_domain(domain)
    assert (refusal is None) is (reason is None)
    assert (reason or "") in (refusal or "")


def test_the_constraints_are_those_of_the_issuer_that_signs_now() -> None:
    signing = [EXAMPLE]
    policy = Policy(replace(DOMAINS, constraints=lambda: signing), (CLOUD,))
    assert policy.offers(dns("a.example.org")).refusal is not None
    signing[0] = replace(EXAMPLE, permitted_domains=("example.com", "example.org"))
    assert policy.offers(dns("a.example.org")).refusal is None
