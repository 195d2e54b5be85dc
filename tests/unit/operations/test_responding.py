"""OCSP responders over an issuer's life: made ahead, for as long as its certificates last, and there after its end."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from acting import BAR, Actor, now
from certificate_status_requests import question
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from meanwhile import Meanwhile
from rotating import activate, key_file, prepare, reload, settle
from running import CA

from acme_iid.authority import Authority, certificate_status, revocation, succession, unrecorded
from acme_iid.errors import AcmeError
from acme_iid.issuance import home, keys, responder
from acme_iid.issuance.issuer import Issuer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.issuance.responder import LIFETIME, ResponderError, Responders
from acme_iid.operations import expiry, retirement
from acme_iid.operations.responding import Responding
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns
from acme_iid.simulator import aws
from acme_iid.store import issuers, revocation_lists, unrecorded_revocations
from acme_iid.store.database import Database

HOUR = 3600


def retire(authority: Authority, former: str) -> None:
    retirement.retire(authority.config, authority.database, former, None, now(), while_valid=True)


def rotated(authority: Authority) -> str:
    """Go on to a second issuer; the former one's id."""
    second = prepare(authority.config.home)
    reload(authority)
    former = activate(authority, second)
    settle(authority)
    return former


def looked_at(authority: Authority, issuer: x509.Certificate) -> x509.Certificate:
    certificate, fault = responder.look(authority.config.home, issuer, now())
    assert (certificate is None, fault) == (False, None)
    assert certificate is not None
    return certificate


def leaf_of(issuer: Issuer) -> x509.Certificate:
    """A certificate that no store knows."""
    request = LeafRequest(ec.generate_private_key(ec.SECP256R1()).public_key(), [dns("bar.local")], now() + HOUR)
    return x509.load_der_x509_certificate(issuer.issue(request, Namespace(("local",), frozenset()), now()).der)


def test_each_issuer_has_one_before_anybody_asks(authority: Authority) -> None:
    prepare(authority.config.home)
    reload(authority)
    Responding(authority, Responders(authority.config.home, None)).turn()
    for issuer in authority.ca.issuers.values():
        looked_at(authority, issuer.certificate).verify_directly_issued_by(issuer.certificate)
    assert len(authority.ca.issuers) == 2


def test_that_of_a_former_issuer_lasts_as_long_as_its_last_certificate(
    authority: Authority, instance: aws.Instance
) -> None:
    certificate = Actor(authority).certificate(instance, BAR)
    former = authority.ca.issuers[rotated(authority)]
    Responding(authority, Responders(authority.config.home, None, HOUR)).turn()
    assert looked_at(authority, former.certificate).not_valid_after_utc.timestamp() == certificate.not_after
    ends = looked_at(authority, authority.ca.current.certificate).not_valid_after_utc.timestamp()
    assert ends <= now() + HOUR < certificate.not_after


