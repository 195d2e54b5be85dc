"""An attempt and what happens meanwhile: the key changes, the rules change, or the attempts never come to an end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from acting import Actor, Happening, authority_of, change_key, deactivate, now
from responders import Listener, Names, add_hosts
from running import CA, PROVISIONER
from wire import Key
from writing import pass_time, put

from acme_iid.authority import Authority, challenges, validations
from acme_iid.authority.context import RequestContext
from acme_iid.errors import Problem
from acme_iid.protocol.resources import Account, Challenge
from acme_iid.store import accounts as stored
from acme_iid.store import attempts
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import perform
from acme_iid.web.links import Links

Meanwhile = Callable[[], None]


class Host:
    """A web server that answers right, after something has happened."""

    def __init__(self) -> None:
        self.answer = b""
        self.meanwhile: Meanwhile = lambda: None
        self.listener = Listener(self._serve)

    def _serve(self, stream: socket.socket) -> None:
        stream.recv(4096)
        self.meanwhile()
        stream.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + self.answer)


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.listener.close()


@pytest.fixture
def authority(own_ca: CA, host: Host) -> Iterator[Authority]:
    names = Names()
    names.set("foo.local", "A", "127.0.0.1")
    # With iid-01 on offer beside it, a change of the account's key would end the order.
    own_ca.cli("provisioner", "remove", PROVISIONER)
    add_hosts(own_ca, names, host.listener.port)
    with authority_of(own_ca.home) as made:
        yield made
    names.close()


@pytest.fixture
def actor(authority: Authority) -> Actor:
    return Actor(authority)


@pytest.fixture
def account(actor: Actor) -> Account:
    return actor.account


@pytest.fixture
def answered(authority: Authority, actor: Actor, host: Host) -> str:
    """An http-01 challenge that was answered, and the host that answers it right."""
    order = actor.order()
    found = next(entry for entry in order.authorizations[0].challenges if entry.type == "http-01")
    host.answer = f"{found.token}.{actor.account.thumbprint}".encode()
    perform(
        authority.database,
        lambda reader: challenges.answer(
            authority, RequestContext("192.0.2.1", now()), reader, actor.account, found.id, {}, b"{}"
        ),
    )
    return found.id


def take(authority: Authority, at: int) -> attempts.Asked:
    """Take the one attempt that is due."""
    (row,) = authority.database.rows("SELECT n, i, k, requester, account_id, target FROM attempts")
    asked = attempts.Asked(**dict(row))
    assert put(authority.database, attempts.take(asked, at, at + 30))
    return asked


def attempt(authority: Authority, at: int) -> None:
    validations.make(authority, take(authority, at), Links("https://ca.local"))


def read(authority: Authority, account: Account, challenge_id: str) -> Challenge:
    return challenges.find(authority.database, account, challenge_id).challenge


def elsewhere(authority: Authority, happening: Happening) -> Meanwhile:
    """What happens, on a connection of its own."""

    def meanwhile() -> None:
        database = open_store(authority.config.store.url)
        happening(database)
        database.close()

    return meanwhile


def test_an_attempt_that_finds_the_right_answer_makes_the_challenge_valid(
    authority: Authority, account: Account, answered: str
) -> None:
    assert account.proven_at is None
    attempt(authority, now())
    found = read(authority, account, answered)
    assert found.validated_at is not None
    proven = stored.get(authority.database, account.id)
    assert proven is not None
    assert proven.proven_at == found.validated_at
    assert found.proof is not None
    assert (found.proof.instance, found.proof.cloud, found.proof.provisioner) == (None, "acme", "Racks")


def test_what_was_found_with_an_old_key_does_not_count_for_the_new_one(
    authority: Authority, account: Account, answered: str, host: Host
) -> None:
    new = Key()

    def change(database: Database) -> None:
        change_key(account, new)(database)

    host.meanwhile = elsewhere(authority, change)
    attempt(authority, now())
    found = read(authority, account, answered)
    assert found.validated_at is None
    assert found.failed_at is None
    assert found.error is not None
    assert "key was changed" in found.error.detail


def test_a_deactivation_while_an_attempt_is_under_way_counts(
    authority: Authority, account: Account, answered: str, host: Host
) -> None:
    host.meanwhile = elsewhere(authority, deactivate(account))
    attempt(authority, now())
    assert read(authority, account, answered).validated_at is None


def test_a_provisioner_that_is_gone_proves_nothing(authority: Authority, account: Account, answered: str) -> None:
    attempt(replace(authority, config=replace(authority.config, hosts=())), now())
    found = read(authority, account, answered)
    assert found.error is not None
    assert found.error.problem is Problem.UNAUTHORIZED
    assert found.failed_at is not None


def test_attempts_that_never_came_to_an_outcome_come_to_an_end(
    authority: Authority, account: Account, answered: str, host: Host
) -> None:
    at = now()
    for _ in range(6):
        take(authority, at)
        pass_time(authority.database, 30)
    attempt(authority, at)
    found = read(authority, account, answered)
    assert found.failed_at is not None
    assert found.error is not None
    assert found.error.problem is Problem.SERVER_INTERNAL
    assert host.listener.accepted == 0
