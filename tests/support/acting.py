"""Use cases without the wire: decided and committed as a request would have it, while something else happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from enrolling import whole_id
from meanwhile import Meanwhile
from running import answer
from wire import Key, csr

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import Authority, accounts, challenges, enrolments, finalization, orders, reading
from acme_iid.authority.context import RequestContext
from acme_iid.config import ca_toml
from acme_iid.issuance.home import load as load_ca
from acme_iid.operations import instances
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Certificate, Challenge, Order
from acme_iid.protocol.status import Status, of_challenge
from acme_iid.simulator import aws
from acme_iid.store import certificates, lookups
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Committing, Reader, Write, perform

REMOTE = "127.0.0.1"
FOO, BAR = Identifier("dns", "foo.local"), Identifier("dns", "bar.local")
Happening = Callable[[Database], object]


def now() -> int:
    """The time."""
    return int(time.time())


def context(at: int | None = None) -> RequestContext:
    """The context of a request of now, or of another time."""
    return RequestContext(REMOTE, now() if at is None else at)


@contextmanager
def authority_of(home: Path, store_url: str | None = None) -> Iterator[Authority]:
    """What the use cases of a CA work with.

    :param store_url: of another store than the CA's own.
    """
    loaded = ca_toml.load(home)
    if store_url is not None:
        loaded = replace(loaded, store=replace(loaded.store, url=store_url))
    database = open_store(loaded.store.url)
    try:
        yield Authority(loaded, database, load_ca(home), trust_store(loaded.given_keys))
    finally:
        database.close()


class Actor:
    """An account that orders, answers and finalizes.

    :param key: its key; a new one if there is none.
    :param external_key: the id of the external key that it is made with.
    :param happens: what happens between the decision that it is made, and that.
    """

    def __init__(
        self,
        authority: Authority,
        key: Key | None = None,
        external_key: str | None = None,
        happens: Happening | None = None,
    ) -> None:
        self.authority = authority
        self.key = key or Key()
        wanted = accounts.NewAccount(json.dumps(self.key.jwk), self.key.thumbprint, (), external_key_id=external_key)
        made = perform(self._while(happens), lambda reader: accounts.create(authority, context(), reader, wanted))
        self.account: Account = made[0]

    def _while(self, happens: Happening | None) -> Committing:
        return self.authority.database if happens is None else Meanwhile(self.authority.database, happens)

    def order(self, *names: Identifier, replaces: str | None = None, happens: Happening | None = None) -> Order:
        """Make an order."""
        wanted = orders.NewOrder(names or (FOO,), replaces=replaces)
        made = perform(
            self._while(happens),
            lambda reader: orders.new_order(self.authority, context(), reader, self.account, wanted),
        )
        return self.read(made)

    def read(self, order: Order) -> Order:
        """An order as it is by now."""
        return reading.order(self.authority.database, self.account, order.id)

    def answer(
        self, order: Order, instance: aws.Instance, place: int = 0, happens: Happening | None = None
    ) -> Challenge:
        """Answer an order's first challenge for one of its names."""
        challenge = order.authorizations[place].challenges[0].id
        given = dict(answer(instance))
        answered = perform(
            self._while(happens),
            lambda reader: challenges.answer(self.authority, context(), reader, self.account, challenge, given, b""),
        )
        return answered[1]

    def ready(self, instance: aws.Instance, *names: Identifier, replaces: str | None = None) -> Order:
        """An order that an instance has proven."""
        made = self.order(*names, replaces=replaces)
        for place in range(len(made.authorizations)):
            assert of_challenge(self.answer(made, instance, place)) is Status.VALID
        return self.read(made)

    def finalize(self, order: Order, request: bytes | None = None, happens: Happening | None = None) -> Order:
        """Finalize an order; as the views do, it is read anew each time that this is decided."""
        given = request or csr(*(name.value for name in order.identifiers))[1]

        def decide(reader: Reader) -> Order | Write[Order]:
            current = reading.order(reader, self.account, order.id)
            return finalization.finalize(self.authority, context(), reader, self.account, current, given)

        return perform(self._while(happens), decide)

    def certificate(self, instance: aws.Instance, *names: Identifier, request: bytes | None = None) -> Certificate:
        """Get a certificate."""
        issued = self.finalize(self.ready(instance, *names), request)
        return reading.certificate(self.authority.database, self.account, issued.id)

    def enrol(self, order: Order, renew: str | None = None, happens: Happening | None = None) -> enrolments.Enrolled:
        """Hand on what an order has proven."""

        def decide(reader: Reader) -> enrolments.Enrolled | Write[enrolments.Enrolled]:
            current = reading.order(reader, self.account, order.id)
            return enrolments.enrol(self.authority, context(), reader, self.account, current, renew)

        return perform(self._while(happens), decide)

    def external_key(self, instance: aws.Instance) -> str:
        """The id of a new external key for a delegate."""
        made = self.enrol(self.ready(instance)).key
        assert made is not None
        return made.id


def certificates_of(database: Database, instance: aws.Instance) -> list[Certificate]:
    """An instance's certificates, all of them."""
    lookups.follow(database)
    return certificates.of_instance(database, whole_id(instance))


def kinds(database: Database) -> list[str]:
    """The kinds of all events, the oldest first."""
    database.seal()
    return [row["kind"] for row in database.rows("SELECT kind FROM events ORDER BY seq")]


def release(instance: aws.Instance, to: str = "A" * 43) -> Happening:
    """An operator releases an instance."""
    return lambda database: instances.release(database, whole_id(instance), to, 3600, revoke=False, now=now())


def block(instance: aws.Instance, *, revoke: bool = False) -> Happening:
    """An operator blocks an instance."""
    return lambda database: instances.block(database, whole_id(instance), None, revoke=revoke, now=now())


def deactivate(account: Account) -> Happening:
    """An account is deactivated."""
    return lambda database: perform(database, lambda reader: accounts.deactivate(reader, account, now()))


def change_key(account: Account, key: Key | None = None) -> Happening:
    """An account gets another key."""
    new = key or Key()
    return lambda database: perform(
        database, lambda reader: accounts.change_key(context(), reader, account, json.dumps(new.jwk), new.thumbprint)
    )


def both(first: Happening, second: Happening) -> Happening:
    """One after the other."""

    def happens(database: Database) -> Any:
        first(database)
        second(database)

    return happens
