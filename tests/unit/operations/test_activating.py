"""A prepared issuer is activated, or refused with a sentence while the running one goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from acting import BAR, FOO, Actor, kinds, now
from cryptography import x509
from rotating import YEAR, activate, key_file, prepare, reload, settle
from writing import put

from acme_iid.authority import Authority, reading, renewal
from acme_iid.errors import AcmeError, RequestError
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import rotation
from acme_iid.operations.stolen import aftermath
from acme_iid.protocol.renewal import COMPROMISED_SECONDS, CertificateId, Window, window
from acme_iid.protocol.resources import Certificate
from acme_iid.simulator import aws
from acme_iid.store import issuers, servers
from acme_iid.store.database import Database
from acme_iid.store.limits import Rate
from acme_iid.store.servers import Server

HOUR, DAY = 3600, 86400


def refused(authority: Authority, short_id: str, *, compromised: bool = False) -> str:
    """What an activation is refused with."""
    with pytest.raises(RequestError) as error:
        activate(authority, short_id, compromised=compromised)
    assert issuers.signing(authority.database) == authority.ca.current.id
    return str(error.value)


def test_an_issuer_that_ends_soon_is_refused(authority: Authority) -> None:
    home = authority.config.home
    # A parent that signs for ten minutes only.
    assert "the issuer ends in 0 hours" in refused(authority, prepare(home, 600))
    longest = authority.config.default_profile.lifetimes.maximum
    assert "less than 2 lives" in refused(authority, prepare(home, 2 * longest - HOUR))
    assert "ends before the one that signs" in refused(authority, prepare(home, 4 * YEAR))
    assert "not valid for another" in refused(authority, prepare(home, 6 * YEAR, begins=HOUR))


def test_one_that_was_made_for_the_same_lifetime_is_taken(authority: Authority) -> None:
    """Its times are backdated by a minute, or a company's clock is behind."""
    second = prepare(authority.config.home, 5 * YEAR - HOUR)
    reload(authority)
    activate(authority, second)
    signing = issuers.signing(authority.database)
    assert signing is not None
    assert signing.startswith(second)


def test_a_stolen_key_is_replaced_by_an_issuer_that_ends_before(authority: Authority) -> None:
    home = authority.config.home
    # It has to be good for whole certificates all the same.
    assert "the issuer ends in 0 hours" in refused(authority, prepare(home, 600), compromised=True)
    second = prepare(home, 4 * YEAR)
    reload(authority)
    former = activate(authority, second, compromised=True)
    standings = issuers.standings(issuers.every(authority.database))
    assert {identity[:16]: standing.state for identity, standing in standings.items() if standing.activated_at} == {
        former[:16]: "compromised",
        second: "signing",
    }
    assert kinds(authority.database)[-2:] == ["issuer.activated", "issuer.compromised"]


def test_a_key_that_nobody_holds_is_not_activated(authority: Authority) -> None:
    home = authority.config.home
    first, second = prepare(home), prepare(home)
    key_file(home, second).unlink()
    with pytest.raises(CAFileError, match="cannot be read"):
        activate(authority, second)
    # One that is another's fits nothing either.
    key_file(home, second).write_bytes(key_file(home, first).read_bytes())
    key_file(home, second).chmod(0o600)
    with pytest.raises(CAFileError, match="is not the key of"):
        activate(authority, second)


def test_a_live_server_without_the_key_refuses_it(authority: Authority) -> None:
    second = prepare(authority.config.home)
    reload(authority)
    known = authority.ca.current.id
    server = Server("here", "0", "0", "0", (known,), now(), now())
    put(authority.database, *servers.write(server))
    assert "1 of the servers that run lack the issuer's key: here" in refused(authority, second)
    whole = list(authority.ca.issuers)
    put(authority.database, *servers.write(replace(server, issuers=tuple(whole))))
    activate(authority, second)
    assert authority.ca.current.short_id == second


def test_the_one_that_was_activated_last_signs_whatever_clocks_say(authority: Authority) -> None:
    home, config, database = authority.config.home, authority.config, authority.database
    # All in one second, and then with a clock that was set back.
    for at in (now(), now(), now() - 30):
        following = prepare(home, 5 * YEAR + DAY)
        reload(authority)
        rotation.activate(config, database, following, None, at)
        assert str(issuers.signing(database))[:16] == following


def test_an_issuer_takes_one_turn(authority: Authority) -> None:
    first, second = authority.ca.current.short_id, prepare(authority.config.home)
    reload(authority)
    activate(authority, second)
    assert "signs already" in refused(authority, second)
    assert "was activated before" in refused(authority, first)


