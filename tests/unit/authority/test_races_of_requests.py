"""Two requests at the same moment: one happens between the other's decision and its commit."""

from __future__ import annotations

import json

import pytest
from acting import (
    BAR,
    FOO,
    Actor,
    Happening,
    certificates_of,
    change_key,
    context,
    deactivate,
    kinds,
    now,
)
from cryptography import x509
from enrolling import whole_id
from meanwhile import Meanwhile
from running import ACCOUNT, answer
from wire import Key, csr

from acme_iid.authority import Authority, accounts, authorizations, challenges, reading
from acme_iid.errors import AcmeError, Problem
from acme_iid.operations import instances, pruning
from acme_iid.protocol.renewal import CertificateId
from acme_iid.protocol.resources import Authorization, Certificate
from acme_iid.protocol.status import Status, of_authorization, of_challenge, of_order
from acme_iid.simulator import aws
from acme_iid.store import accounts as stored
from acme_iid.store import orders
from acme_iid.store.database import Database
from acme_iid.store.instances import get
from acme_iid.store.writes import perform

DAY = 86400


def named(certificate: Certificate) -> str:
    """What an order names a certificate with that it replaces (RFC 9773)."""
    leaf = x509.load_der_x509_certificate(certificate.der)
    key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key is not None
    return str(CertificateId(key, leaf.serial_number))


def ahead(actor: Actor, instance: aws.Instance) -> Authorization:
    """A valid authorization ahead of an order."""
    authority = actor.authority
    made = perform(
        authority.database,
        lambda reader: authorizations.new_authorization(authority, context(), reader, actor.account, FOO),
    )
    challenge, given = made.challenges[0].id, dict(answer(instance))
    perform(
        authority.database,
        lambda reader: challenges.answer(authority, context(), reader, actor.account, challenge, given, b""),
    )
    return made


