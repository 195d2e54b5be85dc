"""What a CA has answered, and whether its store backs it: after a fault, nothing is missing, and nothing half there.

Each effect is committed with the event that records it, so a store has one for each of the other, at any moment.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from enrolling import whole_id
from running import ACCOUNT, CA, answer
from wire import Account, b64, csr

from acme_iid.simulator import aws
from acme_iid.store import certificates, events, orders, sealing
from acme_iid.store.database import Database


@dataclass(frozen=True)
class Answer:
    """Something that was answered, when whoever asked had it, and the address that it went to; "" is a terminal."""

    address: str
    had_at: float
    what: str
    is_backed: Callable[[Database], bool]


@dataclass(frozen=True)
class Obtained:
    """A certificate, and who got it."""

    address: str
    account: Account
    instance: aws.Instance
    certificate: x509.Certificate

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"


@dataclass
class Asked:
    """What was asked of a CA, and what it has answered."""

    ca: CA
    answers: list[Answer] = field(default_factory=list)

    def _note(self, address: str, what: str, is_backed: Callable[[Database], bool]) -> None:
        self.answers.append(Answer(address, time.time(), what, is_backed))

    def order(self, address: str) -> Obtained:
        """Order a certificate from an address."""
        account, instance = Account.new(self.ca.wire(address)), aws.Instance(account=ACCOUNT)
        account_id = _last(account.url)
        self._note(address, "account", lambda store: _is_there(store, "accounts", "id", account_id))
        ordered = account.order("foo.local")
        order_id = _last(ordered.headers["Location"])
        self._note(address, "order", lambda store: orders.get(store, order_id) is not None)
        answered = account.post(account.challenge(ordered.json())["url"], answer(instance))
        assert answered.json()["status"] == "valid", answered.text
        self._note(address, "proof", lambda store: order_id in _proven(store))
        finalized = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
        assert finalized.status_code == 200, finalized.text
        certificate_id = _last(finalized.json()["certificate"])
        self._note(address, "issue", lambda store: certificates.get(store, certificate_id) is not None)
        chain = account.post(finalized.json()["certificate"]).text
        leaf = x509.load_pem_x509_certificate(chain.encode())
        der = leaf.public_bytes(Encoding.DER)
        self._note(address, "download", lambda store: _is_there(store, "certificates", "der", der))
        return Obtained(address, account, instance, leaf)

    def revoke(self, obtained: Obtained) -> None:
        """Revoke a certificate as the account that got it."""
        der = obtained.certificate.public_bytes(Encoding.DER)
        account = obtained.account
        response = account.post(account.wire.directory["revokeCert"], {"certificate": b64(der), "reason": 4})
        assert response.status_code == 200, response.text
        self._note(obtained.address, "revocation", lambda store: obtained.serial in _revoked(store))

    def operator(self, *arguments: str) -> None:
        """Run a command of the CA's."""
        self.ca.cli(*arguments)

    def revoke_as_operator(self, obtained: Obtained) -> None:
        """Revoke a certificate on the command line."""
        self.operator("certificate", "revoke", f"0x{obtained.serial}")
        self._note("", "operator's revocation", lambda store: obtained.serial in _revoked(store))

    def block(self, obtained: Obtained) -> None:
        """Block an instance on the command line."""
        instance_id = whole_id(obtained.instance)
        self.operator("instance", "block", instance_id)
        self._note("", "block", lambda store: instance_id in _blocked(store))


def unbacked(store: Database, answers: Iterable[Answer]) -> list[str]:
    """The answers that a store does not back."""
    return [entry.what for entry in answers if not entry.is_backed(store)]


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _is_there(store: Database, table: str, column: str, value: object) -> bool:
    return bool(store.rows(f"SELECT 1 AS there FROM {table} WHERE {column} = :value", value=value))  # noqa: S608


def _values(store: Database, statement: str) -> list[str]:
    return sorted(row["value"] for row in store.rows(statement))


def _proven(store: Database) -> list[str]:
    """The ids of the orders whose names were proven."""
    found = (orders.get(store, f"{row['n']}.{row['tag']}") for row in store.rows("SELECT n, tag FROM orders"))
    return [
        order.id
        for order in found
        if order is not None and any(entry.proof for made in order.authorizations for entry in made.challenges)
    ]


def _revoked(store: Database) -> list[str]:
    return _values(store, "SELECT serial AS value FROM certificates WHERE revoked_at IS NOT NULL")


def _blocked(store: Database) -> list[str]:
    return _values(store, "SELECT id AS value FROM instances WHERE blocked_at IS NOT NULL")


def _recorded(store: Database) -> dict[str, list[str]]:
    """What events are about, by their kinds; those that are not chained yet are among them."""
    rows = [dict(row) for row in store.rows("SELECT kind, account_id, instance_id, detail FROM events")]
    if store.dialect() != "sqlite":
        inbox = store.rows("SELECT entry FROM event_inbox ORDER BY id")
        rows += [event._asdict() for event in sealing.events(inbox)]
    found: dict[str, list[str]] = {}
    for row in rows:
        of = {"account.created": row["account_id"], "instance.blocked": row["instance_id"],
              "challenge.valid": row["instance_id"]}  # fmt: skip
        found.setdefault(row["kind"], []).append(of.get(row["kind"]) or json.loads(row["detail"]).get("serial"))
    return found


def check_whole(store: Database) -> None:
    """See that the chain holds, and that there is one event for each effect, and one effect for each event.

    The store's orders are of one name each, and none relies on an earlier one's proof.
    """
    assert len(list(events.check(store))) == store.rows("SELECT count(*) AS n FROM events")[0]["n"]
    recorded = _recorded(store)
    proven = recorded.get("challenge.valid", [])
    assert _values(store, "SELECT id AS value FROM instances WHERE first_used_at IS NOT NULL") == sorted(set(proven))
    assert len(_proven(store)) == len(proven)
    for kind, effects in (
        ("account.created", _values(store, "SELECT id AS value FROM accounts")),
        ("certificate.issued", _values(store, "SELECT serial AS value FROM certificates")),
        ("certificate.revoked", _revoked(store)),
        ("instance.blocked", _blocked(store)),
    ):
        assert sorted(recorded.get(kind, [])) == effects, kind
    issued = "SELECT n AS value FROM orders WHERE issued_at IS NOT NULL"
    assert _values(store, issued) == _values(store, "SELECT n AS value FROM certificates")
