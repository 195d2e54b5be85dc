"""Renewal information and orders that replace a certificate, as a strict client sees them (RFC 9773)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from running import CA, answer
from wire import Account, Issued, b64, problem

from acme_iid.protocol.renewal import CertificateId
from acme_iid.simulator import aws


def named(issued: Issued) -> str:
    """The certificate's RFC 9773 identifier."""
    authority = issued.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority is not None
    return str(CertificateId(authority, issued.leaf.serial_number))


def window(account: Account, issued: Issued) -> tuple[datetime, datetime]:
    """When the CA wants it renewed."""
    answered = account.wire.session.get(f"{account.wire.directory['renewalInfo']}/{named(issued)}", timeout=10)
    assert answered.status_code == 200, answered.text
    assert answered.headers["Content-Type"] == "application/json"
    assert int(answered.headers["Retry-After"]) >= 60
    suggested = answered.json()["suggestedWindow"]
    start, end = (datetime.fromisoformat(suggested[name]) for name in ("start", "end"))
    assert start < end
    return start, end


def test_a_certificates_window_lies_in_its_lifetime_until_it_is_revoked(
    account: Account, instance: aws.Instance
) -> None:
    issued = account.obtain("ari.local", answer=answer(instance))
    start, end = window(account, issued)
    assert datetime.now(UTC) < start < end < issued.leaf.not_valid_after_utc
    account.post(account.wire.directory["revokeCert"], {"certificate": b64(issued.der), "reason": 4})
    assert window(account, issued)[1] < datetime.now(UTC)


def test_nobody_learns_of_a_certificate_that_this_ca_did_not_issue(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("ari.local", answer=answer(instance))
    key, _, serial = named(issued).partition(".")
    base = account.wire.directory["renewalInfo"]
    for text, status in ((f"{key}.AQ", 404), (f"{b64(b'another key')}.{serial}", 404), ("nonsense", 400), ("", 404)):
        refused = account.wire.session.get(f"{base}/{text}", timeout=10)
        assert (refused.status_code, problem(refused)) == (status, "malformed")


def test_an_order_replaces_a_certificate_once(account: Account, instance: aws.Instance) -> None:
    issued = account.obtain("ari.local", answer=answer(instance))
    first = account.order("ari.local", "more.local", replaces=named(issued))
    assert first.status_code == 201, first.text
    assert first.json()["replaces"] == named(issued)
    again = account.order("ari.local", replaces=named(issued))
    assert (again.status_code, problem(again)) == (409, "alreadyReplaced")
    # Once the first order can lead to nothing, another may.
    account.post(first.json()["authorizations"][0], {"status": "deactivated"})
    assert account.order("ari.local", replaces=named(issued)).status_code == 201


@pytest.mark.parametrize("value", ["nonsense", 7, ["a"]])
def test_an_order_that_replaces_nothing_is_malformed(account: Account, value: object) -> None:
    assert problem(account.order("ari.local", replaces=value)) == "malformed"


def test_an_order_replaces_only_a_certificate_of_its_account_and_names(
    account: Account, shared_ca: CA, instance: aws.Instance
) -> None:
    issued = account.obtain("ari.local", answer=answer(instance))
    assert problem(account.order("other.local", replaces=named(issued))) == "malformed"
    assert problem(shared_ca.account().order("ari.local", replaces=named(issued))) == "unauthorized"


def test_an_operator_has_a_fleet_renewed_one_after_another(own_ca: CA) -> None:
    own_ca.start("--workers", "1")
    account = own_ca.account()
    instances = [aws.Instance(account="123456789042", image=f"ami-0000000000000000{number % 2}") for number in range(4)]
    issued = [account.obtain("fleet.local", answer=answer(instance)) for instance in instances]
    before = int(time.time())
    said = own_ca.cli(
        "certificate", "renew-now", "--image", "ami-00000000000000000", "--over", "2h", "--reason", "new image"
    )
    assert "2 certificates" in said.stdout
    windows = [window(account, entry) for entry in issued]
    own = [(start.timestamp() - before, end.timestamp() - before) for start, end in windows]
    # Those of the other image keep their own windows, two thirds of a day from now.
    assert all(start > 12 * 3600 for start, _ in (own[1], own[3]))
    early, late = sorted((own[0], own[2]))
    assert (round(early[0] / 60), round(early[1] / 60)) == (0, 60)
    assert (round(late[0] / 60), round(late[1] / 60)) == (60, 120)
    assert "certificate.renewal_asked" in own_ca.cli("events").stdout
