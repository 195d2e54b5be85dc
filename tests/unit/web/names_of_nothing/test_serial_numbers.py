"""Serial numbers that name no certificate, or another's: nothing is shown, done or recorded."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import postgresql
import pytest
import wire
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from held_orders import NUMBER, ROUTES, Held, kept
from running import ACCOUNT, CA, answer
from wire import Account, Key, Wire, b64, problem

from acme_iid.simulator import aws
from acme_iid.store.database import open_store

# By a serial number


SERIALS: dict[str, Callable[[int], int]] = {
    "one other random bit": lambda serial: serial ^ 1 << 64,
    "another random bit": lambda serial: serial ^ 1 << 140,
    "all other random bits": lambda serial: ((serial >> 64) ^ ((1 << 94) - 1)) << 64 | serial & NUMBER,
    "the number alone": lambda serial: serial & NUMBER,
    "no number": lambda serial: serial >> 64 << 64,
    "the next number": lambda serial: serial + 1,
    "the number before": lambda serial: serial - 1,
    "a number of 2^63 and more": lambda serial: serial | 1 << 63,
    "an octet less at the end": lambda serial: serial >> 8,
    "an octet less at the front": lambda serial: serial & (1 << (serial.bit_length() - 1) // 8 * 8) - 1,
    "random bits and number the other way round": lambda serial: (serial & NUMBER) << 95 | serial >> 64,
    "one": lambda _: 1,
    "2^63": lambda _: 1 << 63,
    "2^64": lambda _: 1 << 64,
}


@pytest.fixture(params=SERIALS)
def serial(request: pytest.FixtureRequest, held: Held) -> int:
    """A serial number that no certificate has, made of one that one has."""
    made = SERIALS[request.param](held.serial)
    assert made != held.serial
    assert made > 0
    return made


def asked_by_ocsp(held: Held, serial: int) -> list[ocsp.OCSPResponse]:
    """What the responder says to a GET and to a POST."""
    issuer = x509.load_pem_x509_certificate(held.ca.intermediate.read_bytes())
    question = ocsp.OCSPRequestBuilder().add_certificate(held.certificate.leaf, issuer, hashes.SHA1())  # noqa: S303 - as requests have
    about = question.build()
    named = about.issuer_name_hash, about.issuer_key_hash
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(*named, serial, hashes.SHA1())  # noqa: S303 - as above
    sent = builder.build().public_bytes(Encoding.DER)
    session, url = held.account.wire.session, f"{held.ca.url}/ocsp"
    answers = [
        session.post(url, data=sent, headers={"Content-Type": "application/ocsp-request"}, timeout=30),
        session.get(f"{url}/{quote(base64.b64encode(sent).decode(), safe='')}", timeout=30),
    ]
    return [ocsp.load_der_ocsp_response(response.content) for response in answers]


def test_ocsp_knows_a_certificate_by_its_whole_serial_number_only(held: Held, serial: int) -> None:
    for found in asked_by_ocsp(held, serial):
        assert found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    for found in asked_by_ocsp(held, held.serial):
        assert found.certificate_status is ocsp.OCSPCertStatus.GOOD


@pytest.mark.parametrize("made", [lambda serial: serial << 8, lambda serial: serial | 1 << 159, lambda _: 0])
def test_ocsp_knows_no_certificate_whose_serial_number_cannot_be(held: Held, made: Callable[[int], int]) -> None:
    der = _with_serial(held, made(held.serial))
    response = held.account.wire.session.post(f"{held.ca.url}/ocsp", data=der, timeout=30)
    found = ocsp.load_der_ocsp_response(response.content)
    assert (
        found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL
        or found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
    )


def _with_serial(held: Held, serial: int) -> bytes:
    """An OCSP request in DER, of which the library makes none."""
    issuer = x509.load_pem_x509_certificate(held.ca.intermediate.read_bytes())
    about = ocsp.OCSPRequestBuilder().add_certificate(held.certificate.leaf, issuer, hashes.SHA1()).build()  # noqa: S303 - as above
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")

    def tlv(tag: int, *parts: bytes) -> bytes:
        content = b"".join(parts)
        assert len(content) < 128
        return bytes([tag, len(content)]) + content

    sha1 = tlv(0x30, bytes.fromhex("06052b0e03021a0500"))
    named = tlv(0x30, sha1, tlv(4, about.issuer_name_hash), tlv(4, about.issuer_key_hash), tlv(2, octets))
    return tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, named))))


def test_renewal_information_is_of_a_whole_serial_number_only(held: Held, serial: int) -> None:
    session, base = held.account.wire.session, held.account.wire.directory["renewalInfo"]
    response = session.get(f"{base}/{held.name(serial)}", timeout=30)
    assert (response.status_code, problem(response)) == (404, "malformed")
    assert session.get(f"{base}/{held.name(held.serial)}", timeout=30).status_code == 200


def test_an_order_replaces_no_certificate_of_another_serial_number(held: Held, serial: int) -> None:
    response = held.account.order("foo.local", replaces=held.name(serial))
    assert (response.status_code, problem(response)) == (404, "malformed")


def test_an_order_replaces_no_certificate_of_anothers(held: Held, others: Held) -> None:
    response = others.account.order("foo.local", replaces=held.name(held.serial))
    assert (response.status_code, problem(response)) == (403, "unauthorized")


def test_a_certificate_has_one_name_for_its_renewal(held: Held) -> None:
    key, _, serial = held.name(held.serial).partition(".")
    octets = base64.urlsafe_b64decode(serial + "=" * (-len(serial) % 4))
    session, base = held.account.wire.session, held.account.wire.directory["renewalInfo"]
    spellings = [
        b64(b"\0" + octets),
        f"{serial}=",
        f"{serial}A",
        f" {serial}",
        f"{serial}.",
        serial[:-1],
        "",
        "-",
        "%00",
    ]
    # The last letter has bits that are nobody's.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    if len(serial) % 4:
        spellings.append(serial[:-1] + letters[letters.index(serial[-1]) ^ 1])
    for text in [f"{key}.{spelling}" for spelling in spellings] + [
        f"{key}=.{serial}",
        f".{serial}",
        serial,
        f"A{key}.{serial}",
    ]:
        answered = session.get(f"{base}/{quote(text, safe='')}", timeout=30)
        assert (answered.status_code in (400, 404), problem(answered)) == (True, "malformed"), text
        ordered = held.account.order("foo.local", replaces=text)
        assert (ordered.status_code in (400, 404), problem(ordered)) == (True, "malformed"), text


def forged(serial: int, key: Key) -> bytes:
    """A certificate that this CA did not issue, in DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "My CA Intermediate CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().issuer_name(name).subject_name(x509.Name([])).serial_number(serial)
    builder = builder.public_key(key.private.public_key())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("foo.local")])
    return builder.add_extension(names, critical=True).sign(key.private, hashes.SHA256()).public_bytes(Encoding.DER)


