"""An order that was pruned leaves its number to a later one, and its events stay: they show nothing of that one's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from acting import FOO, Actor, authority_of, block, certificates_of, now
from enrolling import whole_id
from running import ACCOUNT, CA

from acme_iid.authority import Authority, orders, reading
from acme_iid.authority.context import RequestContext
from acme_iid.operations import pruning
from acme_iid.protocol.resources import Certificate
from acme_iid.simulator import aws
from acme_iid.store import certificates, lookups
from acme_iid.store.database import SQLite
from acme_iid.store.listing import Filter
from acme_iid.store.writes import perform

PROFILES = """
[profile.short]
description = "gone soon"
lifetime = "1h"
[profile.long]
description = "there for long"
lifetime = "30d"
maximum_lifetime = "30d"
"""


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text() + PROFILES)
    with authority_of(own_ca.home) as made:
        yield made


def issued(authority: Authority, instance: aws.Instance, profile: str) -> Certificate:
    """A certificate that an instance got, with an account of its own."""
    actor = Actor(authority)
    wanted = orders.NewOrder((FOO,), profile=profile)
    order = actor.read(
        perform(
            authority.database,
            lambda reader: orders.new_order(
                authority, RequestContext("127.0.0.1", now()), reader, actor.account, wanted
            ),
        )
    )
    actor.answer(order, instance)
    return reading.certificate(authority.database, actor.account, actor.finalize(actor.read(order)).id)


def test_the_list_of_an_instance_has_no_certificate_of_a_later_one(authority: Authority) -> None:
    database = authority.database
    staying, going, coming = (aws.Instance(account=ACCOUNT) for _ in range(3))
    issued(authority, staying, "long")
    gone = issued(authority, going, "short")
    lookups.follow(database)
    over = gone.not_after + authority.config.retention.certificates
    pruned = pruning.prune(authority.config, database, "operator", over)
    assert pruned.certificates == 1
    assert certificates.get(database, gone.id) is None
    while now() == gone.issued_at:
        time.sleep(0.05)
    later = issued(authority, coming, "short")
    # PostgreSQL gives no number twice.
    assert (certificates.number(later) == certificates.number(gone)) is isinstance(database, SQLite)
    for wanted in (Filter(instance=whole_id(going)), Filter(account=gone.account_id),
                   Filter(account=gone.account_id, name=FOO.value)):  # fmt: skip
        assert certificates.page(database, wanted, None, now()) == []
    assert certificates_of(database, going) == []
    assert [one.id for one in certificates_of(database, coming)] == [later.id]
    named = certificates.page(database, Filter(name=FOO.value), None, now())
    assert [one.instance for one in named] == [whole_id(coming), whole_id(staying)]
    # Whoever blocks the one revokes nothing of the other.
    block(going, revoke=True)(database)
    found = certificates.get(database, later.id)
    assert found is not None
    assert found.revoked_at is None
