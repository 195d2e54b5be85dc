"""What ends an enrolment while a delegate's request is under way counts: it is seen before the commit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from acting import (
    FOO,
    Actor,
    Happening,
    block,
    certificates_of,
    change_key,
    context,
    deactivate,
    kinds,
    now,
    release,
)
from enrolling import whole_id
from meanwhile import Meanwhile
from wire import csr

from acme_iid.authority import Authority, authorizations, reading, revocation
from acme_iid.errors import AcmeError
from acme_iid.operations import instances
from acme_iid.protocol.status import Status, of_order
from acme_iid.simulator import aws
from acme_iid.store import accounts, enrolments
from acme_iid.store.database import Database
from acme_iid.store.writes import perform

Ending = Callable[[Actor, aws.Instance], Happening]


def released(_bound: Actor, instance: aws.Instance) -> Happening:
    return release(instance)


def blocked(_bound: Actor, instance: aws.Instance) -> Happening:
    return block(instance)


def deactivated(bound: Actor, _instance: aws.Instance) -> Happening:
    return deactivate(bound.account)


ENDINGS = pytest.mark.parametrize("ending", [released, blocked, deactivated])


@ENDINGS
def test_between_ready_and_issued_it_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    delegate = Actor(authority, external_key=bound.external_key(instance))
    ready = delegate.order()
    assert of_order(ready, now()) is Status.READY
    with pytest.raises(AcmeError, match=r"was released|operator blocked|was deactivated"):
        delegate.finalize(ready, happens=ending(bound, instance))
    assert certificates_of(authority.database, instance) == []
    assert of_order(delegate.read(ready), now()) is Status.INVALID


@ENDINGS
def test_between_a_request_and_its_order_it_leads_to_no_order(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    delegate = Actor(authority, external_key=bound.external_key(instance))
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        delegate.order(happens=ending(bound, instance))
    assert reading.orders_of_account(authority.database, delegate.account, None) == []


@ENDINGS
def test_between_a_request_and_its_authorization_it_leads_to_none(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    delegate = Actor(authority, external_key=bound.external_key(instance))
    racing = Meanwhile(authority.database, ending(bound, instance))
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        perform(
            racing, lambda reader: authorizations.new_authorization(authority, context(), reader, delegate.account, FOO)
        )


@ENDINGS
def test_between_a_key_and_its_account_it_leads_to_no_account(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    given = bound.external_key(instance)
    with pytest.raises(AcmeError, match="was used before, has run out or was revoked"):
        Actor(authority, external_key=given, happens=ending(bound, instance))


@ENDINGS
def test_between_a_proof_and_its_enrolment_it_leads_to_no_enrolment(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    ready = bound.ready(instance)
    with pytest.raises(AcmeError, match=r"no longer belongs|blocked this instance|is not proven|is deactivated"):
        bound.enrol(ready, happens=ending(bound, instance))
    assert enrolments.of_instance(authority.database, whole_id(instance)) == []


@ENDINGS
def test_an_enrolment_that_is_made_while_it_ends_them_all_ends_too(
    authority: Authority, instance: aws.Instance, ending: Ending
) -> None:
    bound = Actor(authority)
    ready = bound.ready(instance)
    ending(bound, instance)(Meanwhile(authority.database, lambda _database: bound.enrol(ready)))
    (found,) = enrolments.of_instance(authority.database, whole_id(instance))
    assert found.ended_at is not None
    assert kinds(authority.database).count("enrolment.ended") == 1


def test_two_enrolments_of_the_same_names_at_the_same_time_are_one(
    authority: Authority, instance: aws.Instance
) -> None:
    bound = Actor(authority)
    ready = bound.ready(instance)
    second = bound.enrol(ready, happens=lambda _database: bound.enrol(ready))
    (found,) = enrolments.of_instance(authority.database, whole_id(instance))
    assert (found.id, second.made) == (second.enrolment.id, False)
    assert [kind for kind in kinds(authority.database) if kind.startswith("enrolment")] == [
        "enrolment.made",
        "enrolment.extended",
    ]


def test_an_enrolment_that_ends_while_it_is_extended_is_not_extended(
    authority: Authority, instance: aws.Instance
) -> None:
    bound = Actor(authority)
    made = bound.enrol(bound.ready(instance))
    ready = bound.ready(instance)
    with pytest.raises(AcmeError):
        bound.enrol(ready, made.enrolment.id, happens=block(instance))
    (found,) = enrolments.of_instance(authority.database, whole_id(instance))
    assert found.ended_at is not None
    assert found.proven_at == made.enrolment.proven_at


def test_a_key_change_while_names_are_handed_on_refuses_the_former_key(
    authority: Authority, instance: aws.Instance
) -> None:
    bound = Actor(authority)
    ready = bound.ready(instance)
    with pytest.raises(AcmeError, match="key was changed while this request was under way"):
        bound.enrol(ready, happens=change_key(bound.account))
    assert enrolments.of_instance(authority.database, whole_id(instance)) == []


def test_of_two_accounts_with_one_external_key_one_is_made(authority: Authority, instance: aws.Instance) -> None:
    bound = Actor(authority)
    given = bound.external_key(instance)
    with pytest.raises(AcmeError, match="was used before"):
        Actor(authority, external_key=given, happens=lambda _database: Actor(authority, external_key=given))
    (found,) = enrolments.of_instance(authority.database, whole_id(instance))
    assert len(accounts.delegates(authority.database, found.id)) == 1


def test_a_revocation_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    bound = Actor(authority)
    certificate = bound.certificate(instance, FOO)
    delegate = Actor(authority, external_key=bound.external_key(instance))

    def revoke(database: Database) -> None:
        perform(database, lambda reader: revocation.revoke_by_account(context(), reader, bound.account, certificate, 5))

    with pytest.raises(AcmeError, match="was revoked"):
        delegate.finalize(delegate.order(), csr("foo.local")[1], happens=revoke)
    assert len(certificates_of(authority.database, instance)) == 1
    # An operator who opens the name again does not bring the enrolment back.
    found = instances.find(authority.database, whole_id(instance))
    instances.reopen(authority.database, found, "foo.local", now())
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        delegate.order()
