"""The revocation list, as openssl and caches see it, and what it has over time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from certificate_status_requests import fetch, intermediate, question, revoke, turn_on
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID
from meanwhile import Meanwhile
from running import CA, answer
from wire import Account, Issued
from writing import put

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import Authority, certificate_status
from acme_iid.authority.list_turns import ListTurns
from acme_iid.config import ca_toml
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.responder import Responders
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account as AccountFacts
from acme_iid.protocol.resources import Certificate, Order
from acme_iid.simulator import aws
from acme_iid.store import accounts, certificates, orders
from acme_iid.store.database import Database, open_store
from acme_iid.store.revocation_lists import SignedList

NOW = 1_800_000_000
HOUR = 3600


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    ca = CA(tmp_path_factory.mktemp("status") / "ca")
    ca.init()
    turn_on(ca)
    ca.start("--workers", "2")
    yield ca
    ca.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


@pytest.fixture
def issued(account: Account, instance: aws.Instance) -> Issued:
    return account.obtain("foo.local", answer=answer(instance))


def current(ca: CA) -> x509.CertificateRevocationList:
    response = fetch(ca)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/pkix-crl"
    found = x509.load_der_x509_crl(response.content)
    assert found.is_signature_valid(intermediate(ca).public_key())  # type: ignore[arg-type]
    return found


def number(found: x509.CertificateRevocationList) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def verify(ca: CA, issued: Issued, folder: Path) -> subprocess.CompletedProcess[str]:
    """What openssl says of a certificate, with the list that the server has now."""
    (folder / "chain.pem").write_text(issued.chain)
    (folder / "crl.pem").write_bytes(x509.load_der_x509_crl(fetch(ca).content).public_bytes(Encoding.PEM))
    command: list[str | Path] = [
        *("openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", ca.root, "-CRLfile", folder / "crl.pem"),
        *("-untrusted", folder / "chain.pem", folder / "chain.pem"),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_certificate_says_where_its_status_can_be_seen(ca: CA, issued: Issued) -> None:
    (point,) = issued.leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier(f"{ca.url}/crl/{ca.issuer_id}")]
    access = issued.leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {entry.access_method: entry.access_location.value for entry in access} == {
        AuthorityInformationAccessOID.OCSP: ca.url + "/ocsp",
        AuthorityInformationAccessOID.CA_ISSUERS: f"{ca.url}/issuer/{ca.issuer_id}.cer",
    }
    for path in ("/issuer.cer", f"/issuer/{ca.issuer_id}.cer"):
        response = fetch(ca, path)
        assert response.headers["Content-Type"] == "application/pkix-cert"
        issued.leaf.verify_directly_issued_by(x509.load_der_x509_certificate(response.content))
    assert fetch(ca, f"/crl/{ca.issuer_id}").content == fetch(ca).content


def test_of_an_issuer_that_the_ca_does_not_have_there_is_nothing(ca: CA) -> None:
    for path in ("/crl/0123456789abcdef", "/issuer/0123456789abcdef.cer", "/intermediate.cer"):
        assert fetch(ca, path).status_code == 404


def test_without_the_switch_there_is_nothing_of_it(shared_ca: CA, instance: aws.Instance) -> None:
    leaf = shared_ca.account().obtain("foo.local", answer=answer(instance)).leaf
    for kind in (x509.CRLDistributionPoints, x509.AuthorityInformationAccess):
        with pytest.raises(x509.ExtensionNotFound):
            leaf.extensions.get_extension_for_class(kind)
    for path in ("/crl", "/ocsp/MA==", "/issuer.cer"):
        assert fetch(shared_ca, path).status_code == 404


def test_openssl_accepts_a_certificate_until_the_moment_of_its_revocation(
    ca: CA, account: Account, issued: Issued, tmp_path: Path
) -> None:
    assert verify(ca, issued, tmp_path).returncode == 0
    revoke(account, issued, 1)
    done = verify(ca, issued, tmp_path)
    assert done.returncode != 0
    assert "certificate revoked" in done.stderr


def test_each_revocation_is_in_the_next_list_with_its_reason(ca: CA, account: Account, instance: aws.Instance) -> None:
    before = current(ca)
    for reason, flag in (
        (0, None),
        (1, x509.ReasonFlags.key_compromise),
        (3, x509.ReasonFlags.affiliation_changed),
        (4, x509.ReasonFlags.superseded),
        (5, x509.ReasonFlags.cessation_of_operation),
    ):
        issued = account.obtain(f"reason-{reason}.local", answer=answer(instance))
        assert before.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) is None
        revoke(account, issued, reason)
        found = current(ca)
        entry = found.get_revoked_certificate_by_serial_number(issued.leaf.serial_number)
        assert entry is not None
        assert [extension.value for extension in entry.extensions] == ([] if flag is None else [x509.CRLReason(flag)])
        assert abs(entry.revocation_date_utc.timestamp() - time.time()) < 120
        assert number(found) > number(before)
        before = found


def test_what_an_operator_revokes_in_another_process_is_in_the_next_list(ca: CA, issued: Issued) -> None:
    before = number(current(ca))
    ca.cli("certificate", "revoke", str(issued.leaf.serial_number))
    found = current(ca)
    assert found.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) is not None
    assert number(found) > before


def test_a_list_is_signed_once_and_whoever_has_it_is_not_sent_it_again(ca: CA) -> None:
    first = fetch(ca)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: fetch(ca), range(24)))
    assert {response.content for response in responses} == {first.content}
    assert first.headers["Cache-Control"] == "public, no-cache"
    again = fetch(ca, **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert fetch(ca, **{"If-None-Match": '"another"'}).content == first.content


def test_racing_fetches_have_the_revocation_and_each_list_its_own_number(
    ca: CA, account: Account, issued: Issued
) -> None:
    revoke(account, issued)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: fetch(ca), range(16)))
    lists = {response.content for response in responses}
    found = [x509.load_der_x509_crl(der) for der in lists]
    assert all(entry.get_revoked_certificate_by_serial_number(issued.leaf.serial_number) for entry in found)
    assert len({number(entry) for entry in found}) == len(lists)


# The list over time: the use case itself, with a store and an intermediate.


@pytest.fixture
def authority(own_ca: CA) -> Iterator[Authority]:
    turn_on(own_ca)
    loaded = ca_toml.load(own_ca.home)
    database = open_store(loaded.store.url)
    yield Authority(loaded, database, load_ca(own_ca.home), trust_store(loaded.given_keys))
    database.close()


def add(authority: Authority, number: int, not_after: int, revoked_at: int | None = None) -> None:
    """A certificate in the store, with its account and order, whose number it has."""
    name, database = (Identifier("dns", "foo.local"),), authority.database
    if not accounts.get(database, "a"):
        put(database, accounts.add(AccountFacts("a", "{}", "t", (), 1)))
    (row,) = put(database, orders.add(Order("", "a", name, 1, 100), "t" * 16))
    assert row["n"] == number
    certificate = Certificate(
        f"{number}.{'t' * 16}",
        f"{serial(number):x}",
        "a",
        name,
        1,
        not_after,
        1,
        b"der",
        authority.ca.current.id,
        "key",
    )
    put(database, certificates.add(certificate, None))
    if revoked_at is not None:
        put(database, certificates.revoke(certificate, 1, "operator", revoked_at))


def current_list(authority: Authority, now: int) -> SignedList:
    """The list of the issuer that signs."""
    return certificate_status.current_list(authority, authority.ca.current, now)


def serial(number: int) -> int:
    """The serial number of the certificate with a number."""
    return (7 << 64) + number


def numbers(der: bytes) -> list[int]:
    """The numbers of the certificates in a list."""
    return sorted(entry.serial_number - serial(0) for entry in x509.load_der_x509_crl(der))


def test_an_expired_certificate_leaves_after_one_more_list(authority: Authority) -> None:
    add(authority, 1, NOW + 13 * HOUR, NOW)
    add(authority, 2, NOW + 90 * HOUR, NOW)
    add(authority, 3, NOW - 1, NOW - 5)
    at = [NOW, NOW + 12 * HOUR, NOW + 24 * HOUR, NOW + 36 * HOUR]
    lists = [current_list(authority, now) for now in at]
    assert [numbers(signed.der) for signed in lists] == [[1, 2], [1, 2], [1, 2], [2]]


def test_a_list_is_signed_again_when_half_of_its_time_is_left(authority: Authority) -> None:
    first = current_list(authority, NOW)
    assert current_list(authority, NOW + 12 * HOUR - 1) == first
    second = current_list(authority, NOW + 12 * HOUR)
    assert second.number > first.number
    parsed = x509.load_der_x509_crl(second.der)
    assert parsed.next_update_utc is not None
    assert parsed.next_update_utc.timestamp() == NOW + 36 * HOUR
    assert parsed.last_update_utc.timestamp() == NOW + 12 * HOUR - 60


def test_a_clock_set_back_gives_a_valid_list_with_a_greater_number(
    authority: Authority,
) -> None:
    first = current_list(authority, NOW)
    second = current_list(authority, NOW - HOUR)
    assert (second.number, second.signed_at) == (first.number + 1, NOW - HOUR)
    # What was revoked by the wrong clock is in it all the same.
    add(authority, 1, NOW + HOUR, NOW - 2 * HOUR)
    third = current_list(authority, NOW - HOUR)
    assert numbers(third.der) == [1]
    assert third.number == second.number + 1


def test_numbers_grow_after_an_older_store_was_restored(authority: Authority) -> None:
    first = current_list(authority, NOW)
    for number in range(1, 4):
        add(authority, number, NOW + HOUR, NOW)
        last = current_list(authority, NOW)
    with authority.database.transaction() as transaction:
        transaction.run("DELETE FROM revocation_lists")
    assert last.number == first.number + 3
    assert current_list(authority, NOW + HOUR).number > last.number


def test_another_process_that_signs_meanwhile_wins_and_numbers_are_unique(authority: Authority) -> None:
    current_list(authority, NOW)
    add(authority, 1, NOW + HOUR, NOW)
    others = []

    def other(database: Database) -> None:
        add(replace(authority, database=database), 2, NOW + HOUR, NOW)
        others.append(current_list(replace(authority, database=database, list_turns=ListTurns()), NOW))

    racing = replace(authority, database=Meanwhile(authority.database, other))
    mine = current_list(racing, NOW)
    assert numbers(others[0].der) == [1, 2]
    assert mine == others[0]


def test_an_answer_ends_with_its_responder(authority: Authority) -> None:
    issuer = authority.ca.current.certificate
    add(authority, 1, NOW + 20 * HOUR)
    short = Responders(authority.config.home, None, HOUR // 3)
    sent = question(issuer, serial(1))
    first = ocsp.load_der_ocsp_response(certificate_status.answer(authority, short, sent, NOW).der)
    assert first.next_update_utc is not None
    assert first.next_update_utc.timestamp() == NOW + HOUR // 3
    (responder,) = first.certificates
    assert first.next_update_utc == responder.not_valid_after_utc


def test_an_answer_ends_with_its_certificate_and_has_no_end_after_it(authority: Authority) -> None:
    issuer = authority.ca.current.certificate
    add(authority, 1, NOW + HOUR // 2)
    add(authority, 2, NOW + 2 * HOUR, NOW)
    responders = Responders(authority.config.home, None)
    for number, now, end in (
        (1, NOW, NOW + HOUR // 2),
        (1, NOW + HOUR // 2 - 1, NOW + HOUR // 2),
        (1, NOW + HOUR // 2, None),
        (1, NOW + 9 * HOUR, None),
        (2, NOW, NOW + HOUR),
        (2, NOW + 3 * HOUR, None),
        (3, NOW, NOW + HOUR),
    ):
        answered = certificate_status.answer(authority, responders, question(issuer, serial(number)), now)
        found = ocsp.load_der_ocsp_response(answered.der)
        assert found.this_update_utc.timestamp() == now - 60
        assert (found.next_update_utc and found.next_update_utc.timestamp()) == end
        assert answered.lifetime == (0 if end is None else end - now)
