"""What an operator decides while a request is under way counts: between a decision and its commit it is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from acting import (
    BAR,
    FOO,
    Actor,
    Happening,
    block,
    both,
    certificates_of,
    change_key,
    context,
    kinds,
    now,
    release,
)
from enrolling import whole_id
from meanwhile import Meanwhile
from running import ACCOUNT, answer
from wire import csr

from acme_iid.authority import Authority, answers, authorizations, challenges, reading, revocation
from acme_iid.errors import AcmeError, Problem, Remedy, RequestError
from acme_iid.operations import instances
from acme_iid.protocol.resources import Certificate
from acme_iid.protocol.status import Status, of_challenge, of_order
from acme_iid.simulator import aws
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import perform

Taking = Callable[[aws.Instance], Happening]


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def unblock(instance: aws.Instance) -> Happening:
    return lambda database: instances.unblock(database, whole_id(instance), now())


def passing(instance: aws.Instance) -> Happening:
    """A block that was lifted again."""
    return both(block(instance), unblock(instance))


def revoke(actor: Actor, certificate: Certificate) -> Happening:
    def happens(database: Database) -> None:
        perform(database, lambda reader: revocation.revoke_by_account(context(), reader, actor.account, certificate, 5))

    return happens


def test_a_block_before_an_answer_is_recorded_refuses_it(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    challenge = actor.answer(actor.order(FOO, BAR), instance, happens=block(instance))
    assert of_challenge(challenge) is Status.INVALID
    assert challenge.error is not None
    assert "an operator blocked this instance" in challenge.error.detail
    # Nothing of the good answer stayed: the instance was never used.
    assert instances.find(authority.database, whole_id(instance)).first_used_at is None


@pytest.mark.parametrize("used", [False, True])
def test_a_block_that_was_lifted_meanwhile_leaves_nothing_of_before_it(
    authority: Authority, instance: aws.Instance, used: bool
) -> None:
    actor = Actor(authority)
    if used:
        actor.ready(instance)
    made = actor.order(FOO, BAR)
    # The answer is judged anew, and there is nothing against it by then.
    assert of_challenge(actor.answer(made, instance, happens=passing(instance))) is Status.VALID
    # One that was recorded before the block is void, and so its order has ended.
    passing(instance)(authority.database)
    with pytest.raises(AcmeError, match="has ended or expired"):
        actor.answer(made, instance, 1)
    assert of_order(actor.read(made), now()) is Status.INVALID


@pytest.mark.parametrize("used", [False, True])
def test_a_release_to_another_before_an_answer_is_recorded_refuses_it(
    authority: Authority, instance: aws.Instance, used: bool
) -> None:
    actor = Actor(authority)
    if used:
        actor.ready(instance)
    challenge = actor.answer(actor.order(), instance, happens=release(instance))
    assert of_challenge(challenge) is Status.INVALID
    assert challenge.error is not None
    assert "belongs to another account key" in challenge.error.detail
    assert instances.find(authority.database, whole_id(instance)).account_id is None


@pytest.mark.parametrize(
    ("taking", "told"),
    [
        (block, "an operator blocked this instance"),
        (passing, "an operator blocked this instance"),
        (release, "the instance was released to another account key"),
    ],
)
def test_a_block_or_release_between_ready_and_issued_prevents_issuance(
    authority: Authority, instance: aws.Instance, taking: Taking, told: str
) -> None:
    actor = Actor(authority)
    ready = actor.ready(instance, FOO, BAR)
    assert of_order(ready, now()) is Status.READY
    with pytest.raises(AcmeError, match=told) as caught:
        actor.finalize(ready, happens=taking(instance))
    assert caught.value.problem is Problem.ORDER_NOT_READY
    assert certificates_of(authority.database, instance) == []
    assert of_order(actor.read(ready), now()) is Status.INVALID
    assert "certificate.issued" not in kinds(authority.database)


def test_a_revocation_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    certificate = actor.certificate(instance, FOO, BAR)
    ready = actor.ready(instance, FOO, BAR)
    with pytest.raises(AcmeError, match="was revoked meanwhile"):
        actor.finalize(ready, happens=revoke(actor, certificate))
    assert len(certificates_of(authority.database, instance)) == 1


def test_a_revocation_before_an_answer_is_recorded_refuses_the_name(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    certificate = actor.certificate(instance, FOO)
    challenge = actor.answer(actor.order(FOO), instance, happens=revoke(actor, certificate))
    assert of_challenge(challenge) is Status.INVALID
    assert challenge.error is not None
    assert "foo.local was closed to this instance" in challenge.error.detail


def test_a_compromise_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    first, other = Actor(authority), Actor(authority)
    key, request = csr("foo.local", "bar.local")
    certificate = first.certificate(instance, FOO, BAR, request=request)
    # Another instance's order with the same key, which no name that is closed stands in the way of.
    ready = other.ready(aws.Instance(account=ACCOUNT), FOO, BAR)

    def compromise(database: Database) -> None:
        perform(database, lambda reader: revocation.revoke_by_key(context(), reader, key.thumbprint, certificate, 1))

    with pytest.raises(AcmeError, match="revoked as compromised") as caught:
        other.finalize(ready, request, happens=compromise)
    assert (caught.value.problem, caught.value.remedy) == (Problem.BAD_CSR, Remedy.NEW_KEY)
    assert of_order(other.read(ready), now()) is Status.READY


def test_an_account_made_while_its_key_is_noted_as_compromised_has_ended(
    authority: Authority, instance: aws.Instance
) -> None:
    key, request = csr("foo.local")
    certificate = Actor(authority).certificate(instance, FOO, request=request)
    made: list[Actor] = []
    racing = Meanwhile(authority.database, lambda _database: made.append(Actor(authority, key)))
    perform(racing, lambda reader: revocation.revoke_by_key(context(), reader, key.thumbprint, certificate, 1))
    assert [row["deactivated_at"] is None for row in accounts_with(authority, made[0])] == [False]


def test_a_key_noted_as_compromised_while_its_account_is_made_prevents_it(
    authority: Authority, instance: aws.Instance
) -> None:
    key, request = csr("foo.local")
    certificate = Actor(authority).certificate(instance, FOO, request=request)

    def compromise(database: Database) -> None:
        perform(database, lambda reader: revocation.revoke_by_key(context(), reader, key.thumbprint, certificate, 1))

    with pytest.raises(AcmeError, match="revoked as compromised"):
        Actor(authority, key, happens=compromise)
    assert authority.database.rows("SELECT * FROM accounts WHERE thumbprint = :key", key=key.thumbprint) == []


def accounts_with(authority: Authority, actor: Actor) -> list[dict[str, object]]:
    rows = authority.database.rows("SELECT * FROM accounts WHERE thumbprint = :key", key=actor.key.thumbprint)
    return [{name: row[name] for name in ("id", "deactivated_at")} for row in rows]


def test_a_certificate_that_is_issued_before_a_block_is_revoked_with_it(
    authority: Authority, instance: aws.Instance
) -> None:
    actor = Actor(authority)
    actor.certificate(instance, FOO)
    ready = actor.ready(instance, BAR)
    racing = Meanwhile(authority.database, lambda _database: actor.finalize(ready))
    _, ended = instances.block(racing, whole_id(instance), None, revoke=True, now=now())
    found = certificates_of(authority.database, instance)
    assert [certificate.revocation_reason for certificate in found] == [1, 1]
    assert ended.certificates == 2
    assert certificates.closed_names(authority.database, whole_id(instance)) == {"foo.local", "bar.local"}


def test_a_block_ends_all_that_an_account_with_a_certificates_key_has(
    authority: Authority, instance: aws.Instance
) -> None:
    key, request = csr("foo.local")
    actor = Actor(authority)
    actor.certificate(instance, FOO, request=request)
    # The key of its certificate becomes the account's, by which it then hands on names.
    change_key(actor.account, key)(authority.database)
    Actor(authority, key).external_key(instance)
    instances.block(authority.database, whole_id(instance), None, revoke=True, now=now())
    found = kinds(authority.database)
    assert found.count("enrolment.ended") == 1
    assert "account.deactivated" in found
    assert [certificate.revocation_reason for certificate in certificates_of(authority.database, instance)] == [1]


def test_two_operators_block_an_instance_once(authority: Authority, instance: aws.Instance) -> None:
    Actor(authority).certificate(instance)
    with pytest.raises(RequestError, match="is blocked already"):
        block(instance)(Meanwhile(authority.database, block(instance)))
    assert kinds(authority.database).count("instance.blocked") == 1


@pytest.mark.parametrize(("first", "then"), [(block, release), (release, block), (release, release)])
def test_a_block_and_a_release_at_the_same_time_both_happen(
    authority: Authority, instance: aws.Instance, first: Taking, then: Taking
) -> None:
    Actor(authority).ready(instance)
    then(instance)(Meanwhile(authority.database, first(instance)))
    found = instances.find(authority.database, whole_id(instance))
    assert found.account_id is None
    assert (found.blocked_at is not None) == (block in (first, then))
    assert found.generation == 2


def test_a_use_at_the_same_time_as_a_release_does_not_undo_it(authority: Authority, instance: aws.Instance) -> None:
    former, named = Actor(authority), Actor(authority)
    former.ready(instance)
    made = former.order()
    racing = Meanwhile(authority.database, lambda _database: former.answer(made, instance))
    release(instance, named.key.thumbprint)(racing)
    assert of_order(former.read(made), now()) is Status.INVALID
    assert of_order(named.ready(instance), now()) is Status.READY


def test_two_revocations_of_one_certificate_are_one(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    certificate = actor.certificate(instance)
    with pytest.raises(AcmeError) as caught:
        revoke(actor, certificate)(Meanwhile(authority.database, revoke(actor, certificate)))
    assert caught.value.problem is Problem.ALREADY_REVOKED
    assert kinds(authority.database).count("certificate.revoked") == 1


@pytest.mark.parametrize("taking", [block, release])
def test_a_proof_made_ahead_serves_no_order_after_a_block_or_release(
    authority: Authority, instance: aws.Instance, taking: Taking
) -> None:
    actor = Actor(authority)
    database = authority.database
    made = perform(
        database, lambda reader: authorizations.new_authorization(authority, context(), reader, actor.account, FOO)
    )
    given = dict(answer(instance))
    perform(
        database,
        lambda reader: challenges.answer(
            authority, context(), reader, actor.account, made.challenges[0].id, given, b""
        ),
    )
    order = actor.order(FOO, happens=taking(instance))
    assert of_order(order, now()) is not Status.READY
    with pytest.raises(AcmeError):
        actor.finalize(order)
    assert certificates_of(database, instance) == []
    # And once it is known, the next order begins anew.
    assert of_order(actor.order(FOO), now()) is Status.PENDING
    assert reading.authorization(database, actor.account, made.id).revoked_at is not None


def test_the_digest_of_evidence_is_of_the_evidence_alone(instance: aws.Instance) -> None:
    given = answer(instance)
    first = answers.parse(given, b"")
    unbroken = answers.parse(
        {"provisioner": "x", "ignored": "y"} | given | {"evidence": given["evidence"].replace("\n", "")}, b"other"
    )
    assert given["evidence"].count("\n") > 10
    assert first.digest == unbroken.digest
    other = answers.parse(given | {"evidence": "A" + given["evidence"][1:]}, b"")
    assert other.digest != first.digest


@pytest.mark.parametrize(
    "word",
    [
        "i-05e360db6e50b5eda",
        "aws:aws:123456789042:us-west-2",
        "aws:aws:12345678904:us-west-2:i-05e360db6e50b5eda",
        "aws:aws:123456789042:us-west-2:I-05E360DB6E50B5EDA",
        "AWS:aws:123456789042:us-west-2:i-05e360db6e50b5eda",
        "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda\n",
        "gcp:project:1",
        "azure:5A3C9F0E-1111-2222-3333-444455556666:5a3c9f0e-1111-2222-3333-444455556666",
        "",
    ],
)
def test_only_what_an_instances_id_can_be_is_blocked_before_its_first_use(database: Database, word: str) -> None:
    with pytest.raises(RequestError, match="give its whole id"):
        instances.block(database, word, None, revoke=False, now=now())


@pytest.mark.parametrize(
    "word",
    [
        "aws:aws-us-gov:123456789042:us-gov-west-1:i-05e360db6e50b5eda",
        "gcp:739419398126:4567890123456789012",
        "azure:5a3c9f0e-1111-2222-3333-444455556666:6b3c9f0e-1111-2222-3333-444455556666",
    ],
)
def test_an_instance_of_each_cloud_is_blocked_before_its_first_use(database: Database, word: str) -> None:
    assert instances.block(database, word, "why", revoke=False, now=5) == (word, (0, 0))
    assert instances.find(database, word.rpartition(":")[2]).id == word
    assert instances.unblock(database, word.rpartition(":")[2], 6) == (word, frozenset())


@pytest.mark.parametrize("reason", ["", "x" * 201, "a\nb", "\x1b[2J"])
def test_a_reason_is_a_line_of_text(database: Database, instance: aws.Instance, reason: str) -> None:
    with pytest.raises(RequestError, match="printable"):
        instances.block(database, whole_id(instance), reason, revoke=False, now=now())


@pytest.mark.parametrize(
    ("text", "code"),
    [("keyCompromise", 1), ("keycompromise", 1), ("key-compromise", 1), ("1", 1), ("superseded", 4), ("0", 0)],
)
def test_a_reason_for_a_revocation_is_a_name_or_a_code(text: str, code: int) -> None:
    assert revocation.reason_of_text(text) == code


@pytest.mark.parametrize("text", ["2", "cACompromise", "", "one"])
def test_another_reason_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(RequestError, match=r"keyCompromise \(1\)"):
        revocation.reason_of_text(text)
