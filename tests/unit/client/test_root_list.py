"""The list of a CA's roots as the client judges it: what it takes up, gives up and refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.issuance import ceremony, crl
from acme_iid.issuance.crl import Revoked
from acme_iid.issuance.issuer import Signer
from acme_iid_client.acme.root_list import MAX_ROOTS, OlderListError, RootList, Trusted, read, take_up
from acme_iid_client.errors import ClientError
from acme_iid_client.x509.authorities import RevokedIssuerError, list_number, require_unrevoked

SECONDS = int(time.time())
NOW = datetime.fromtimestamp(SECONDS, UTC)
DAY = 86400
OLD, NEW, LAST, OTHER = (ceremony.create_root("My CA", SECONDS) for _ in range(4))
STOLEN = ceremony.create_intermediate(OLD, "My CA", SECONDS)
LINK = ceremony.link(OLD, NEW.certificate, SECONDS)
SECOND = ceremony.link(NEW, LAST.certificate, SECONDS)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def entry(root: Signer, link: x509.Certificate | None = None, until: str | None = None) -> dict[str, Any]:
    return {
        "pem": pem(root.certificate),
        "link": None if link is None else pem(link),
        "from": "2026-01-01T00:00:00Z",
        "until": until,
    }


def listed(*entries: dict[str, Any], version: int = SECONDS, crls: Iterable[bytes] = ()) -> RootList:
    lists = "".join(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode() for der in crls)
    return read(json.dumps({"version": version, "roots": entries, "crl": lists or None}).encode())


def after(trusted: Trusted, document: RootList, said: list[str] | None = None) -> Trusted:
    sentences: list[str] = [] if said is None else said
    return take_up(trusted, document, NOW, sentences.append)


def dropped(seconds: int = -60) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def signed_by(signer: Signer, root: Signer) -> x509.Certificate:
    """What whoever has a key makes in the form of a link."""
    public = root.key.public_key()
    builder = ceremony._builder(
        root.certificate.subject, public, ceremony.ROOT, x509.SubjectKeyIdentifier.from_public_key(public), None
    )
    return ceremony._sign(
        builder, signer.certificate.subject, signer.key_identifier, signer.key, SECONDS, SECONDS + DAY
    )


KNOWN = Trusted((OLD.certificate,))


def test_a_new_root_is_taken_up_by_the_signature_of_a_trusted_one() -> None:
    said: list[str] = []
    trusted = after(KNOWN, listed(entry(NEW, LINK), entry(OLD)), said)
    assert trusted.roots == (OLD.certificate, NEW.certificate)
    assert trusted.version == SECONDS
    assert "which a root that is trusted vouches for" in said[0]


def test_from_link_to_link_whatever_their_order() -> None:
    entries = entry(LAST, SECOND), entry(NEW, LINK), entry(OLD)
    assert set(after(KNOWN, listed(*entries)).roots) == {root.certificate for root in (OLD, NEW, LAST)}
    # Without the one between, the last one is a stranger's.
    assert after(KNOWN, listed(entries[0], entries[2])).roots == KNOWN.roots


@pytest.mark.parametrize("signer", [STOLEN, NEW, OTHER], ids=["the issuer", "the root itself", "another root"])
def test_a_root_that_no_trusted_root_has_signed_is_refused(signer: Signer) -> None:
    said: list[str] = []
    for link in (signed_by(signer, NEW), None, STOLEN.certificate):
        said.clear()
        document = listed(entry(NEW, link), entry(OLD))
        trusted = after(KNOWN, document, said)
        assert trusted.roots == KNOWN.roots
        assert "which no root that is trusted vouches for" in said[0]
        # Said once, and not each day.
        said.clear()
        after(trusted, document, said)
        assert said == []


def test_an_issuer_that_is_trusted_as_a_root_vouches_for_none() -> None:
    """Some bootstrap an intermediate: it is no root, and may be in other hands than one."""
    trusted = Trusted((STOLEN.certificate,))
    assert after(trusted, listed(entry(NEW, signed_by(STOLEN, NEW)))).roots == trusted.roots


def test_a_link_is_for_the_root_that_it_comes_with() -> None:
    for link in (ceremony.link(OLD, LAST.certificate, SECONDS), signed_by(OLD, OTHER)):
        assert after(KNOWN, listed(entry(NEW, link), entry(OLD))).roots == KNOWN.roots
    ended = ceremony.link(OLD, NEW.certificate, SECONDS - 9 * 365 * DAY)
    assert after(KNOWN, listed(entry(NEW, ended), entry(OLD))).roots == (OLD.certificate, NEW.certificate)
    late = NOW + timedelta(days=20 * 365)
    assert take_up(KNOWN, listed(entry(NEW, LINK)), late, print).roots == KNOWN.roots


def test_a_link_is_for_a_roots_own_key() -> None:
    """The former root may have signed another key of the same name: an intermediate's, for one."""
    impostor = ceremony.create_root("My CA", SECONDS, itself=NEW.certificate.subject)
    assert after(KNOWN, listed(entry(impostor, LINK), entry(OLD))).roots == KNOWN.roots


