"""A former issuer is retired: its last list outlasts its last certificate, and nobody needs its key any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from acting import BAR, Actor, context, kinds, now
from cryptography import x509
from meanwhile import Meanwhile
from rotating import activate, key_file, prepare, reload, settle
from running import CA

from acme_iid.authority import Authority, certificate_status, revocation, succession
from acme_iid.errors import AcmeError, Problem, RequestError
from acme_iid.issuance import home as ca_home
from acme_iid.issuance.issuer import RetiredIssuer
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import retirement
from acme_iid.operations.retirement import Retired
from acme_iid.protocol.resources import Certificate
from acme_iid.simulator import aws
from acme_iid.store import certificates, compromised_keys, issuers, revocation_lists
from acme_iid.store.database import Database
from acme_iid.store.writes import perform

DAY = 86400


def rotated(authority: Authority, instance: aws.Instance) -> tuple[str, Certificate, Actor]:
    """A CA that has gone on to a second issuer: the first one's id, a certificate of it, and its account."""
    actor = Actor(authority)
    certificate = actor.certificate(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)
    former = activate(authority, second)
    settle(authority)
    return former, certificate, actor


def retire(authority: Authority, short_id: str, *, while_valid: bool = True) -> Retired:
    return retirement.retire(authority.config, authority.database, short_id, None, now(), while_valid=while_valid)


def numbers(der: bytes) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in x509.load_der_x509_crl(der)}


def test_the_last_list_outlasts_the_last_certificate(authority: Authority, instance: aws.Instance) -> None:
    former, certificate, actor = rotated(authority, instance)
    perform(
        authority.database,
        lambda reader: revocation.revoke_by_account(context(), reader, actor.account, certificate, 4),
    )
    retired = retire(authority, former[:16])
    assert retired.last_end == certificate.not_after
    signed = revocation_lists.latest(authority.database, former)
    assert signed is not None
    crl = x509.load_der_x509_crl(signed.der)
    assert crl.next_update_utc is not None
    assert crl.next_update_utc.timestamp() == retired.next_update >= certificate.not_after + DAY
    assert numbers(signed.der) == {certificate.serial}
    assert crl.is_signature_valid(authority.ca.issuers[former].certificate.public_key())  # type: ignore[arg-type]
    assert kinds(authority.database)[-1] == "issuer.retired"


def test_certificates_in_force_have_to_be_named_to_go_on(authority: Authority, instance: aws.Instance) -> None:
    former, _, _ = rotated(authority, instance)
    with pytest.raises(RequestError, match=r"1 certificates of this issuer are in force.*--while-valid"):
        retire(authority, former, while_valid=False)
    assert retire(authority, former).valid == 1


def test_only_a_former_issuer_is_retired_and_only_once(authority: Authority) -> None:
    first = authority.ca.current.id
    with pytest.raises(RequestError, match="signs now"):
        retire(authority, first)
    second = prepare(authority.config.home)
    with pytest.raises(RequestError, match="ever had an issuer"):
        retire(authority, second)
    reload(authority)
    activate(authority, second)
    with pytest.raises(RequestError, match="less than 180 seconds ago"):
        retire(authority, first)
    settle(authority)
    assert retire(authority, first, while_valid=False).valid == 0
    with pytest.raises(RequestError, match="retired already"):
        retire(authority, first)
    with pytest.raises(RequestError, match="ever had an issuer"):
        retire(authority, "")


def test_without_its_key_an_issuer_is_not_retired(authority: Authority) -> None:
    first = authority.ca.current.id
    second = prepare(authority.config.home)
    reload(authority)
    activate(authority, second)
    settle(authority)
    key_file(authority.config.home, first).unlink()
    with pytest.raises(CAFileError, match="cannot be read"):
        retire(authority, first)
    assert not issuers.retired(authority.database)


def test_a_missing_key_is_no_error_for_a_retired_issuer_only(authority: Authority) -> None:
    home, first = authority.config.home, authority.ca.current.id
    second = prepare(home)
    reload(authority)
    activate(authority, second)
    settle(authority)
    key_file(home, first).unlink()
    with pytest.raises(CAFileError, match="cannot be read"):
        ca_home.load(home, None, issuers.retired(authority.database))
    assert [issuer[:16] for issuer in ca_home.load(home, None, {first}).issuers] == [second]
    key_file(home, second).unlink()
    with pytest.raises(CAFileError, match="cannot be read"):
        ca_home.load(home, None, {first})


