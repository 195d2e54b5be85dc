"""Two hundred VMs in three clouds: whoever is on call learns what was refused, what lifts it, and what is red."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from monitoring.two_hundred import (
    NOTE,
    OUTSIDE,
    OUTSIDE_ADDRESS,
    PROJECT_NUMBER,
    SIZES,
    STOLEN,
    STRANGE_PROJECT,
    TICKET,
    Fleet,
    befall,
    served,
)
from running import ACCOUNT, PROVISIONER
from stand_ins import SUBSCRIPTION

from acme_iid.store.database import open_store

RULES = {
    "names": f"allow of {PROVISIONER}",
    "project": "projects of GCE",
    "age": "instance_age",
    "stale": "freshness",
    "rebuilt": "first use",
    "blocked": "blocked instance",
    "stolen": "closed name",
}
LIFTS = {
    "names": f"acme-iid-ca provisioner update '{PROVISIONER}' --allow web.azure.local",
    "project": f"acme-iid-ca provisioner update GCE --gcp-project {STRANGE_PROJECT}",
    "age": "acme-iid-ca instance release {id} --to {thumbprint}",
    "rebuilt": "acme-iid-ca instance release {id} --to {thumbprint}",
    "blocked": "acme-iid-ca instance unblock {id}",
    "stolen": "acme-iid-ca instance reopen {id} {name}",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The fleet after all that befell it. Nothing was red before."""
    with served(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.ca.cli("backup", fleet.ca.home.parent / "backup.tar")
        fleet.prometheus.until(lambda: not fleet.prometheus.firing(), "quiet")
        assert fleet.json("status")["troubles"] == []
        befall(fleet)
        yield fleet


def test_two_hundred_vms_have_certificates_and_some_lost_them(fleet: Fleet) -> None:
    listed = fleet.json("certificate", "list", "--limit", "1000")
    assert len(listed) == sum(SIZES.values()) == 200
    assert len({row["instance"] for row in listed}) == len({row["account"] for row in listed}) == 200
    assert Counter(row["status"] for row in listed) == {"valid": 170, "revoked": 30}
    assert all(STOLEN in row["instance"] for row in listed if row["status"] == "revoked")
    by_bulk = fleet.json("events", "--bulk", fleet.bulk, "--limit", "1000")
    assert Counter(event["kind"] for event in by_bulk) == {"certificate.revoked": 30, "key.compromised": 30}
    assert all(event["ticket"] == TICKET and event["actor"]["reason"] == NOTE for event in by_bulk)


def test_alerts_fire_from_what_befell_them(fleet: Fleet) -> None:
    # The VMs that lost their certificates ask again and again, as VMs do.
    def come_again() -> bool:
        for vm in fleet.groups["stolen"][1:6]:
            assert "was closed to this instance" in (vm.refused() or "")
        return {"AcmeIidRefusals", "AcmeIidValidationsFail"} <= fleet.prometheus.firing()

    fleet.prometheus.until(come_again, "refusals")
    with closing(open_store(fleet.ca.store_url)) as store:
        (row,) = store.rows("SELECT count(*) AS issued FROM certificates")
    fleet.prometheus.until(
        lambda: fleet.prometheus.value("sum(acme_iid_issued_total)") == row["issued"], "all to be counted"
    )
    series = fleet.prometheus.series("acme_iid_refused_total")
    assert {"admission", "names", "freshness", "first use"} <= {labels["step"] for labels in series}


@pytest.mark.parametrize("why", RULES)
def test_one_command_says_why_and_what_lifts_it(fleet: Fleet, why: str) -> None:
    vm = fleet.refused[why]
    words = (vm.id, vm.name, fleet.addresses[why])
    answers = {word: fleet.ca.cli("why", word).stdout for word in words}
    assert len(set(answers.values())) == 1, answers
    (fields,) = fleet.json("why", vm.id)
    assert vm.account is not None
    assert fields["instance"].rpartition(":")[2] == vm.id
    assert (fields["rule"], fields["names"], fields["remote"]) == (RULES[why], [vm.name], fleet.addresses[why])
    assert f"by the rule: {RULES[why]}\n" in answers[vm.id]
    lift = fields["lifted_by"]
    if why not in LIFTS:
        assert lift is None
        assert "lifted by: nothing here" in answers[vm.id]
        return
    assert lift == LIFTS[why].format(id=fields["instance"], name=vm.name, thumbprint=vm.account.key.thumbprint)
    assert f"lifted by: {lift}\n" in answers[vm.id]
    assert vm.refused() is not None
    program, *arguments = shlex.split(lift)
    assert program == "acme-iid-ca"
    said = fleet.ca.cli(*arguments)
    if "SIGHUP" in said.stdout + said.stderr:
        fleet.hang_up()
    fleet.until(lambda: vm.refused() is None)
    assert "It got a certificate after that" in fleet.ca.cli("why", vm.id).stdout


def test_a_name_outside_the_domains_is_answered_from_name_and_address(fleet: Fleet) -> None:
    assert fleet.ca.cli("why", OUTSIDE).stdout == fleet.ca.cli("why", OUTSIDE_ADDRESS).stdout
    (fields,) = fleet.json("why", OUTSIDE)
    assert (fields["kind"], fields["rule"]) == ("order.refused", "domains")
    assert fields["lifted_by"] == "acme-iid-ca issuer rotate prepare --domain DOMAIN"


def test_a_rebuilt_vm_is_shown_with_its_new_key(fleet: Fleet) -> None:
    vm = fleet.groups["aws"][1]
    before = vm.account
    assert before is not None
    vm.joins(fleet.ca.wire())
    assert vm.account is not None
    assert "belongs to another account key" in (vm.refused() or "")
    shown = fleet.json("instance", "show", vm.id)
    assert shown["key_thumbprint"] == before.key.thumbprint
    assert shown["last_event"].startswith("challenge.refused at ")
    fleet.ca.cli("instance", "release", vm.id, "--to", vm.account.key.thumbprint, "--revoke")
    vm.obtain()
    shown = fleet.json("instance", "show", vm.id)
    assert (shown["owner"], shown["region"]) == (ACCOUNT, "us-west-2")
    assert shown["key_thumbprint"] == vm.account.key.thumbprint
    assert [text.partition(" ")[2] for text in shown["certificates"]] == ["(valid)", "(revoked)"]
    assert shown["closed_names"] == []


def test_who_may_hold_what_is_shown(fleet: Fleet) -> None:
    rows = fleet.json("policy", "show")
    assert not any(row["any_name"] for row in rows)
    held = {(row["owner"], row["may_hold"]) for row in rows}
    for owner in (ACCOUNT, STOLEN):
        assert (f"aws {owner}", "*.aws.local") in held
    assert ("gcp my-project", "{instance_name}.gce.local") in held
    assert (f"azure {SUBSCRIPTION}", "*.azure.local") in held


def test_what_is_overdue_is_red_until_it_is_renewed(fleet: Fleet) -> None:
    renew = ("certificate", "renew-now", "--owner", str(PROJECT_NUMBER), "--over", "1s", "--reason", "a new image")
    vms = fleet.groups["gcp"]
    asked = {str(vm.certificates[-1].leaf.serial_number) for vm in vms}
    number = fleet.json(*renew)["certificates"]
    fleet.until(lambda: len(fleet.json("certificate", "list", "--overdue", "--limit", "1000")) == number)
    overdue = fleet.json("certificate", "list", "--overdue", "--limit", "1000")
    assert {row["serial"] for row in overdue} == asked
    assert len(fleet.json("certificate", "list", "--overdue", "--name", vms[0].name)) == 1
    done = fleet.ca.try_cli("status")
    assert done.code == 1
    assert done.stdout.splitlines()[1] == f"RED    {number} certificates are overdue for renewal."
    assert "acme-iid-ca certificate list --overdue" in done.stdout.splitlines()[2]
    assert re.search(r"  \d+ x closed name\n", done.stdout)
    fleet.prometheus.until(lambda: "AcmeIidFleetOverdue" in fleet.prometheus.firing(), "the overdue")
    for vm in vms:
        vm.obtain()
    # A process may not have said yet that it has taken up what was changed.
    fleet.until(lambda: fleet.ca.try_cli("status").stdout.splitlines()[1] == "Nothing is red.")
    fleet.prometheus.until(lambda: "AcmeIidFleetOverdue" not in fleet.prometheus.firing(), "the renewals to be seen")


def test_a_reader_of_the_stream_recomputes_the_head(fleet: Fleet) -> None:
    # Nobody asks for anything any more.
    checked = fleet.json("events", "--check")
    while checked["unsealed"]:
        checked = fleet.json("events", "--check")
    fleet.until(lambda: fleet.follower.fault is not None or fleet.follower.head == checked["head"])
    assert fleet.follower.fault is None
    seen = fleet.follower.events
    with closing(open_store(fleet.ca.store_url)) as store:
        (row,) = store.rows("SELECT count(*) AS issued FROM certificates")
    assert sum(event["kind"] == "certificate.issued" for event in seen) == row["issued"]
    tickets = [event for event in seen if event["detail"].get("ticket") == TICKET]
    assert {event["detail"]["bulk"] for event in tickets} == {fleet.bulk}
    assert Counter(event["kind"] for event in tickets)["certificate.revoked"] == SIZES["stolen"]
    assert f"head {fleet.follower.head}\n" in fleet.ca.cli("events", "--check", "--expect", fleet.follower.head).stdout
