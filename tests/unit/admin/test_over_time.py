"""Acts for pages: the fleet and refusals over time, what ends soon, the end of the chain, a search."""

from __future__ import annotations

from asking import Api
from issued import OWNER, issue, vm
from writing import put

from acme_iid.operations import fleet_sampling
from acme_iid.policy.clouds import instance_key
from acme_iid.store.chain import Event


def test_the_fleet_and_what_ends_soon_are_as_they_were_counted(api: Api) -> None:
    for number in range(3):
        issue(api.database, f"{number}.local", at=api.now - 60, instance=vm(number))
    fleet_sampling.sample(api.database, api.now)
    (point,) = api.get("/fleet/over-time")["items"]
    assert (point["owner"], point["instances"], point["certificates"]) == (OWNER, 3, 3)
    assert api.get("/fleet/over-time", back="1h", points=1)["items"] == [point]
    endings = api.get("/fleet/endings")["items"]
    assert len(endings) == 48
    assert sum(ending["certificates"] for ending in endings) == 3


def test_refusals_are_counted_by_step_and_rule_when_they_are_asked_for(api: Api) -> None:
    for place in range(5):
        detail = {"step": "owner", "reason": "an operator blocked this instance"}
        event = Event("challenge.refused", api.now - place, instance=instance_key(vm(1)), detail=detail)
        put(api.database, events=[event])
    found = api.get("/refusals/over-time", back="2h")["items"]
    assert {(count["step"], count["rule"]) for count in found} == {("owner", "blocked instance")}
    assert sum(count["refusals"] for count in found) == 5


def test_the_end_of_the_chain_is_proven(api: Api) -> None:
    issue(api.database, "a.local", at=api.now - 60, instance=vm(1))
    proof = api.get("/events/proof")
    assert (proof["head"], proof["fault"], proof["whole"]) == (api.get("/events/head")["head"], None, True)
    assert proof["events"] >= 1


def test_an_instance_is_found_by_its_ids_and_its_names(api: Api) -> None:
    issue(api.database, "a.local", at=api.now - 60, instance=vm(1))
    issue(api.database, "b.local", at=api.now - 60, instance=vm(2))
    for number in (1, 2):
        put(api.database, events=[Event("order.refused", api.now, instance=instance_key(vm(number)))])
    for word in (vm(1), vm(1).rpartition(":")[2]):
        assert [row["instance"] for row in api.get("/instances/search", about=word)["items"]] == [vm(1)], word
    for word in ("c.local", "192.0.2.1", "%"):
        assert api.get("/instances/search", about=word)["items"] == []