def test_answers_go_on_when_the_key_of_a_retired_issuer_is_gone(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    good, bad = (actor.certificate(one, BAR) for one in (instance, aws.Instance(account=instance.account)))
    revocation.revoke_by_operator(authority.database, bad, revocation.SUPERSEDED, now())
    former = rotated(authority)
    issuer = authority.ca.issuers[former].certificate
    Responding(authority, Responders(authority.config.home, None, HOUR)).turn()
    retire(authority, former)
    key_file(authority.config.home, former).unlink()
    started = home.load(authority.config.home, None, issuers.retired(authority.database))
    succession.follow(authority.database, started)
    authority, responders = replace(authority, ca=started), Responders(authority.config.home, None)
    for certificate, status in ((good, ocsp.OCSPCertStatus.GOOD), (bad, ocsp.OCSPCertStatus.REVOKED)):
        sent = question(issuer, int(certificate.serial, 16))
        found = ocsp.load_der_ocsp_response(
            certificate_status.answer(authority, responders, sent, certificate.not_after - 60).der
        )
        assert found.certificate_status is status
        assert found.next_update_utc is not None
        assert found.next_update_utc.timestamp() == certificate.not_after
        found.certificates[0].verify_directly_issued_by(issuer)
    with pytest.raises(ResponderError, match="whose key is not here"):
        certificate_status.answer(authority, responders, sent, bad.not_after + LIFETIME)


def test_an_end_that_comes_near_is_told_of(authority: Authority) -> None:
    Responding(authority, Responders(authority.config.home, None)).turn()
    found = expiry.lifetimes(authority.config.home, authority.database)
    (life,) = [entry for entry in found if entry.role == "responder"]
    assert life.ends - life.begins == LIFETIME + 60
    assert str(life) == f"responder of the issuer {authority.ca.current.short_id}"
    assert expiry.sentence(life, life.ends - LIFETIME // 2) is None
    assert "less than 25 %" in (expiry.sentence(life, life.ends - LIFETIME // 5) or "")


def swapped(ca: CA) -> None:
    """Put another CA's certificate into the file of the issuer's responder."""
    (file,) = (ca.home / "secrets").glob("responder_*")
    other = keys.generate()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(other.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(now() - HOUR, UTC))
        .not_valid_after(datetime.fromtimestamp(now() + 24 * HOUR, UTC))
        .sign(other, hashes.SHA256())
    )
    file.write_bytes(keys.to_pem(other) + certificate.public_bytes(Encoding.PEM))


def test_one_of_another_ca_is_in_the_status_and_in_the_log(own_ca: CA) -> None:
    file = own_ca.home / "ca.toml"
    file.write_text(file.read_text().replace("# crl = true", "crl = true"))
    own_ca.start()
    own_ca.wire()
    while not list((own_ca.home / "secrets").glob("responder_*.pem")):
        own_ca.cli("issuer", "list")
    own_ca.stop()

    def shown() -> list[str | None]:
        rows = json.loads(own_ca.cli("issuer", "status", "--json").stdout)
        return [row["fault"] for row in rows if row["role"] == "responder"]

    assert shown() == [None]
    swapped(own_ca)
    (fault,) = shown()
    assert "its certificate was signed by" in str(fault)
    own_ca.start()
    own_ca.until_logged("was not used: its certificate was signed by")
    assert shown() == [None]


def test_a_certificate_of_a_retired_issuer_is_not_revoked_by_its_file(authority: Authority) -> None:
    former = rotated(authority)
    leaf = leaf_of(authority.ca.issuers[former])
    retire(authority, former)
    with pytest.raises(AcmeError, match="cannot be revoked any more"):
        unrecorded.revoke(authority.database, leaf, (), 5, now())
    assert unrecorded_revocations.get(authority.database, former, f"{leaf.serial_number:x}") is None


def test_a_retirement_meanwhile_refuses_a_revocation_by_file(authority: Authority) -> None:
    former = rotated(authority)
    leaf = leaf_of(authority.ca.issuers[former])
    racing = Meanwhile(authority.database, lambda _: retire(authority, former))
    with pytest.raises(AcmeError, match="cannot be revoked any more"):
        unrecorded.revoke(racing, leaf, (), 5, now())


def test_a_revocation_by_file_meanwhile_is_in_the_last_list(authority: Authority) -> None:
    former = rotated(authority)
    leaf = leaf_of(authority.ca.issuers[former])

    def revoke(database: Database) -> None:
        unrecorded.revoke(database, leaf, (), 5, now())

    retire(replace(authority, database=Meanwhile(authority.database, revoke)), former)
    last = revocation_lists.latest(authority.database, former)
    assert last is not None
    listed = x509.load_der_x509_crl(last.der)
    assert listed.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None


def test_a_fault_of_one_responder_leaves_the_others(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    short = prepare(authority.config.home, 2)
    reload(authority)
    ended = next(issuer for issuer in authority.ca.issuers.values() if issuer.short_id == short)
    while now() <= ended.not_after:
        time.sleep(0.1)
    Responding(authority, Responders(authority.config.home, None)).turn()
    assert "has ended, and so have all that it has signed" in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    looked_at(authority, authority.ca.current.certificate)
