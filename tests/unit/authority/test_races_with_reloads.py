"""SIGHUP between two halves: what was decided before is committed, and what is decided after goes by the new rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from acting import FOO, Actor, Happening, certificates_of, kinds, now
from running import PROVISIONER

from acme_iid.authority import Authority
from acme_iid.errors import AcmeError, Problem
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import NameRule, template
from acme_iid.protocol.status import Status, of_challenge, of_order
from acme_iid.simulator import aws
from acme_iid.store.database import Database

Change = Callable[[tuple[Provisioner, ...]], tuple[Provisioner, ...]]


def removed(_before: tuple[Provisioner, ...]) -> tuple[Provisioner, ...]:
    """The provisioner is there no more."""
    return ()


def delisted(before: tuple[Provisioner, ...]) -> tuple[Provisioner, ...]:
    """It lists the instance's owner no more."""
    return tuple(
        replace(entry, demands=tuple(replace(one, values=("999999999999",)) for one in entry.demands))
        for entry in before
    )


def narrowed(before: tuple[Provisioner, ...]) -> tuple[Provisioner, ...]:
    """It gives other names."""
    return tuple(replace(entry, allow=(NameRule(template("other.local", ())),)) for entry in before)


CHANGES = pytest.mark.parametrize("change", [removed, delisted, narrowed])
REFUSALS = r"was removed since the names were proven|the rules have changed since the name was proven"


def reload(actor: Actor, change: Change) -> Happening:
    """The server has another configuration for what it decides from now on."""

    def happens(_database: Database) -> None:
        before = actor.authority
        provisioners = change(before.config.provisioners)
        actor.authority = replace(before, config=replace(before.config, provisioners=provisioners))

    return happens


@CHANGES
def test_an_order_decided_before_a_reload_is_made_but_its_answer_refused(
    authority: Authority, instance: aws.Instance, change: Change
) -> None:
    actor = Actor(authority)
    order = actor.order(happens=reload(actor, change))
    assert of_order(order, now()) is Status.PENDING
    assert of_challenge(actor.answer(order, instance)) is Status.INVALID
    assert kinds(authority.database)[-1] == "challenge.refused"


@CHANGES
def test_an_answer_decided_before_a_reload_is_recorded_but_gives_nothing(
    authority: Authority, instance: aws.Instance, change: Change
) -> None:
    actor = Actor(authority)
    order = actor.order()
    assert of_challenge(actor.answer(order, instance, happens=reload(actor, change))) is Status.VALID
    with pytest.raises(AcmeError, match=REFUSALS) as caught:
        actor.finalize(order)
    assert caught.value.problem is Problem.UNAUTHORIZED
    assert certificates_of(authority.database, instance) == []
    assert kinds(authority.database)[-2:] == ["challenge.valid", "finalize.refused"]


@CHANGES
def test_a_certificate_that_was_decided_before_a_reload_is_issued(
    authority: Authority, instance: aws.Instance, change: Change
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    assert of_order(actor.finalize(ready, happens=reload(actor, change)), now()) is Status.VALID
    assert len(certificates_of(authority.database, instance)) == 1
    assert kinds(authority.database).count("certificate.issued") == 1


@CHANGES
def test_an_enrolment_decided_before_a_reload_gives_its_delegate_nothing(
    authority: Authority, instance: aws.Instance, change: Change
) -> None:
    actor = Actor(authority)
    key = actor.enrol(actor.ready(instance), happens=reload(actor, change)).key
    assert key is not None
    delegate = Actor(actor.authority, external_key=key.id)
    with pytest.raises(AcmeError, match=REFUSALS):
        delegate.order()
    assert certificates_of(authority.database, instance) == []


@CHANGES
def test_what_was_proven_before_a_reload_enrols_nobody_after_it(
    authority: Authority, instance: aws.Instance, change: Change
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    reload(actor, change)(authority.database)
    with pytest.raises(AcmeError, match=REFUSALS):
        actor.enrol(ready)
    assert "enrolment.made" not in kinds(authority.database)


def test_a_restored_provisioner_gives_again_what_was_proven_under_it(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    reload(actor, removed)(authority.database)
    with pytest.raises(AcmeError, match="was removed"):
        actor.finalize(ready)
    assert of_order(actor.read(ready), now()) is Status.READY
    actor.authority = authority
    assert actor.finalize(ready).identifiers == (FOO,)
    assert certificates_of(authority.database, instance)[0].provisioner == PROVISIONER
