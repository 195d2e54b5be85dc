"""Acts on many: an event for each, in transactions of a hundred, of what was there at the start and no more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import issued
import pytest
from issued import OWNER, issue, vm
from meanwhile import Meanwhile
from writing import key, put

from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.operations import bulk
from acme_iid.operations.bulk import Rebuilt, Step, Task
from acme_iid.protocol.resources import Certificate, Instance
from acme_iid.store import certificates, compromised_keys, events, instances, issuers, lookups
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Outcome, Statement, Write

NOW = 1_800_000_000
OTHER = "999999999999"
TASK = Task("b-1", "INC-7")
OLD, NEW, STRANGE = ("o" * 43, "n" * 43, "s" * 43)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as database:
        yield database


class Counting(Meanwhile):
    """A store that counts what is committed."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda _: None)
        self.commits = 0

    def commit(self, write: Write[Any]) -> Outcome:
        self.commits += any(event.detail.get("bulk") for event in write.events)
        return super().commit(write)


def fleet(database: Database, number: int, owner: str = OWNER) -> list[Certificate]:
    """Certificates, of which every fifth is a second one of the same instance."""
    made = []
    for place in range(number):
        at = NOW - 3600 + place
        made.append(issue(database, f"n{place}.local", at=at, instance=vm(place - (place % 5 == 4), owner)))
    return made


def use(database: Database, instance: str, at: int = NOW - 3600, thumbprint: str = OLD) -> None:
    cloud, owner = key(instance).cloud, key(instance).owner
    word = lookups.word_of(instance)
    put(database, instances.use(Instance(instance, cloud, owner, word, "a", thumbprint, None, at, at)))


def recorded(database: Database, kind: str) -> list[dict[str, Any]]:
    lookups.follow(database)
    found = events.page(database, Filter(kind=kind, bulk=TASK.id, limit=10_000))
    assert all(event.detail["ticket"] == "INC-7" for _, event in found)
    return [dict(event.detail) for _, event in found]


def valid(database: Database, **wanted: str) -> int:
    lookups.follow(database)
    return certificates.count_valid(database, Filter(**wanted), NOW)  # type: ignore[arg-type]


def test_each_certificate_under_the_filter_is_revoked_and_leaves_an_event(database: Database) -> None:
    made = fleet(database, 250)
    fleet(database, 10, OTHER)
    counting = Counting(database)
    assert bulk.count_certificates(counting, Filter(owner=OWNER), NOW) == 250
    steps = list(bulk.revoke(counting, Filter(owner=OWNER), 0, TASK, NOW))
    assert [(step.done, step.left_out) for step in steps] == [(100, 0), (100, 0), (50, 0)]
    assert counting.commits == 3
    assert (valid(database), valid(database, owner=OTHER)) == (10, 10)
    serials = Counter(detail["serial"] for detail in recorded(database, "certificate.revoked"))
    assert serials == Counter(certificate.serial for certificate in made)
    assert certificates.closed_names(database, vm(3)) == {"n3.local", "n4.local"}
    instance = instances.get(database, vm(3))
    assert instance is not None
    assert (instance.generation, instance.last_revocation_at) == (1, NOW)


def test_superseded_certificates_close_nothing(database: Database) -> None:
    fleet(database, 5)
    list(bulk.revoke(database, Filter(owner=OWNER), 4, TASK, NOW))
    assert valid(database) == 0
    assert certificates.closed_names(database, vm(3)) == set()


def test_an_act_that_was_stopped_goes_on_with_the_rest(database: Database) -> None:
    fleet(database, 250)
    stopped = bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW)
    assert next(stopped).done == 100
    del stopped
    assert valid(database) == 150
    assert [step.done for step in bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW)] == [100, 50]
    assert len(recorded(database, "certificate.revoked")) == 250


def test_what_is_issued_meanwhile_is_left_as_it_is(database: Database) -> None:
    fleet(database, 150)
    assert bulk.count_certificates(database, Filter(owner=OWNER), NOW) == 150
    # While somebody types the number, and while the act goes on.
    issue(database, "first.local", at=NOW + 1, instance=vm(1000))
    steps = bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW)
    next(steps)
    issue(database, "second.local", at=NOW + 2, instance=vm(1001))
    list(steps)
    assert valid(database) == 2


def test_what_others_revoked_meanwhile_is_not_revoked_again(database: Database) -> None:
    made = fleet(database, 120)
    steps = bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW)
    next(steps)
    put(database, certificates.revoke(made[0], 1, "somebody", NOW - 5))
    assert list(steps) == [Step(19, 0)]
    current = certificates.get(database, made[0].id)
    assert current is not None
    assert current.revoked_by == "somebody"


def test_certificates_of_a_retired_issuer_are_left_out(database: Database) -> None:
    fleet(database, 3)
    put(database, Statement("UPDATE issuers SET activated_at = :at, retired_at = :at", {"at": NOW}))
    assert issuers.retired(database)
    (step,) = bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW)
    assert (step.done, step.left_out) == (0, 3)
    assert valid(database) == 3


