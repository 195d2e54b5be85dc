"""Templates over facts: what they give, and that nothing forges a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.policy.name_rules import Demand, template
from acme_iid.protocol.identifiers import Identifier, dns

KNOWN = ("instance_name", "region")


def test_a_star_stands_for_no_literal_star() -> None:
    assert template("*.foo.local", KNOWN).gives(dns("a.foo.local"), {})
    assert not template("*.foo.local", KNOWN).gives(dns("*.foo.local"), {})


def test_an_address_is_no_name() -> None:
    assert not template("*.*.*.*", KNOWN).gives(Identifier("ip", "10.0.0.1"), {})


def test_a_template_with_a_star_has_no_one_name() -> None:
    assert template("*.{region}.local", KNOWN).name({"region": "us-east-1"}) is None
    assert template("{region}.local", KNOWN).name({"region": "us-east-1"}) == dns("us-east-1.local")
    assert template("{region}.local", KNOWN).name({}) is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_fact_changes_the_number_of_labels_or_the_text_beside_it(name: str, region: str) -> None:
    given_name = template("a-{instance_name}.{region}.x.local", KNOWN).name({"instance_name": name, "region": region})
    if given_name is not None:
        first, second, *rest = given_name.value.split(".")
        assert rest == ["x", "local"]
        assert first == "a-" + name.lower()
        assert second == region.lower()


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_instances_with_different_facts_share_no_name(one: str, other: str) -> None:
    pattern = template("web-{instance_name}.local", KNOWN)
    first, second = pattern.name({"instance_name": one}), pattern.name({"instance_name": other})
    if one.lower() != other.lower() and first is not None:
        assert first != second


# Each of them lowers, or maps, to ASCII.
LOOKALIKES = ["ban\u212a", "\u017fhop", "\uff46\uff4f\uff4f", "\u0130nfo"]


@pytest.mark.parametrize("label", LOOKALIKES)
def test_what_only_looks_like_ascii_makes_no_name(label: str) -> None:
    assert template("{instance_name}.local", KNOWN).name({"instance_name": label}) is None
    assert not template("{instance_name}.local", KNOWN).gives(dns("bank.local"), {"instance_name": label})
    with pytest.raises(ValueError, match="not ASCII"):
        template(f"{label}.local", KNOWN)


@pytest.mark.parametrize("listed", ["bank", "BANK"])
def test_what_only_looks_like_ascii_is_on_no_list_of_the_ascii_one(listed: str) -> None:
    demand = Demand("projects", ("project",), (listed.lower(),))
    assert demand.refusal({"project": "Bank"}) is None
    assert demand.refusal({"project": "ban\u212a"}) is not None
