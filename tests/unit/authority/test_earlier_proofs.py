"""What a new order relies on of earlier ones is in the guards of its write, and of its certificate's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from enrolling import whole_id
from running import CA, PROVISIONER, answer
from wire import Key, csr

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import (
    Authority,
    accounts,
    authorizations,
    challenges,
    finalization,
    orders,
    reading,
    revocation,
)
from acme_iid.authority.context import RequestContext
from acme_iid.authority.orders import NewOrder
from acme_iid.config import ca_toml
from acme_iid.issuance.home import load as load_ca
from acme_iid.operations import instances
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Order
from acme_iid.protocol.status import Status, of_order
from acme_iid.simulator import aws
from acme_iid.store.database import open_store
from acme_iid.store.writes import Refused, Write, perform

FOO = Identifier("dns", "foo.local")
ADDRESS = "127.0.0.1"


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h", "--disable-trust-on-first-use")
    loaded = ca_toml.load(own_ca.home)
    database = open_store(loaded.store.url)
    ca = load_ca(own_ca.home)
    yield Authority(loaded, database, ca, trust_store(loaded.given_keys))
    database.close()


def now() -> int:
    return int(time.time())


def register(authority: Authority) -> Account:
    key = Key()
    wanted = accounts.NewAccount(json.dumps(key.jwk), key.thumbprint, ())
    return perform(
        authority.database, lambda reader: accounts.create(authority, RequestContext(ADDRESS, now()), reader, wanted)
    )[0]


def new_order(authority: Authority, account: Account) -> Write[Order]:
    decided = orders.new_order(authority, RequestContext(ADDRESS, now()), authority.database, account, NewOrder((FOO,)))
    assert isinstance(decided, Write)
    return decided


def make(authority: Authority, account: Account) -> Order:
    return perform(
        authority.database,
        lambda reader: orders.new_order(authority, RequestContext(ADDRESS, now()), reader, account, NewOrder((FOO,))),
    )


def prove(authority: Authority, account: Account, instance: aws.Instance) -> Order:
    """An order whose name was proven by an answer."""
    made = make(authority, account)
    assert of_order(made, now()) is Status.PENDING
    challenge = made.authorizations[0].challenges[0].id
    given = dict(answer(instance))
    perform(
        authority.database,
        lambda reader: challenges.answer(
            authority, RequestContext(ADDRESS, now()), reader, account, challenge, given, b""
        ),
    )
    return reading.order(authority.database, account, made.id)


def finalize(authority: Authority, account: Account, order: Order) -> Write[Order]:
    request = csr("foo.local")[1]
    decided = finalization.finalize(
        authority, RequestContext(ADDRESS, now()), authority.database, account, order, request
    )
    assert isinstance(decided, Write)
    return decided


Act = Callable[[Authority, Account, aws.Instance, Order], None]


def block(authority: Authority, _account: Account, instance: aws.Instance, _proven: Order) -> None:
    instances.block(authority.database, whole_id(instance), None, revoke=False, now=now())


def deactivate(authority: Authority, _account: Account, _instance: aws.Instance, proven: Order) -> None:
    entry = proven.authorizations[0].id
    perform(authority.database, lambda reader: authorizations.deactivate(reader, entry, now()))


def take_over(authority: Authority, _account: Account, instance: aws.Instance, _proven: Order) -> None:
    """Another account becomes the one that holds the instance."""
    with authority.database.transaction() as transaction:
        changed = transaction.run(
            "UPDATE instances SET account_id = 'another', first_used_at = 1, last_used_at = 1 WHERE id = :id",
            id=whole_id(instance),
        )
    assert changed == 1


def revoke(authority: Authority, account: Account, _instance: aws.Instance, proven: Order) -> None:
    """A revocation that closes no name, as that of a former owner."""
    certificate = reading.certificate(authority.database, account, proven.id)
    perform(
        authority.database,
        lambda reader: revocation._revoke(reader, certificate, 5, "account another", now(), closes=False),
    )


def prune(authority: Authority, _account: Account, _instance: aws.Instance, proven: Order) -> None:
    n = int(proven.id.split(".")[0])
    with authority.database.transaction() as transaction:
        assert transaction.run("DELETE FROM orders WHERE n = :n", n=n) == 1


ACTS: list[Act] = [block, deactivate, take_over, revoke, prune]


@pytest.mark.parametrize("act", ACTS)
def test_what_ends_a_proof_before_the_write_of_a_new_order_stops_it(
    authority: Authority, instance: aws.Instance, act: Act
) -> None:
    account = register(authority)
    proven = prove(authority, account, instance)
    issued = authority.database.commit(finalize(authority, account, proven))
    assert not isinstance(issued, Refused)
    write = new_order(authority, account)
    act(authority, account, instance, proven)
    assert isinstance(authority.database.commit(write), Refused)
    assert of_order(make(authority, account), now()) is Status.PENDING


@pytest.mark.parametrize("act", ACTS)
def test_what_ends_a_proof_before_the_write_of_a_certificate_stops_it(
    authority: Authority, instance: aws.Instance, act: Act
) -> None:
    account = register(authority)
    proven = prove(authority, account, instance)
    authority.database.commit(finalize(authority, account, proven))
    ready = make(authority, account)
    assert of_order(ready, now()) is Status.READY
    write = finalize(authority, account, ready)
    act(authority, account, instance, proven)
    assert isinstance(authority.database.commit(write), Refused)


def test_without_any_of_it_both_are_committed(authority: Authority, instance: aws.Instance) -> None:
    account = register(authority)
    authority.database.commit(finalize(authority, account, prove(authority, account, instance)))
    ready = make(authority, account)
    assert not isinstance(authority.database.commit(finalize(authority, account, ready)), Refused)
    assert of_order(reading.order(authority.database, account, ready.id), now()) is Status.VALID


def later_orders(authority: Authority, proven: Order, count: int, instance: str | None, name: str) -> None:
    """Have the account make so many orders after the one with the proof."""
    row = authority.database.rows("SELECT * FROM orders WHERE n = :n", n=int(proven.id.split(".")[0]))[0]
    with authority.database.transaction() as transaction:
        for number in range(count):
            transaction.run(
                """INSERT INTO orders (tag, account_id, ahead, version, created_at, expires_at, issued_at, instance_id,
                                      generation, key, doc)
                   VALUES (:tag, :account_id, 0, 0, :created_at, :expires_at, :created_at, :instance_id, 0, :key,
                           :doc)""",
                tag=f"later-{count}-{number}",
                account_id=row["account_id"],
                created_at=row["created_at"],
                expires_at=row["expires_at"],
                instance_id=instance,
                key=row["key"],
                doc=row["doc"].replace("foo.local", name),
            )


@pytest.mark.parametrize(
    ("count", "has_proof", "status"),
    [(255, False, Status.READY), (256, False, Status.PENDING), (63, True, Status.READY), (64, True, Status.PENDING)],
)
def test_only_an_accounts_latest_orders_are_looked_at(
    authority: Authority, instance: aws.Instance, count: int, has_proof: bool, status: Status
) -> None:
    account = register(authority)
    proven = prove(authority, account, instance)
    later_orders(authority, proven, count, whole_id(instance) if has_proof else None, "b.local")
    assert of_order(make(authority, account), now()) is status


def test_no_more_is_read_than_64_kib(authority: Authority, instance: aws.Instance) -> None:
    account = register(authority)
    proven = prove(authority, account, instance)
    # Two orders that have the name somewhere, and are long.
    later_orders(authority, proven, 2, whole_id(instance), f"foo.local.{'x' * 40_000}")
    assert of_order(make(authority, account), now()) is Status.PENDING
