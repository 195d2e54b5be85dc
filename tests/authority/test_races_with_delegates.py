"""What ends an enrolment while a delegate's request is under way counts: the transaction that writes looks again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from enrolling import whole_id
from meanwhile import Meanwhile
from running import CA, answer
from wire import Key, csr

from acme_iid import config
from acme_iid.authority import (
    Authority,
    accounts,
    authorizations,
    challenges,
    enrolments,
    finalization,
    instances,
    orders,
    reading,
)
from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Order
from acme_iid.protocol.status import Status, of_order
from acme_iid.simulator import aws
from acme_iid.sources import trust_store
from acme_iid.store import certificates
from acme_iid.store.database import Database, open_store

NAME = Identifier("dns", "foo.local")
REMOTE = "127.0.0.1"
Happening = Callable[[Database], object]


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    loaded = config.load(own_ca.home)
    database = open_store(loaded.store.url)
    yield Authority(loaded, database, CertificateAuthority.load(own_ca.home, None), trust_store(loaded.trust))
    database.close()


def now() -> int:
    return int(time.time())


def register(authority: Authority, external_key: str | None = None) -> Account:
    key = Key()
    wanted = accounts.NewAccount(json.dumps(key.jwk), key.thumbprint, (), external_key_id=external_key)
    return accounts.create(authority.database, authority.config, wanted, REMOTE, now())[0]


def order(authority: Authority, account: Account) -> Order:
    made = orders.new_order(authority, account, orders.NewOrder((NAME,)), REMOTE, now())
    return reading.order(authority.database, account, made.id)


def proven(authority: Authority, account: Account, instance: aws.Instance) -> Order:
    made = order(authority, account)
    first = made.authorizations[0].challenges[0].id
    challenges.answer(authority, account, first, dict(answer(instance)), b"", REMOTE, now())
    return reading.order(authority.database, account, made.id)


def key(authority: Authority, account: Account, instance: aws.Instance) -> str:
    made = enrolments.enrol(authority, account, proven(authority, account, instance), None, REMOTE, now())
    assert made.key is not None
    return made.key.id


def release(instance: aws.Instance) -> Happening:
    return lambda database: instances.release(database, whole_id(instance), "A" * 43, 3600, revoke=False, now=now())


def block(instance: aws.Instance) -> Happening:
    return lambda database: instances.block(database, whole_id(instance), None, revoke=False, now=now())


@pytest.mark.parametrize("ending", [release, block])
def test_between_ready_and_issued_it_leads_to_no_certificate(
    authority: Authority, instance: aws.Instance, ending: Callable[[aws.Instance], Happening]
) -> None:
    bound = register(authority)
    delegate = register(authority, key(authority, bound, instance))
    ready = order(authority, delegate)
    assert of_order(ready, now()) is Status.READY
    racing = replace(authority, database=Meanwhile(authority.database, ending(instance)))
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        finalization.finalize(racing, delegate, ready, csr("foo.local")[1], REMOTE, now())
    assert certificates.of_instance(authority.database, whole_id(instance)) == []
    assert of_order(reading.order(authority.database, delegate, ready.id), now()) is Status.INVALID


def test_between_a_request_and_its_order_it_leads_to_no_order(authority: Authority, instance: aws.Instance) -> None:
    bound = register(authority)
    delegate = register(authority, key(authority, bound, instance))
    racing = replace(authority, database=Meanwhile(authority.database, release(instance)))
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        orders.new_order(racing, delegate, orders.NewOrder((NAME,)), REMOTE, now())
    assert reading.orders_of_account(authority.database, delegate, None) == []


def test_between_a_request_and_its_authorization_it_leads_to_none(authority: Authority, instance: aws.Instance) -> None:
    bound = register(authority)
    delegate = register(authority, key(authority, bound, instance))
    racing = replace(authority, database=Meanwhile(authority.database, release(instance)))
    with pytest.raises(AcmeError, match="the enrolment has ended"):
        authorizations.new_authorization(racing, delegate, NAME, REMOTE, now())


def test_between_a_key_and_its_account_it_leads_to_no_account(authority: Authority, instance: aws.Instance) -> None:
    given = key(authority, register(authority), instance)
    racing = replace(authority, database=Meanwhile(authority.database, release(instance)))
    with pytest.raises(AcmeError, match="was used before, has run out or was revoked"):
        register(racing, given)


@pytest.mark.parametrize("ending", [release, block])
def test_between_a_proof_and_its_enrolment_it_leads_to_no_enrolment(
    authority: Authority, instance: aws.Instance, ending: Callable[[aws.Instance], Happening]
) -> None:
    bound = register(authority)
    ready = proven(authority, bound, instance)
    racing = replace(authority, database=Meanwhile(authority.database, ending(instance)))
    with pytest.raises(AcmeError, match=r"no longer belongs|blocked the instance"):
        enrolments.enrol(racing, bound, ready, None, REMOTE, now())


def test_a_deactivation_between_a_proof_and_its_enrolment_leads_to_no_enrolment(
    authority: Authority, instance: aws.Instance
) -> None:
    bound = register(authority)
    ready = proven(authority, bound, instance)
    ending: Happening = lambda database: accounts.deactivate(database, bound, now())  # noqa: E731
    racing = replace(authority, database=Meanwhile(authority.database, ending))
    with pytest.raises(AcmeError, match="was deactivated"):
        enrolments.enrol(racing, bound, ready, None, REMOTE, now())
