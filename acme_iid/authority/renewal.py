"""Renewal information, and orders that replace a certificate (RFC 9773)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from acme_iid.errors import AcmeError, Problem
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.renewal import CertificateId, Window, hurry_of, window
from acme_iid.protocol.resources import Account, Certificate
from acme_iid.protocol.status import Status, of_order
from acme_iid.store import certificates, orders
from acme_iid.store.serials import number_of
from acme_iid.store.writes import Question, Reader, Statement


def window_of(ca: CertificateAuthority, certificate: Certificate) -> Window:
    """The time in which a certificate should be renewed: earlier if its issuer has been replaced, or its key stolen."""
    return window(certificate, hurry_of(ca.standings.get(certificate.issuer_id)))


def find(reader: Reader, text: str) -> Certificate:
    """The certificate with an RFC 9773 identifier.

    :raises AcmeError: ``malformed``; with 404 if this CA issued no certificate with it.
    """
    try:
        certificate = replaced(reader, text)
    except ValueError as error:
        raise AcmeError(Problem.MALFORMED, str(error)) from error
    if certificate is None:
        raise AcmeError(Problem.MALFORMED, "this CA did not issue a certificate with this identifier", status=404)
    return certificate


def questions(text: str) -> list[Question]:
    """The questions of :func:`find`; none if ``text`` is no identifier of ours."""
    try:
        n = number_of(f"{CertificateId.read(text).serial:x}")
    except ValueError:
        return []
    return [] if n is None else [certificates.question(n)]


def replaced(reader: Reader, text: str) -> Certificate | None:
    """The certificate with an RFC 9773 identifier, if it is here.

    :raises ValueError: if ``text`` is no such identifier.
    """
    identifier = CertificateId.read(text)
    certificate = certificates.by_serial(reader, f"{identifier.serial:x}")
    return certificate if certificate is not None and _authority_key(certificate) == identifier.authority_key else None


def _authority_key(certificate: Certificate) -> bytes | None:
    leaf = x509.load_der_x509_certificate(certificate.der)
    return leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier


def check_replaces(reader: Reader, account: Account, text: str, names: Sequence[Identifier]) -> None:
    """Refuse an order that cannot replace the certificate that it names (RFC 9773 section 5).

    :raises AcmeError: ``malformed``, ``unauthorized``.
    """
    certificate = find(reader, text)
    if certificate.account_id != account.id:
        raise AcmeError(Problem.UNAUTHORIZED, "'replaces' names another account's certificate")
    if not set(certificate.names) & set(names):
        raise AcmeError(Problem.MALFORMED, "'replaces' names a certificate that has none of this order's names")


def replaces(reader: Reader, text: str, now: int) -> list[Statement]:
    """Let an order replace a certificate, in place of an order that was to and has come to nothing.

    :raises AcmeError: ``alreadyReplaced`` if another order replaces it.
    """
    holder = orders.replacing(reader, text)
    if holder is None:
        return []
    if of_order(holder, now) is not Status.INVALID:
        raise AcmeError(
            Problem.ALREADY_REPLACED,
            "another order replaces this certificate already; leave 'replaces' out, or let that order end",
        )
    return [orders.give_way(holder, now)]