def refused_to_revoke(held: Held, der: bytes, key: Key) -> list[tuple[int, str]]:
    """What is answered to an account that has a certificate revoked, and to a certificate's key."""
    url, payload = held.account.wire.directory["revokeCert"], {"certificate": b64(der), "reason": 1}
    by_key = held.account.wire.post(url, payload, key)
    by_account = held.account.post(url, {"certificate": b64(der)})
    return [(response.status_code, problem(response)) for response in (by_account, by_key)]


def test_no_certificate_of_another_serial_number_is_revoked(held: Held, serial: int) -> None:
    key = Key()
    assert refused_to_revoke(held, forged(serial, key), key) == [(404, "malformed")] * 2


def test_a_right_serial_number_alone_revokes_no_certificate(held: Held) -> None:
    assert (
        refused_to_revoke(held, forged(held.serial, held.certificate.key), held.certificate.key)
        == [(404, "malformed")] * 2
    )
    for der in (held.certificate.der + b"\0", held.certificate.der[:-1] + b"\0"):
        for status, kind in refused_to_revoke(held, der, held.certificate.key):
            assert (status in (400, 404), kind) == (True, "malformed")


def test_a_certificate_is_not_revoked_by_others(held: Held, others: Held) -> None:
    url, payload = held.account.wire.directory["revokeCert"], {"certificate": b64(held.certificate.der)}
    for response in (
        others.account.post(url, payload),
        others.account.wire.post(url, {**payload, "reason": 1}, others.certificate.key),
        others.account.wire.post(url, {**payload, "reason": 1}, Key()),
    ):
        assert (response.status_code, problem(response)) == (403, "unauthorized")


