"""Acts on certificates over the API: lists, one, its chain, revocation and renewal before the time."""

from __future__ import annotations

import issued
import pytest
from asking import Api
from issued import OWNER, issue, vm
from writing import put

from acme_iid.admin.roles import Role
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, issuers
from acme_iid.store.writes import Statement

HOUR, DAY = 3600, 86400


@pytest.fixture
def fleet(api: Api) -> list[Certificate]:
    """One that ends in an hour, one that lasts, one that has ended, and a host's that was revoked."""
    now, database, der = api.now, api.database, issued.leaf()
    made = [
        issue(database, "soon.local", at=now - 23 * HOUR, instance=vm(1), provisioner="Web", profile="short", der=der),
        issue(database, "lasts.local", at=now - HOUR, instance=vm(2), provisioner="Web", der=der, key_id="k" * 64),
        issue(database, "ended.local", at=now - 2 * DAY, instance=vm(3), provisioner="Db", der=der),
        issue(database, "host.local", at=now - 2 * HOUR, der=der),
    ]
    put(database, certificates.revoke(made[3], 4, "operator", now))
    return made


def names(api: Api, **wanted: object) -> list[str]:
    return [row["names"][0].removesuffix(".local") for row in api.get("/certificates", **wanted)["items"]]


def serial(certificate: Certificate) -> str:
    return str(int(certificate.serial, 16))


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["lasts", "host", "soon", "ended"]), ({"status": "valid"}, ["lasts", "soon"]),
        ({"status": "expired"}, ["ended"]), ({"status": "revoked"}, ["host"]), ({"expires_before": "4h"}, ["soon"]),
        ({"expires_before": "4h", "status": "valid"}, ["soon"]), ({"overdue": True}, ["soon"]),
        ({"owner": OWNER}, ["lasts", "soon", "ended"]), ({"name": "host.local"}, ["host"]),
        ({"instance": vm(2)}, ["lasts"]), ({"instance": vm(2).rpartition(":")[2]}, ["lasts"]),
        ({"provisioner": "Web", "status": "valid"}, ["lasts", "soon"]), ({"profile": "short"}, ["soon"]),
        ({"since": "90m"}, ["lasts"]), ({"until": "1d"}, ["ended"]),
        ({"account": "t"}, ["lasts", "host", "soon", "ended"]),
    ],
)  # fmt: skip
def test_a_list_has_the_filters_of_the_command(api: Api, wanted: dict[str, object], found: list[str]) -> None:
    assert names(api, **wanted) == found


def test_what_is_overdue_is_not_expired(api: Api) -> None:
    reply = api.ask("GET", "/certificates", status="expired", overdue=True)
    assert (reply.status, reply.parameter) == (400, "status")


@pytest.mark.usefixtures("fleet")
def test_certificates_are_listed_page_by_page(api: Api) -> None:
    found: list[str] = []
    before: dict[str, object] = {}
    for _ in range(2):
        page = api.get("/certificates", limit=2, **before)
        found += [row["names"][0] for row in page["items"]]
        before = {"before": page["next"]}
    assert found == ["lasts.local", "host.local", "soon.local", "ended.local"]
    assert before == {"before": None}
    reply = api.ask("GET", "/certificates", before="12.abc")
    assert (reply.status, reply.parameter) == (400, "before")


def test_a_certificate_is_shown_by_any_spelling_of_its_number(api: Api, fleet: list[Certificate]) -> None:
    shown = api.get(f"/certificates/{serial(fleet[0])}")
    assert (shown["provisioner"], shown["profile"], shown["status"]) == ("Web", "short", "valid")
    assert api.get(f"/certificates/0x{fleet[0].serial}") == shown
    assert api.ask("GET", "/certificates/12").status == 404
    assert api.ask("GET", "/certificates/12/pem").status == 404


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "0x", "9" * 101, "1e3", str(1 << 160), "\u0661"])
def test_what_is_no_serial_number_is_told(api: Api, number: str) -> None:
    reply = api.ask("GET", f"/certificates/{number}")
    assert (reply.status, reply.parameter) == (400, "serial")


def test_a_chain_is_text(api: Api, fleet: list[Certificate]) -> None:
    reply = api.ask("GET", f"/certificates/{serial(fleet[0])}/pem", Role.VIEWER)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/pem-certificate-chain")
    assert reply.content.startswith("-----BEGIN CERTIFICATE-----\n")


def test_a_certificate_is_revoked_once_with_a_reason_and_a_note(api: Api, fleet: list[Certificate]) -> None:
    path = f"/certificates/{serial(fleet[1])}/revoke"
    assert api.post(path, reason="keycompromise", note="INC-7")["status"] == "revoked"
    assert api.get(f"/certificates/{serial(fleet[1])}")["revocation_reason"] == "keyCompromise"
    event = api.get("/events", kind="certificate.revoked", limit=1)["items"][0]
    assert (event["detail"]["reason"], event["detail"]["actor"]["reason"]) == ("keyCompromise", "INC-7")
    assert event["detail"]["serial"] == serial(fleet[1])
    again = api.ask("POST", path)
    assert (again.status, again.content["type"]) == (409, "urn:acme-iid:admin:conflict")
    assert api.ask("POST", "/certificates/12/revoke").status == 404


def test_a_certificate_of_a_retired_issuer_is_not_revoked(api: Api, fleet: list[Certificate]) -> None:
    put(api.database, Statement("UPDATE issuers SET activated_at = :at, retired_at = :at", {"at": api.now}))
    assert issuers.retired(api.database)
    assert api.ask("POST", f"/certificates/{serial(fleet[1])}/revoke").status == 409


def test_an_unknown_reason_is_told_with_those_that_there_are(api: Api, fleet: list[Certificate]) -> None:
    reply = api.ask("POST", f"/certificates/{serial(fleet[0])}/revoke", reason="bored")
    assert (reply.status, reply.parameter) == (400, "reason")
    assert "cessationOfOperation" in reply.content["detail"]
    assert names(api, status="revoked") == ["host"]


def test_clients_are_asked_to_renew_what_a_filter_finds(api: Api, fleet: list[Certificate]) -> None:
    assert api.post("/certificates/renew-now", over="10m", provisioner="Web", reason="INC-7") == {
        "certificates": 2, "seconds": 600,
    }  # fmt: skip
    asked = certificates.get(api.database, fleet[1].id)
    assert asked is not None
    assert asked.renew_until is not None
    assert api.now < asked.renew_until <= api.now + 600
    event = api.get("/events", kind="certificate.renewal_asked", limit=1)["items"][0]
    assert event["detail"]["actor"]["reason"] == "INC-7"
    assert api.ask("GET", "/certificates/renew-now").status == 405
