"""Acts on many whose store goes away at any commit: what they have begun is whole, and the next one does the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import issued
import pytest
from issued import OWNER, issue, vm
from meanwhile import Meanwhile
from writing import key, put

from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.errors import OutcomeUnknownError, RequestError, StoreUnavailableError
from acme_iid.operations import bulk
from acme_iid.operations.bulk import Rebuilt, Step, Task
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts, certificates, events, instances, lookups
from acme_iid.store.chain import Event
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter
from acme_iid.store.writes import Outcome, Write

NOW = 1_800_000_000
OTHER = "999999999999"
TASK = Task("b-1", "INC-7")
NUMBER = 120


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    with issued.prepared(store_url, NOW) as database:
        yield database


class Leaving(Meanwhile):
    """A store that goes away at a commit of an act.

    :param left: the commits that it takes before.
    :param takes: whether it takes that one, too, without being able to say so.
    """

    def __init__(self, database: Database, left: int, *, takes: bool) -> None:
        super().__init__(database, lambda _: None)
        self.left, self.takes = left, takes

    def commit(self, write: Write[Any]) -> Outcome:
        if not any(event.detail.get("bulk") for event in write.events):
            return super().commit(write)
        if self.left > 0:
            self.left -= 1
            return super().commit(write)
        if self.takes:
            super().commit(write)
            raise OutcomeUnknownError("it went away")
        raise StoreUnavailableError("it went away")


def use(database: Database, number: int) -> None:
    word = lookups.word_of(vm(number))
    used = Instance(vm(number), "aws", OWNER, word, "a", "o" * 43, None, NOW - 3600, NOW - 3600)
    put(database, instances.use(used))


def fleet(database: Database, key_id: Callable[[int], str] = str) -> None:
    """Instances with a certificate each, which were rebuilt."""
    der = issued.leaf()
    for number in range(NUMBER):
        use(database, number)
        issue(database, f"n{number}.local", at=NOW, instance=vm(number), der=der, key_id=key_id(number))
        detail = {"step": "first use", "reason": OF_ANOTHER_KEY, "proven": True, "binding": "nonce"}
        refused = {**detail, "thumbprint": "n" * 43}
        put(
            database, events=[Event("challenge.refused", NOW, account_id="b", instance=key(vm(number)), detail=refused)]
        )
    lookups.follow(database)


def rebuilt(database: Database) -> list[Rebuilt]:
    return bulk.rebuilt(database, Filter(owner=OWNER), NOW - 9, also_unbound=False, now=NOW)


Act = Callable[[Database, Task], Iterator[Step]]
ACTS: dict[str, tuple[Act, tuple[str, ...]]] = {
    "revoke": (lambda store, task: bulk.revoke(store, Filter(owner=OWNER), 0, task, NOW), ("certificate.revoked",)),
    "renew-now": (
        lambda store, task: bulk.renew_now(store, Filter(owner=OWNER), 3600, task, NOW),
        ("certificate.renewal_asked",),
    ),
    "block": (
        lambda store, task: bulk.block(store, Filter(owner=OWNER), "stolen", task, NOW, revoke=True),
        ("instance.blocked", "certificate.revoked"),
    ),
    "release": (
        lambda store, task: bulk.release(store, rebuilt(store), 3600, task, NOW, revoke=True),
        ("instance.released", "certificate.revoked"),
    ),
}
"""Acts, and the kinds of events that they leave for each instance."""


def done(database: Database, kind: str) -> Counter[str]:
    lookups.follow(database)
    found = [event for _, event in events.page(database, Filter(kind=kind, bulk=TASK.id, limit=10_000))]
    assert all(event.detail["ticket"] == "INC-7" for event in found)
    return Counter(event.instance.id for event in found if event.instance is not None)


@pytest.mark.parametrize("takes", [False, True], ids=["not taken", "taken"])
@pytest.mark.parametrize("name", ACTS)
def test_what_was_begun_is_whole_and_the_rest_is_done_once(database: Database, name: str, *, takes: bool) -> None:
    act, kinds = ACTS[name]
    fleet(database)
    task = TASK
    for _ in range(10):
        try:
            # One commit further each time, and then it goes away again.
            list(act(Leaving(database, 1, takes=takes), task))
            break
        except StoreUnavailableError:
            first, *others = (done(database, kind) for kind in kinds)
            assert all(other == first for other in others)
            task = Task.stopped(database, TASK.id)
            assert task.ticket == "INC-7"
    else:
        pytest.fail("it comes to no end")
    for kind in kinds:
        assert done(database, kind) == Counter(vm(number) for number in range(NUMBER)), kind


def test_instances_with_one_key_are_blocked_and_revoked_all_the_same(database: Database) -> None:
    fleet(database, lambda number: f"{number // 50}")
    list(bulk.block(database, Filter(owner=OWNER), None, TASK, NOW, revoke=True))
    for kind in ("instance.blocked", "certificate.revoked"):
        assert done(database, kind) == Counter(vm(number) for number in range(NUMBER)), kind
    assert len(done(database, "key.compromised")) == 3


def test_an_act_that_had_done_nothing_is_begun_anew(database: Database) -> None:
    with pytest.raises(RequestError, match="the record has no act 'b-1': it had done nothing"):
        Task.stopped(database, TASK.id)


FACTS = {
    "owner": (OWNER, OTHER), "account": ("a", "b"), "image": ("ami-1", "ami-2"), "region": ("us-west-2", "eu-west-1"),
    "provisioner": ("Web", "Batch"), "name": ("n.local", "m.local"),
}  # fmt: skip
"""What filters may be about: the value of a certificate, and another one that others have."""


def test_filters_leave_what_all_of_them_fit(database: Database) -> None:
    put(database, accounts.add(Account("b", "{}", "u", (), NOW)))
    fields = list(FACTS)
    # One for each choice of the values.
    for chosen in range(2 ** len(fields)):
        values = {field: FACTS[field][chosen >> place & 1] for place, field in enumerate(fields)}
        issue(
            database, values["name"], at=NOW, instance=vm(chosen, values["owner"]), account=values["account"],
            image=values["image"], region=values["region"], provisioner=values["provisioner"],
        )  # fmt: skip
    for chosen in range(1, 2 ** len(fields)):
        asked = {field: FACTS[field][0] for place, field in enumerate(fields) if chosen >> place & 1}
        expected = 2 ** (len(fields) - len(asked))
        assert bulk.count_certificates(database, Filter(**asked), NOW) == expected, asked  # type: ignore[arg-type]
    steps = bulk.revoke(database, Filter(owner=OWNER, image="ami-1", region="us-west-2"), 0, TASK, NOW)
    assert sum(step.done for step in steps) == 8
    valid = certificates.count_valid(database, Filter(), NOW)
    assert valid == 2 ** len(fields) - 8