def test_of_two_finalizations_one_is_recorded(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    with pytest.raises(AcmeError) as caught:
        actor.finalize(ready, happens=lambda _database: actor.finalize(ready))
    assert caught.value.problem is Problem.ORDER_NOT_READY
    assert len(certificates_of(authority.database, instance)) == 1
    assert kinds(authority.database).count("certificate.issued") == 1


def test_of_two_answers_to_one_challenge_one_is_recorded(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    made = actor.order()
    challenge = actor.answer(made, instance, happens=lambda _database: actor.answer(made, instance))
    assert of_challenge(challenge) is Status.VALID
    assert kinds(authority.database).count("challenge.valid") == 1


def test_a_bad_answer_that_came_first_is_the_outcome(authority: Authority, instance: aws.Instance) -> None:
    actor, other = Actor(authority), aws.Instance(account="999999999999")
    made = actor.order()
    challenge = actor.answer(made, instance, happens=lambda _database: actor.answer(made, other))
    assert of_challenge(challenge) is Status.INVALID
    assert get(authority.database, whole_id(instance)) is None


def test_answers_for_two_names_at_the_same_time_both_count(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    made = actor.order(FOO, BAR)
    actor.answer(made, instance, 0, happens=lambda _database: actor.answer(made, instance, 1))
    assert of_order(actor.read(made), now()) is Status.READY


def test_two_instances_do_not_prove_one_order_at_the_same_time(authority: Authority, instance: aws.Instance) -> None:
    actor, other = Actor(authority), aws.Instance(account=ACCOUNT)
    made = actor.order(FOO, BAR)
    challenge = actor.answer(made, instance, 0, happens=lambda _database: actor.answer(made, other, 1))
    assert of_challenge(challenge) is Status.INVALID
    assert of_order(actor.read(made), now()) is Status.INVALID
    assert get(authority.database, whole_id(instance)) is None


def test_of_two_accounts_that_use_an_instance_first_one_does(authority: Authority, instance: aws.Instance) -> None:
    first, second = Actor(authority), Actor(authority)
    mine, theirs = first.order(), second.order()
    challenge = first.answer(mine, instance, happens=lambda _database: second.answer(theirs, instance))
    assert of_challenge(challenge) is Status.INVALID
    assert of_order(second.read(theirs), now()) is Status.READY
    assert instances.find(authority.database, whole_id(instance)).account_id == second.account.id


def test_a_deactivation_between_a_request_and_its_order_leads_to_no_order(authority: Authority) -> None:
    actor = Actor(authority)
    with pytest.raises(AcmeError, match="is deactivated for good") as caught:
        actor.order(happens=deactivate(actor.account))
    assert caught.value.status == 401
    assert authority.database.rows("SELECT n FROM orders") == []


def test_an_account_deactivated_meanwhile_gets_no_authorization(authority: Authority) -> None:
    actor = Actor(authority)
    racing = Meanwhile(authority.database, deactivate(actor.account))
    with pytest.raises(AcmeError, match="is deactivated for good"):
        perform(
            racing, lambda reader: authorizations.new_authorization(authority, context(), reader, actor.account, FOO)
        )
    assert authority.database.rows("SELECT n FROM orders") == []


def test_a_deactivation_while_an_answer_is_judged_leaves_nothing_of_it(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    made = actor.order()
    with pytest.raises(AcmeError, match="is deactivated for good"):
        actor.answer(made, instance, happens=deactivate(actor.account))
    assert get(authority.database, whole_id(instance)) is None


def test_a_deactivation_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    with pytest.raises(AcmeError, match="is deactivated for good"):
        actor.finalize(ready, happens=deactivate(actor.account))
    assert certificates_of(authority.database, instance) == []


def test_a_key_change_between_ready_and_issued_leaves_the_order_ready(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    with pytest.raises(AcmeError, match="key was changed while this request was under way"):
        actor.finalize(ready, happens=change_key(actor.account))
    assert certificates_of(authority.database, instance) == []
    assert of_order(actor.read(ready), now()) is Status.READY


def test_a_key_change_between_a_request_and_its_order_leads_to_no_order(authority: Authority) -> None:
    actor = Actor(authority)
    with pytest.raises(AcmeError, match="key was changed while this request was under way"):
        actor.order(happens=change_key(actor.account))
    assert authority.database.rows("SELECT n FROM orders") == []


def test_an_order_ended_by_a_key_change_stays_ended_if_the_key_returns(authority: Authority) -> None:
    actor, other = Actor(authority), Key()
    made = actor.order()
    later = now() + 5

    def roll(key: Key) -> None:
        current = stored.get(authority.database, actor.account.id)
        assert current is not None
        perform(
            authority.database,
            lambda reader: accounts.change_key(context(later), reader, current, json.dumps(key.jwk), key.thumbprint),
        )

    roll(other)
    assert of_order(actor.read(made), later) is Status.INVALID
    roll(actor.key)
    assert of_order(actor.read(made), later) is Status.INVALID


def test_of_two_changes_to_one_key_one_happens(authority: Authority) -> None:
    first, second, new = Actor(authority), Actor(authority), Key()
    change_key(first.account, new)(Meanwhile(authority.database, change_key(second.account, new)))
    found = stored.by_thumbprint(authority.database, new.thumbprint)
    assert found is not None
    assert found.id == second.account.id
    assert stored.get(authority.database, first.account.id) == first.account


def test_of_two_accounts_with_one_key_one_is_made(authority: Authority) -> None:
    key = Key()
    second = Actor(authority, key, happens=lambda _database: Actor(authority, key))
    assert kinds(authority.database).count("account.created") == 1
    assert stored.get(authority.database, second.account.id) == second.account


def test_an_authorization_is_taken_into_one_of_two_orders(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    ahead(actor, instance)
    others = []
    late = actor.order(happens=lambda _database: others.append(actor.order()))
    assert [of_order(order, now()) for order in (*others, late)] == [Status.READY, Status.PENDING]


def test_an_authorization_deactivated_meanwhile_is_taken_into_no_order(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    made = ahead(actor, instance)
    order = actor.order(
        happens=lambda database: perform(database, lambda reader: authorizations.deactivate(reader, made.id, now()))
    )
    assert of_order(order, now()) is Status.PENDING
    assert order.authorizations[0].id != made.id


@pytest.mark.parametrize("made_ahead", [False, True])
def test_an_authorization_deactivated_before_issuance_prevents_it(
    authority: Authority, instance: aws.Instance, made_ahead: bool
) -> None:
    actor = Actor(authority)
    if made_ahead:
        ahead(actor, instance)
    order = actor.order() if made_ahead else actor.ready(instance)
    assert of_order(order, now()) is Status.READY
    entry = order.authorizations[0].id
    with pytest.raises(AcmeError, match="was deactivated"):
        actor.finalize(
            order,
            happens=lambda database: perform(database, lambda reader: authorizations.deactivate(reader, entry, now())),
        )
    assert certificates_of(authority.database, instance) == []


def test_an_order_issued_during_a_deactivation_keeps_its_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    racing = Meanwhile(authority.database, lambda _database: actor.finalize(ready))
    deactivated = perform(racing, lambda reader: authorizations.deactivate(reader, ready.authorizations[0].id, now()))
    assert of_authorization(deactivated, now()) is Status.DEACTIVATED
    assert of_order(actor.read(ready), now()) is Status.VALID


def test_a_certificate_is_replaced_by_one_of_two_orders(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    old = named(actor.certificate(instance))
    with pytest.raises(AcmeError) as caught:
        actor.order(replaces=old, happens=lambda _database: actor.order(replaces=old))
    assert caught.value.problem is Problem.ALREADY_REPLACED


def test_the_next_order_replaces_what_one_that_ended_was_to(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    old = named(actor.certificate(instance))
    first = actor.order(replaces=old)
    actor.answer(first, aws.Instance(account="999999999999"))
    second = actor.order(replaces=old)
    # Of two that take the place of an ended one, one does.
    perform(authority.database, lambda reader: authorizations.deactivate(reader, second.authorizations[0].id, now()))
    with pytest.raises(AcmeError) as caught:
        actor.order(replaces=old, happens=lambda _database: actor.order(replaces=old))
    assert caught.value.problem is Problem.ALREADY_REPLACED


def test_an_order_does_not_wait_for_a_certificate_pruned_meanwhile(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    old = actor.certificate(instance)
    with authority.database.transaction() as transaction:
        transaction.run("UPDATE certificates SET not_after = :end", end=now() - 400 * DAY)
    made = []

    def replace(_database: Database) -> None:
        made.append(actor.ready(instance, replaces=named(old)))

    pruning.prune(authority.config, Meanwhile(authority.database, replace), "operator", now())
    assert authority.database.rows("SELECT n FROM certificates") == []
    assert of_order(actor.finalize(made[0], csr("foo.local")[1]), now()) is Status.VALID


def test_an_order_that_is_pruned_while_it_is_read_is_none(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    made = actor.order()
    later = now() + 400 * DAY
    with pytest.raises(AcmeError, match="there is no"):
        actor.finalize(
            actor.ready(instance),
            happens=lambda database: pruning.prune(authority.config, database, "operator", later),
        )
    assert orders.get(authority.database, made.id) is None
    with pytest.raises(AcmeError) as caught:
        reading.order(authority.database, actor.account, made.id)
    assert caught.value.status == 404


def prune_all(authority: Authority) -> Happening:
    """All that can go by a clock that is a week ahead has gone."""
    return lambda database: pruning.prune(authority.config, database, "operator", now() + 8 * DAY)


def test_an_order_pruned_while_it_is_finalized_gets_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    with pytest.raises(AcmeError) as caught:
        actor.finalize(ready, happens=prune_all(authority))
    assert caught.value.status == 404
    assert certificates_of(authority.database, instance) == []
    assert "certificate.issued" not in kinds(authority.database)


def test_an_order_pruned_while_it_is_answered_keeps_nothing_of_the_answer(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    made = actor.order()
    with pytest.raises(AcmeError) as caught:
        actor.answer(made, instance, happens=prune_all(authority))
    assert caught.value.status == 404
    assert get(authority.database, whole_id(instance)) is None
    assert "challenge.valid" not in kinds(authority.database)


def test_an_order_pruned_while_its_names_are_handed_on_enrols_nobody(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance)
    with pytest.raises(AcmeError) as caught:
        actor.enrol(ready, happens=prune_all(authority))
    assert caught.value.status == 404
    assert "enrolment.made" not in kinds(authority.database)
