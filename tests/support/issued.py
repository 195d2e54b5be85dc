"""Certificates in a store as an order would have left them, for tests of what is made of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from writing import add_order, key, put

from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import CertificateId
from acme_iid.protocol.resources import Account, Authorization, Certificate, Order
from acme_iid.store import accounts, certificates, issuers, orders
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store

ISSUER = "issuer"
DAY = 86400
OWNER = "123456789042"


def vm(number: int, owner: str = OWNER) -> str:
    """The whole id of an instance of AWS."""
    return f"aws:aws:{owner}:us-west-2:i-{number:017x}"


@cache
def issuer_certificate() -> x509.Certificate:
    """The certificate of the issuer of all of them."""
    own = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=Issuer")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (1_700_000_000, 2_000_000_000))
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(end)
    identifier = x509.SubjectKeyIdentifier.from_public_key(own.public_key())
    return builder.add_extension(identifier, critical=False).sign(own, hashes.SHA256())


def leaf() -> bytes:
    """A certificate in DER, for what looks at its key."""
    return issuer_certificate().public_bytes(Encoding.DER)


def prepare(database: Database, at: int) -> None:
    """Have an issuer, and the account ``a``."""
    der = issuer_certificate().public_bytes(Encoding.DER)
    put(database, accounts.add(Account("a", "{}", "t", (), at)), issuers.note(ISSUER, der, "", at))


@contextmanager
def prepared(url: str, at: int) -> Iterator[Database]:
    """A store with what certificates need; closed at the end of the block."""
    with closing(open_store(url)) as database:
        prepare(database, at)
        yield database


def issue(
    database: Database,
    *names: str,
    at: int,
    instance: str | None = None,
    life: int = DAY,
    account: str = "a",
    replaces: Certificate | None = None,
    key_id: str = "",
    der: bytes = b"",
    **facts: str,
) -> Certificate:
    """A certificate of an instance, or of a host, with its order and its event.

    :param facts: its image, provisioner or profile, and further facts of the event.
    """
    identifiers = tuple(Identifier("dns", name) for name in names)
    entries = tuple(Authorization("", account, name, False, at, at + 60, ()) for name in identifiers)
    replaced = None if replaces is None else str(identifier_of(replaces))
    order = Order("", account, identifiers, at, at + 60, authorizations=entries, replaces=replaced)
    order = add_order(database, order)
    serial = f"1{orders.number(order):016x}"
    certificate = Certificate(
        order.id, serial, account, identifiers, at, at + life, at, der, ISSUER, key_id, instance=instance,
        provisioner=facts.get("provisioner"), profile=facts.get("profile"), image=facts.get("image"),
    )  # fmt: skip
    holder = None if instance is None else key(instance)
    detail = {"serial": serial, "names": list(names), "not_after": at + life, **facts}
    event = Event("certificate.issued", at, account_id=account, instance=holder, detail=detail)
    put(database, orders.finalize(order, at), certificates.add(certificate, holder), events=[event])
    return certificate


def identifier_of(certificate: Certificate) -> CertificateId:
    """Its identifier in ACME."""
    own = issuer_certificate().extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return CertificateId(own.digest, int(certificate.serial, 16))