def test_nothing_of_this_is_in_the_list(held: Held) -> None:
    listed = x509.load_der_x509_crl(held.account.wire.session.get(f"{held.ca.url}/crl", timeout=30).content)
    assert list(listed) == []


# By operators


@pytest.mark.parametrize(
    "spelling",
    ["{s}_0", "1_{s}", "+{s}", "-{s}", " {s}", "{s} ", "{wide}", "0x_{h}", "0x{h}_0", "0x", "", "0b1", "{s}.0", "{s}e0",
     "-0x{h}", "0x+{h}", "0x {h}", "0x-{h}", "00:{wide}", f"{1 << 160}"],
)  # fmt: skip
def test_odd_digits_are_no_serial_number_to_an_operator(held: Held, spelling: str) -> None:
    text = str(held.serial)
    wide = "".join(chr(0xFF10 + int(digit)) for digit in text)
    asked = spelling.format(s=text, h=f"{held.serial:x}", wide=wide)
    outcome = held.ca.try_cli("certificate", "revoke", "--", asked)
    assert outcome.code == 2, (outcome.stdout, outcome.stderr)
    assert "a serial number is decimal, or hexadecimal after 0x" in outcome.stderr


def test_an_unknown_serial_number_shows_and_revokes_nothing(held: Held) -> None:
    for made in ("one other random bit", "the number alone", "the next number", "a number of 2^63 and more"):
        for command in ("show", "revoke"):
            outcome = held.ca.try_cli("certificate", command, str(SERIALS[made](held.serial)))
            assert outcome.code == 1
            assert "was issued here" in outcome.stderr


# What was, and is no more


def test_what_comes_after_a_restore_has_nothing_of_what_had_its_number(tmp_path: Path) -> None:
    first = CA(tmp_path / "first")
    first.init()
    file = first.home / "ca.toml"
    file.write_text(file.read_text().replace("# crl = true", "crl = true"))
    first.start()
    former_account = first.account()
    first.cli("backup", tmp_path / "backup.tar")
    # It is as if what follows had never been.
    instance = aws.Instance(account=ACCOUNT)
    former = former_account.obtain("foo.local", answer=answer(instance))
    close()
    first.stop()
    ca = CA(tmp_path / "second", port=first.port)
    to = ("--to", postgresql.cluster().create()) if postgresql.is_wanted() else ()
    ca.cli("restore", tmp_path / "backup.tar", *to)
    ca.start()
    try:
        account = Account(Wire(ca.directory, ca.root), former_account.key, former_account.url)
        latest = ca.account().obtain("foo.local", answer=answer(aws.Instance(account=ACCOUNT)))
        held = Held(ca, account, instance, former.order, former.order, former.order, former)
        now = held.id(latest.order)
        assert now.partition(".")[0] == held.id(former.order).partition(".")[0]
        assert latest.leaf.serial_number & NUMBER == held.serial & NUMBER
        with closing(open_store(ca.store_url)) as store:
            before = kept(store)
            for way in ROUTES.values():
                response = way.ask(held, account, way.id(held))
                assert (response.status_code, problem(response)) == (404, "malformed")
            for found in asked_by_ocsp(held, held.serial):
                assert found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN
            session = account.wire.session
            renewal = f"{account.wire.directory['renewalInfo']}/{held.name(held.serial)}"
            assert session.get(renewal, timeout=30).status_code == 404
            assert refused_to_revoke(held, former.der, former.key) == [(404, "malformed")] * 2
            assert account.order("foo.local", replaces=held.name(held.serial)).status_code == 404
            assert account.post(f"{account.url}/orders").json()["orders"] == []
            assert ca.try_cli("certificate", "revoke", str(held.serial)).code == 1
            assert kept(store) == before
        assert json.loads(ca.cli("certificate", "list", "--json").stdout)[0]["status"] == "valid"
        for found in asked_by_ocsp(held, latest.leaf.serial_number):
            assert found.certificate_status is ocsp.OCSPCertStatus.GOOD
    finally:
        close()
        ca.stop()


def close() -> None:
    """Say goodbye, so that a server that stops need not wait for it."""
    while wire.OPEN:
        wire.OPEN.pop().close()