def test_the_list_and_the_certificate_are_handed_out_without_the_files(
    authority: Authority, instance: aws.Instance
) -> None:
    former, _, _ = rotated(authority, instance)
    certificate = authority.ca.issuers[former].certificate
    retired = retire(authority, former)
    for path in (ca_home.folder_of(former) / name for name in ("certificate.pem", "chain.pem", "issuer.toml")):
        (authority.config.home / path).unlink()
    (authority.config.home / ca_home.folder_of(former)).rmdir()
    key_file(authority.config.home, former).unlink()
    started = ca_home.load(authority.config.home, None, issuers.retired(authority.database))
    succession.follow(authority.database, started)
    authority = replace(authority, ca=started)
    assert former not in started.issuers
    found = certificate_status.issuer_named(authority, former[:16])
    assert isinstance(found, RetiredIssuer)
    assert found.certificate == certificate
    # Long after every other list would have been signed anew.
    signed = certificate_status.current_list(authority, found, retired.next_update - 1)
    assert signed.next_update == retired.next_update
    # Nobody gets a certificate for a key of the CA's, retired or not.
    assert found.own_keys <= started.own_keys


def test_a_certificate_of_a_retired_issuer_cannot_be_revoked(authority: Authority, instance: aws.Instance) -> None:
    former, certificate, _ = rotated(authority, instance)
    retire(authority, former)
    with pytest.raises(AcmeError, match="cannot be revoked any more") as refused:
        revocation.revoke_by_operator(authority.database, certificate, 5, now())
    assert refused.value.problem is Problem.UNAUTHORIZED
    found = certificates.get(authority.database, certificate.id)
    assert found is not None
    assert found.revoked_at is None
    assert "certificate.revoked" not in kinds(authority.database)
    # That its key is stolen is noted all the same.
    with pytest.raises(AcmeError, match="cannot be revoked any more"):
        revocation.revoke_by_operator(authority.database, certificate, revocation.KEY_COMPROMISE, now())
    assert compromised_keys.has(authority.database, certificate.key_id)


def test_a_revocation_meanwhile_is_in_the_last_list(authority: Authority, instance: aws.Instance) -> None:
    former, certificate, _ = rotated(authority, instance)

    def revoke(database: Database) -> None:
        revocation.revoke_by_operator(database, certificate, 5, now())

    racing = replace(authority, database=Meanwhile(authority.database, revoke))
    retire(racing, former)
    signed = revocation_lists.latest(authority.database, former)
    assert signed is not None
    assert numbers(signed.der) == {certificate.serial}


def test_a_retirement_meanwhile_refuses_a_revocation(authority: Authority, instance: aws.Instance) -> None:
    former, certificate, _ = rotated(authority, instance)
    racing = Meanwhile(authority.database, lambda _: retire(authority, former))
    with pytest.raises(AcmeError, match="cannot be revoked any more"):
        revocation.revoke_by_operator(racing, certificate, 5, now())


def test_nothing_is_issued_under_a_retired_issuer(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    order = actor.ready(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)
    former = authority.ca.current.id

    def meanwhile(_database: Database) -> None:
        # What this process has not heard of yet.
        heard = authority.ca.current
        activate(authority, second)
        settle(authority)
        retire(authority, former)
        authority.ca.issuers = {**authority.ca.issuers, heard.id: heard}
        authority.ca.use(heard.id)

    actor.finalize(order, happens=meanwhile)
    (issued,) = authority.database.rows("SELECT issuer_id FROM certificates")
    assert issued["issuer_id"][:16] == second


def test_the_commands_say_what_is_left_to_do(own_ca: CA) -> None:
    own_ca.start()
    own_ca.stop()
    first = own_ca.issuer_id
    second = prepare(own_ca.home)
    said = own_ca.cli("issuer", "rotate", "activate", second).stdout
    assert f"issuer rotate retire {first}" in said
    early = own_ca.try_cli("issuer", "rotate", "retire", first)
    assert (early.code, "less than 180 seconds ago" in early.stderr) == (1, True)