def test_a_key_of_several_certificates_is_compromised_once(database: Database) -> None:
    der = issued.leaf()
    for number in range(3):
        issue(database, f"n{number}.local", at=NOW, instance=vm(number), key_id="k" * 64, der=der)
    list(bulk.revoke(database, Filter(owner=OWNER), 1, TASK, NOW))
    assert valid(database) == 0
    assert compromised_keys.has(database, "k" * 64)
    assert len(recorded(database, "key.compromised")) == 1
    assert len(recorded(database, "certificate.revoked")) == 3


def test_each_certificate_is_asked_for_in_a_moment_of_its_own(database: Database) -> None:
    fleet(database, 150)
    list(bulk.renew_now(database, Filter(owner=OWNER), 15_000, TASK, NOW))
    asked = recorded(database, "certificate.renewal_asked")
    assert sorted(detail["from"] for detail in asked) == [NOW + 100 * place for place in range(150)]
    rows = database.rows("SELECT renew_from, renew_until FROM certificates ORDER BY renew_from")
    assert [row["renew_until"] - row["renew_from"] for row in rows] == [100] * 150


def test_instances_are_blocked_and_lose_their_certificates(database: Database) -> None:
    der = issued.leaf()
    for number in range(120):
        use(database, vm(number))
        issue(database, f"n{number}.local", at=NOW, instance=vm(number), image="ami-1", der=der, key_id=f"{number}")
    use(database, vm(1, OTHER))
    put(database, instances.block(key(vm(7)), 0, "before", "before", NOW - 9))
    lookups.follow(database)
    assert bulk.count_instances(database, Filter(image="ami-1")) == 119
    assert bulk.count_instances(database, Filter(account="a")) == 120
    steps = list(bulk.block(database, Filter(image="ami-1", owner=OWNER), "stolen", TASK, NOW, revoke=True))
    assert [(step.done, step.left_out) for step in steps] == [(100, 0), (19, 0)]
    assert len(recorded(database, "instance.blocked")) == 119
    assert len(recorded(database, "certificate.revoked")) == 119
    assert instances.closed(database, vm(119)).blocked
    assert not instances.closed(database, vm(1, OTHER)).blocked
    before = instances.get(database, vm(7))
    assert before is not None
    assert before.blocked_for == "before"


def refuse(database: Database, instance: str, thumbprint: str, at: int = NOW - 60, **facts: object) -> None:
    detail = {"step": "first use", "reason": OF_ANOTHER_KEY, "proven": True, "binding": "nonce"}
    detail |= {"thumbprint": thumbprint, **facts}
    put(database, events=[Event("challenge.refused", at, account_id="b", instance=key(instance), detail=detail)])


def rebuilt(database: Database, *, also_unbound: bool = False) -> dict[str, str | None]:
    lookups.follow(database)
    found = bulk.rebuilt(database, Filter(owner=OWNER), NOW - 3600, also_unbound=also_unbound, now=NOW)
    return {entry.instance_id: entry.thumbprint for entry in found}


def test_a_rebuilt_instance_is_released_to_the_one_key_that_came_for_it(database: Database) -> None:
    for number in range(7):
        use(database, vm(number))
    refuse(database, vm(0), NEW)
    refuse(database, vm(1), NEW)
    refuse(database, vm(1), STRANGE)
    refuse(database, vm(2), NEW, binding="first use")
    refuse(database, vm(3), NEW, proven=False)
    refuse(database, vm(4), NEW)
    use(database, vm(4), NOW - 30)
    refuse(database, vm(5), NEW, at=NOW - 7200)
    refuse(database, vm(6), NEW, step="names")
    assert rebuilt(database) == {vm(0): NEW, vm(1): None, vm(2): None}
    assert rebuilt(database, also_unbound=True) == {vm(0): NEW, vm(1): None, vm(2): NEW}
    chosen = [Rebuilt(vm(0), NEW), Rebuilt(vm(1), None, "several")]
    assert list(bulk.release(database, chosen, 3600, TASK, NOW, revoke=False)) == [Step(1, 0)]
    released = instances.get(database, vm(0))
    assert released is not None
    assert (released.account_id, released.release_to, released.release_until) == (None, NEW, NOW + 3600)
    kept = instances.get(database, vm(1))
    assert kept is not None
    assert kept.account_id == "a"
    assert [detail["released_to"] for detail in recorded(database, "instance.released")] == [NEW]
    # Once is enough.
    assert rebuilt(database) == {vm(1): None, vm(2): None}


def test_every_event_of_an_act_has_its_id_and_its_ticket(database: Database) -> None:
    fleet(database, 6)
    list(bulk.revoke(database, Filter(owner=OWNER), 0, TASK, NOW))
    database.seal()
    rows = database.rows("SELECT kind, detail FROM events WHERE kind <> 'certificate.issued'")
    assert rows
    for row in rows:
        detail = json.loads(row["detail"])
        assert (detail["bulk"], detail["ticket"]) == ("b-1", "INC-7"), row["kind"]
