"""What an account has on the wire, the ways to ask for it, and all that a request can have an effect on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import requests
from cryptography import x509
from running import ACCOUNT, CA, answer
from wire import Account, Issued, b64, csr

from acme_iid.protocol.renewal import CertificateId
from acme_iid.simulator import aws
from acme_iid.store.database import Database

NUMBER = (1 << 64) - 1
"""The part of a serial number that is its order's number."""
TABLES = ("orders", "certificates", "instances", "accounts", "closed_names", "compromised_keys", "enrolments",
          "attempts", "external_keys")  # fmt: skip


def kept(store: Database) -> dict[str, list[str]]:
    """All that a request can have an effect on, and all events but those of refusals."""
    store.seal()
    found = {table: sorted(repr(dict(row)) for row in store.rows(f"SELECT * FROM {table}")) for table in TABLES}  # noqa: S608
    kinds = [row["kind"] for row in store.rows("SELECT kind FROM events ORDER BY seq")]
    return found | {"events": [kind for kind in kinds if not kind.endswith(".refused")]}


@dataclass(frozen=True)
class Held:
    """What an account has: an order that waits for a proof, one that is ready, and one with its certificate."""

    ca: CA
    account: Account
    instance: aws.Instance
    waiting: str
    ready: str
    issued: str
    certificate: Issued

    @property
    def serial(self) -> int:
        return self.certificate.leaf.serial_number

    def id(self, url: str) -> str:
        return url.rpartition("/")[2]

    def name(self, serial: int) -> str:
        """What names a certificate of this CA with a serial number (RFC 9773)."""
        authority = self.certificate.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert authority.key_identifier is not None
        return str(CertificateId(authority.key_identifier, serial))


def held_at(ca: CA) -> Held:
    """An account that has all of that."""
    account, instance = ca.account(), aws.Instance(account=ACCOUNT)
    certificate = account.obtain("foo.local", answer=answer(instance))
    ready = account.prove("foo.local", answer=answer(instance))[0].headers["Location"]
    waiting = account.order("foo.local").headers["Location"]
    return Held(ca, account, instance, waiting, ready, certificate.order, certificate)


@dataclass(frozen=True)
class Route:
    """A way to ask for something that an order's id is part of.

    :ivar order: the order that it is asked of: ``waiting``, ``ready``, ``issued``.
    :ivar payload: what is sent, of whom it is asked.
    """

    path: str
    order: str
    payload: Callable[[Held], object] = lambda _: None

    def ask(self, held: Held, account: Account, order_id: str) -> requests.Response:
        """Ask for it by an order's id."""
        base = f"{held.ca.url}/acme/"
        # What is signed is the URL as it is meant.
        body = account.wire.body(base + self.path.format(order_id), self.payload(held), account.key, account.url)
        return account.wire.send(base + self.path.format(quote(order_id, safe="")), body)

    def id(self, held: Held) -> str:
        """The right id."""
        return held.id(getattr(held, self.order))


ROUTES = {
    "an order": Route("order/{}", "ready"),
    "an order to be finalized": Route("order/{}/finalize", "ready", lambda _: {"csr": b64(csr("foo.local")[1])}),
    "an authorization": Route("authorization/{}.0", "ready"),
    "an authorization to be deactivated": Route("authorization/{}.0", "ready", lambda _: {"status": "deactivated"}),
    "a challenge": Route("challenge/{}.0.0", "waiting"),
    "a challenge to be answered": Route("challenge/{}.0.0", "waiting", lambda held: answer(held.instance)),
    "a certificate": Route("certificate/{}", "issued"),
    "a certificate's chain": Route("certificate/{}/0", "issued"),
}