def test_what_is_taken_up_signs_itself() -> None:
    document = listed({**entry(NEW, LINK), "pem": pem(LINK)}, entry(OLD))
    assert after(KNOWN, document).roots == KNOWN.roots


def test_a_root_of_a_trusted_ones_name_is_refused() -> None:
    same = ceremony.create_root("My CA", SECONDS, itself=OLD.certificate.subject)
    assert after(KNOWN, listed(entry(same, signed_by(OLD, same)), entry(OLD))).roots == KNOWN.roots
    both = Trusted((OTHER.certificate, OLD.certificate))
    assert after(both, listed(entry(same, signed_by(OTHER, same)))).roots == both.roots


def test_an_older_list_is_refused_and_the_same_one_is_not() -> None:
    trusted = Trusted((OLD.certificate,), SECONDS)
    with pytest.raises(OlderListError, match="plays an old list back"):
        after(trusted, listed(entry(NEW, LINK), entry(OLD), version=SECONDS - 1))
    assert len(after(trusted, listed(entry(NEW, LINK), entry(OLD))).roots) == 2


def test_a_version_of_the_time_to_come_is_refused() -> None:
    """Whoever has an issuer's key could shut out every later list with it."""
    with pytest.raises(ClientError, match="is a time that is still to come"):
        after(KNOWN, listed(entry(OLD), version=SECONDS + 2 * DAY))
    assert after(KNOWN, listed(entry(OLD), version=SECONDS + 600)).version == SECONDS + 600


def test_a_root_is_given_up_when_it_was_dropped_and_another_one_stays() -> None:
    both = Trusted((OLD.certificate, NEW.certificate))
    said: list[str] = []
    assert after(both, listed(entry(NEW, LINK), entry(OLD, until=dropped())), said).roots == (NEW.certificate,)
    assert "is trusted no more" in said[0]
    # One that is dropped later, or of which nothing is said, stays.
    assert after(both, listed(entry(NEW, LINK), entry(OLD, until=dropped(60)))).roots == both.roots
    assert after(both, listed(entry(NEW, LINK))).roots == both.roots


def test_the_last_root_stays_whatever_is_said() -> None:
    both = Trusted((OLD.certificate, NEW.certificate))
    everything = listed(entry(NEW, LINK, until=dropped()), entry(OLD, until=dropped()))
    assert after(both, everything).roots == both.roots
    assert after(KNOWN, listed(entry(OLD, until=dropped()))).roots == KNOWN.roots
    ended = ceremony.create_root("Ended CA", SECONDS - 20 * 365 * DAY)
    with_ended = Trusted((ended.certificate, OLD.certificate))
    assert after(with_ended, listed(entry(OLD, until=dropped()))).roots == with_ended.roots


