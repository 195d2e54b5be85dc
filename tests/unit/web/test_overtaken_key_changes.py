"""Changes of an account's key that something else overtakes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from acting import Actor, authority_of, change_key, deactivate
from meanwhile import Meanwhile
from running import CA
from wire import Key

from acme_iid.authority import Authority
from acme_iid.errors import AcmeError, Problem
from acme_iid.protocol.status import Status, of_challenge
from acme_iid.simulator import aws
from acme_iid.store import accounts as stored
from acme_iid.store import instances


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    with authority_of(own_ca.home) as made:
        yield made


def test_a_change_that_another_overtook_changes_nothing(authority: Authority) -> None:
    actor, first = Actor(authority), Key()
    racing = Meanwhile(authority.database, change_key(actor.account, first))
    with pytest.raises(AcmeError, match="while this request was under way") as caught:
        change_key(actor.account)(racing)
    assert caught.value.problem is Problem.UNAUTHORIZED
    current = stored.get(authority.database, actor.account.id)
    assert current is not None
    assert current.thumbprint == first.thumbprint


def test_a_change_that_a_deactivation_overtook_changes_nothing(authority: Authority) -> None:
    actor = Actor(authority)
    with pytest.raises(AcmeError, match="deactivated") as caught:
        change_key(actor.account)(Meanwhile(authority.database, deactivate(actor.account)))
    assert caught.value.status == 401
    current = stored.get(authority.database, actor.account.id)
    assert current is not None
    assert current.thumbprint == actor.key.thumbprint


def test_an_answer_under_way_at_a_key_change_is_refused(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    made = actor.order()
    with pytest.raises(AcmeError, match="while this request was under way"):
        actor.answer(made, instance, happens=change_key(actor.account))
    (entry,) = actor.read(made).authorizations
    assert of_challenge(entry.challenges[0]) is Status.INVALID
    assert entry.challenges[0].error is not None
    assert "key was changed" in entry.challenges[0].error.detail
    assert instances.find(authority.database, instance.instance_id) == []