def test_nothing_is_issued_under_a_compromised_issuer(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    order = actor.ready(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)

    def meanwhile(_database: Database) -> None:
        heard = authority.ca.current
        activate(authority, second, compromised=True)
        # This process has not heard of it yet.
        authority.ca.use(heard.id)

    actor.finalize(order, happens=meanwhile)
    (issued,) = authority.database.rows("SELECT issuer_id FROM certificates")
    assert issued["issuer_id"][:16] == second


def test_a_server_without_the_key_issues_nothing_then(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    order = actor.ready(instance, BAR)
    second = prepare(authority.config.home)
    held = authority.ca.issuers
    reload(authority)

    def meanwhile(_database: Database) -> None:
        heard = authority.ca.current
        activate(authority, second, compromised=True)
        authority.ca.use(heard.id)
        authority.ca.issuers = held

    with pytest.raises(AcmeError, match="is not in this server's home"):
        actor.finalize(order, happens=meanwhile)
    assert authority.database.rows("SELECT n FROM certificates") == []


def spread(certificate: Certificate, authority: Authority) -> Window:
    return renewal.window_of(authority.ca, certificate)


def test_certificates_of_a_former_issuer_are_hurried(authority: Authority, instance: aws.Instance) -> None:
    actor = Actor(authority)
    certificate = actor.certificate(instance, BAR)
    usual = window(certificate)
    second = prepare(authority.config.home)
    reload(authority)
    assert spread(certificate, authority) == usual
    activate(authority, second)
    standing = authority.ca.standings[certificate.issuer_id]
    assert standing.replaced_at is not None
    life = certificate.not_after - certificate.not_before
    hurried = spread(certificate, authority)
    # Once every server has taken up the new issuer, over a day or a sixth of a short life.
    assert hurried == (standing.replaced_at + 60, standing.replaced_at + 60 + min(DAY, life // 6))
    assert hurried.start < usual.start
    # What the new one has signed is not.
    renewed = actor.certificate(instance, FOO)
    assert renewed.issuer_id[:16] == second
    assert spread(renewed, authority) == window(renewed)
    # Nothing was written to the certificate, and what is due before stays due before.
    found = reading.certificate(authority.database, actor.account, certificate.id)
    assert found == certificate
    early = replace(certificate, renew_from=usual.start - life, renew_until=usual.start - life // 2)
    assert spread(early, authority) == (early.renew_from, early.renew_until)


def test_certificates_of_a_stolen_issuer_are_renewed_at_once(authority: Authority, instance: aws.Instance) -> None:
    certificate = Actor(authority).certificate(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)
    former = activate(authority, second, compromised=True)
    at = authority.ca.standings[former].compromised_at
    assert at is not None
    assert at <= now()
    assert spread(certificate, authority) == (at, at + COMPROMISED_SECONDS)
    left = aftermath(authority.config, authority.database, former, at)
    assert (left.valid, left.last_end) == (1, certificate.not_after)
    assert left.ceremony is not None
    # By then each client has asked, and the spread is over.
    pause = (certificate.not_after - certificate.not_before) // 24
    assert left.renewed_by == at + max(min(6 * HOUR, pause), COMPROMISED_SECONDS)


def test_a_hurried_renewal_does_not_count_as_a_further_one(authority: Authority, instance: aws.Instance) -> None:
    once = replace(authority.config.limits, certificates_per_instance=Rate(1, DAY))
    limited = replace(authority, config=replace(authority.config, limits=once))
    actor = Actor(limited)
    certificate = actor.certificate(instance, BAR)
    second = prepare(authority.config.home)
    reload(authority)
    activate(authority, second)
    settle(authority, 120)
    leaf = x509.load_der_x509_certificate(certificate.der)
    key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key is not None
    replaces = str(CertificateId(key, leaf.serial_number))
    issued = actor.finalize(actor.ready(instance, BAR, replaces=replaces))
    assert issued.issued_at is not None
    with pytest.raises(AcmeError, match="limit"):
        actor.finalize(actor.ready(instance, BAR))


def test_an_id_that_is_no_issuers_activates_nothing(authority: Authority) -> None:
    assert "there is no issuer 'zz'" in refused(authority, "zz")
    assert "there is no issuer ''" in refused(authority, "")
    # Of seventeen ids two begin alike.
    begins = [prepare(authority.config.home)[0] for _ in range(16)] + [authority.ca.current.id[0]]
    twice = next(digit for digit in begins if begins.count(digit) > 1)
    assert f"issuers begin with '{twice}'" in refused(authority, twice)