def test_a_dropped_root_does_not_come_back_by_its_link() -> None:
    trusted = Trusted((OLD.certificate,))
    assert after(trusted, listed(entry(NEW, LINK, until=dropped()), entry(OLD))).roots == trusted.roots


def test_who_slept_through_a_rotation_takes_up_and_gives_up_at_once() -> None:
    assert after(KNOWN, listed(entry(NEW, LINK), entry(OLD, until=dropped()))).roots == (NEW.certificate,)


def revoking(root: Signer, number: int, *certificates: x509.Certificate) -> bytes:
    entries = [Revoked(certificate.serial_number, SECONDS, 1) for certificate in certificates]
    return crl.sign(root, entries, number, SECONDS, SECONDS + DAY)


def test_a_list_of_a_trusted_root_revokes_an_issuer() -> None:
    trusted = after(KNOWN, listed(entry(OLD), crls=[revoking(OLD, 1, STOLEN.certificate)]))
    with pytest.raises(RevokedIssuerError, match=r"My Intermediate CA.* was revoked by the CA's root"):
        require_unrevoked([STOLEN.certificate], trusted.lists)
    other = ceremony.create_intermediate(OLD, "My CA", SECONDS)
    require_unrevoked([other.certificate], trusted.lists)


def test_a_list_that_no_trusted_root_has_signed_says_nothing() -> None:
    forged = Signer(OLD.certificate, STOLEN.key)
    for der in (revoking(forged, 9, STOLEN.certificate), revoking(OTHER, 9, STOLEN.certificate)):
        assert after(KNOWN, listed(entry(OLD), crls=[der])).lists == ()


def test_the_number_of_a_list_never_falls() -> None:
    trusted = after(KNOWN, listed(entry(OLD), crls=[revoking(OLD, 5, STOLEN.certificate)]))
    for crls in ([revoking(OLD, 4)], [revoking(OLD, 5)], []):
        again = after(trusted, listed(entry(OLD), crls=crls))
        assert [list_number(one) for one in again.lists] == [5]
        with pytest.raises(RevokedIssuerError):
            require_unrevoked([STOLEN.certificate], again.lists)
    assert [list_number(one) for one in after(trusted, listed(entry(OLD), crls=[revoking(OLD, 6)])).lists] == [6]


def test_each_root_has_a_list_of_its_own() -> None:
    both = Trusted((OLD.certificate, NEW.certificate))
    document = listed(entry(NEW, LINK), entry(OLD), crls=[revoking(OLD, 7), revoking(NEW, 3)])
    assert [list_number(one) for one in after(both, document).lists] == [7, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"version": true, "roots": []}',
        b'{"version": -1, "roots": []}',
        b'{"version": 1.5, "roots": []}',
        b'{"version": 1, "roots": {}}',
        b'{"version": 1, "roots": [1]}',
        b'{"version": 1, "roots": [{"pem": null}]}',
        b'{"version": 1, "roots": [{"pem": "x"}]}',
        b'{"version": 1, "roots": [], "crl": 5}',
        b'{"version": 1, "roots": [], "crl": "-----BEGIN X509 CRL-----\\nAAAA\\n-----END X509 CRL-----"}',
        json.dumps({"version": 1, "roots": [entry(OLD)] * (MAX_ROOTS + 1)}).encode(),
        json.dumps({"version": 1, "roots": [entry(OLD, until="2026-01-01T00:00:00")]}).encode(),
        json.dumps({"version": 1, "roots": [{**entry(OLD), "pem": pem(OLD.certificate) * 2}]}).encode(),
        b'{"version": 1, "roots": [' + b"[" * 100_000,
        b" " * (1024 * 1024 + 1),
    ],
)
def test_what_is_no_list_of_roots_is_refused(content: bytes) -> None:
    with pytest.raises(ClientError, match="It was not taken up"):
        read(content)
