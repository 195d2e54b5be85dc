"""A key that was stolen from an issuer that does not sign: a former, retired or prepared one."""

from __future__ import annotations

import shutil

import pytest
from acting import BAR, Actor, kinds, now
from meanwhile import Meanwhile
from rotating import activate, key_file, prepare, reload, settle

from acme_iid.authority import Authority, renewal, succession
from acme_iid.errors import RequestError
from acme_iid.issuance import home
from acme_iid.operations import issuers as issuing
from acme_iid.operations import retirement, rotation, stolen
from acme_iid.operations.stolen import Compromised, aftermath
from acme_iid.protocol.renewal import COMPROMISED_SECONDS, Window
from acme_iid.protocol.resources import Certificate
from acme_iid.simulator import aws
from acme_iid.store import issuers


def compromise(authority: Authority, short_id: str) -> Compromised:
    """Mark an issuer, and have the authority hear of it."""
    marked = stolen.compromise(authority.config, authority.database, short_id, now())
    succession.follow(authority.database, authority.ca)
    return marked


def state(authority: Authority, short_id: str) -> str:
    standings = issuers.standings(issuers.every(authority.database))
    (found,) = (standing.state for identity, standing in standings.items() if identity.startswith(short_id))
    return found


def rotated(authority: Authority, instance: aws.Instance) -> tuple[str, Certificate]:
    """A CA that went on to a second issuer an hour ago: the first one's id, and a certificate of it."""
    certificate = Actor(authority).certificate(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)
    former = activate(authority, second)
    settle(authority)
    return former, certificate


def test_certificates_of_a_former_issuer_are_renewed_at_once(authority: Authority, instance: aws.Instance) -> None:
    former, certificate = rotated(authority, instance)
    before = renewal.window_of(authority.ca, certificate)
    marked = compromise(authority, former[:16])
    assert marked == Compromised(former, None)
    assert state(authority, former) == "compromised"
    assert kinds(authority.database)[-1] == "issuer.compromised"
    at = authority.ca.standings[former].compromised_at
    assert at is not None
    hurried = renewal.window_of(authority.ca, certificate)
    assert hurried == Window(at, at + COMPROMISED_SECONDS)
    assert hurried.end < before.end
    left = aftermath(authority.config, authority.database, former, now())
    assert (left.valid, left.last_end) == (1, certificate.not_after)
    assert left.file == authority.config.home / home.folder_of(former) / home.CERTIFICATE
    assert left.certificate == authority.ca.issuers[former].certificate


def test_the_one_that_signs_is_left_by_an_activation(authority: Authority) -> None:
    with pytest.raises(RequestError, match=r"signs now.*issuer rotate activate NEXT --compromised"):
        compromise(authority, authority.ca.current.id)
    assert state(authority, authority.ca.current.id) == "signing"
    for unknown in ("zz", ""):
        with pytest.raises(RequestError, match=r"there is no issuer 'zz'|ever had an issuer ''"):
            compromise(authority, unknown)
    assert "issuer.compromised" not in kinds(authority.database)


def test_once_more_changes_nothing(authority: Authority, instance: aws.Instance) -> None:
    former, _ = rotated(authority, instance)
    compromise(authority, former)
    settle(authority, 7200)
    at = authority.ca.standings[former].compromised_at
    assert compromise(authority, former) == Compromised(former, at)
    assert authority.ca.standings[former].compromised_at == at
    assert kinds(authority.database).count("issuer.compromised") == 1
    # What is left to do is said again, with the times that follow from the first word.
    assert at is not None
    assert at < aftermath(authority.config, authority.database, former, now()).renewed_by < now()


@pytest.mark.parametrize("is_known", [True, False], ids=["a server has it", "no server has it"])
def test_a_prepared_one_can_never_be_activated(authority: Authority, *, is_known: bool) -> None:
    prepared = prepare(authority.config.home)
    reload(authority)
    if is_known:
        issuing.begin(authority.database, authority.ca, now())
        assert state(authority, prepared) == "prepared"
    assert compromise(authority, prepared).id.startswith(prepared)
    assert state(authority, prepared) == "compromised"
    for once_more in (False, True):
        with pytest.raises(RequestError, match=r"key was stolen, and it can never sign; prepare a new one"):
            activate(authority, prepared, compromised=once_more)
    assert authority.ca.current.id == issuers.signing(authority.database)
    left = aftermath(authority.config, authority.database, compromise(authority, prepared).id, now())
    assert (left.valid, left.last_end) == (0, None)
    assert left.ceremony is not None


def test_before_a_server_has_started_nothing_is_marked(authority: Authority) -> None:
    with authority.database.transaction() as transaction:
        transaction.run("DELETE FROM issuers")
    with pytest.raises(RequestError, match="no server of this CA has ever started"):
        compromise(authority, authority.ca.current.id)


def test_a_retired_one_is_named_though_nothing_of_it_is_here(authority: Authority, instance: aws.Instance) -> None:
    former, certificate = rotated(authority, instance)
    gone = authority.ca.issuers[former].certificate
    retirement.retire(authority.config, authority.database, former, None, now(), while_valid=True)
    shutil.rmtree(authority.config.home / home.folder_of(former))
    key_file(authority.config.home, former).unlink()
    compromise(authority, former)
    assert state(authority, former) == "compromised"
    assert former in issuers.retired(authority.database)
    left = aftermath(authority.config, authority.database, former, now())
    assert (left.file, left.certificate, left.valid) == (None, gone, 1)
    at = authority.ca.standings[former].compromised_at
    assert at is not None
    assert renewal.window_of(authority.ca, certificate) == Window(at, at + COMPROMISED_SECONDS)


def test_a_former_one_is_still_retired(authority: Authority, instance: aws.Instance) -> None:
    former, _ = rotated(authority, instance)
    compromise(authority, former)
    retired = retirement.retire(authority.config, authority.database, former, None, now(), while_valid=True)
    assert (retired.id, retired.valid) == (former, 1)
    assert former in issuers.retired(authority.database)


def test_of_a_mark_and_an_activation_at_once_one_happens(authority: Authority) -> None:
    prepared = prepare(authority.config.home)
    reload(authority)

    def activated(_database: object) -> None:
        activate(authority, prepared)

    racing = Meanwhile(authority.database, activated)
    with pytest.raises(RequestError, match="signs now"):
        stolen.compromise(authority.config, racing, prepared, now())
    assert state(authority, prepared) == "signing"


def test_of_an_activation_and_a_mark_at_once_one_happens(authority: Authority) -> None:
    prepared = prepare(authority.config.home)
    reload(authority)

    def marked(_database: object) -> None:
        compromise(authority, prepared)

    racing = Meanwhile(authority.database, marked)
    with pytest.raises(RequestError, match="it can never sign"):
        rotation.activate(authority.config, racing, prepared, None, now())
    assert state(authority, prepared) == "compromised"
