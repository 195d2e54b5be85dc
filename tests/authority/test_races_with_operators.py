"""What an operator decides while a request is under way counts: the transaction that writes looks again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from meanwhile import Meanwhile
from running import ACCOUNT, CA, answer
from wire import Key, csr

from acme_iid import config
from acme_iid.authority import (
    Authority,
    accounts,
    answers,
    challenges,
    finalization,
    instances,
    orders,
    reading,
    revocation,
)
from acme_iid.errors import AcmeError, Problem, Remedy, RequestError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Order
from acme_iid.protocol.status import Status, of_challenge, of_order
from acme_iid.simulator import aws
from acme_iid.sources import trust_store
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store

NAMES = (Identifier("dns", "foo.local"), Identifier("dns", "bar.local"))


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    loaded = config.load(own_ca.home)
    database = open_store(loaded.store.url)
    yield Authority(loaded, database, CertificateAuthority.load(own_ca.home, None), trust_store(loaded.trust))
    database.close()


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def whole_id(instance: aws.Instance) -> str:
    return f"aws:aws:{ACCOUNT}:{instance.region}:{instance.instance_id}"


def now() -> int:
    return int(time.time())


def register(authority: Authority) -> Account:
    key = Key()
    wanted = accounts.NewAccount(json.dumps(key.jwk), key.thumbprint, ())
    return accounts.create(authority.database, authority.config, wanted, "", now())[0]


def order(authority: Authority, account: Account) -> Order:
    return orders.new_order(authority, account, orders.NewOrder(NAMES), "127.0.0.1", now())


def prove(authority: Authority, account: Account, made: Order, instance: aws.Instance) -> list[Status]:
    given = dict(answer(instance))
    return [
        of_challenge(
            challenges.answer(
                authority,
                account,
                authorization.challenges[0].id,
                given,
                b"",
                "127.0.0.1",
                now(),
            )[1]
        )
        for authorization in made.authorizations
    ]


def block(instance: aws.Instance, *, revoke: bool = False) -> Callable[[Database], object]:
    return lambda database: instances.block(database, whole_id(instance), None, revoke=revoke, now=now())


def test_a_block_between_judging_an_answer_and_recording_it_refuses_the_answer(
    authority: Authority, instance: aws.Instance
) -> None:
    account = register(authority)
    made = order(authority, account)
    racing = replace(authority, database=Meanwhile(authority.database, block(instance)))
    first = made.authorizations[0].challenges[0].id
    _, challenge = challenges.answer(racing, account, first, dict(answer(instance)), b"", "127.0.0.1", now())
    assert of_challenge(challenge) is Status.INVALID
    assert challenge.error is not None
    assert "an operator blocked this instance" in challenge.error.detail
    # Nothing of the good answer stayed: the instance was never used.
    with pytest.raises(RequestError, match="has been used here"):
        instances.find(authority.database, whole_id(instance))


def test_a_block_between_ready_and_issued_leads_to_no_certificate(authority: Authority, instance: aws.Instance) -> None:
    account = register(authority)
    made = order(authority, account)
    assert prove(authority, account, made, instance) == [Status.VALID] * 2
    ready = reading.order(authority.database, account, made.id)
    assert of_order(ready, now()) is Status.READY
    racing = replace(authority, database=Meanwhile(authority.database, block(instance)))
    with pytest.raises(AcmeError, match="an operator blocked this instance meanwhile") as caught:
        finalization.finalize(racing, account, ready, csr("foo.local", "bar.local")[1], "127.0.0.1", now())
    assert caught.value.problem is Problem.UNAUTHORIZED
    assert certificates.of_instance(authority.database, whole_id(instance)) == []
    assert of_order(reading.order(authority.database, account, made.id), now()) is Status.INVALID


def test_a_revocation_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    account = register(authority)
    first = order(authority, account)
    prove(authority, account, first, instance)
    issued = finalization.finalize(
        authority,
        account,
        reading.order(authority.database, account, first.id),
        csr("foo.local", "bar.local")[1],
        "127.0.0.1",
        now(),
    )
    assert issued.certificate_id is not None
    certificate = reading.certificate(authority.database, account, issued.certificate_id)
    second = order(authority, account)
    prove(authority, account, second, instance)
    ready = reading.order(authority.database, account, second.id)

    def revoke(database: Database) -> None:
        revocation.revoke_by_account(database, account, certificate, 5, "127.0.0.1", now())

    racing = replace(authority, database=Meanwhile(authority.database, revoke))
    with pytest.raises(AcmeError, match=r"foo\.local was revoked for this instance meanwhile"):
        finalization.finalize(racing, account, ready, csr("foo.local", "bar.local")[1], "127.0.0.1", now())


def test_a_compromise_between_ready_and_issued_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    account, other = register(authority), register(authority)
    key, request = csr("foo.local", "bar.local")
    first = order(authority, account)
    prove(authority, account, first, instance)
    ready = reading.order(authority.database, account, first.id)
    issued = finalization.finalize(authority, account, ready, request, "127.0.0.1", now())
    assert issued.certificate_id is not None
    certificate = reading.certificate(authority.database, account, issued.certificate_id)
    # Another instance's order with the same key, which no name that is closed stands in the way of.
    second = order(authority, other)
    prove(authority, other, second, aws.Instance(account=ACCOUNT))
    ready = reading.order(authority.database, other, second.id)

    def compromise(database: Database) -> None:
        revocation.revoke_by_key(database, key.thumbprint, certificate, 1, "127.0.0.1", now())

    racing = replace(authority, database=Meanwhile(authority.database, compromise))
    with pytest.raises(AcmeError, match="revoked as compromised") as caught:
        finalization.finalize(racing, other, ready, request, "127.0.0.1", now())
    assert (caught.value.problem, caught.value.remedy) == (Problem.BAD_CSR, Remedy.NEW_KEY)
    assert of_order(reading.order(authority.database, other, second.id), now()) is Status.READY


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
    assert instances.find_listed(database, word.rpartition(":")[2]).id == word
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
