"""What ends soon is said while there is time: once in the record and the log, and each time that somebody looks."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace

import pytest
from acting import BAR, Actor, kinds, now
from cryptography import x509
from meanwhile import Meanwhile
from rotating import activate, prepare, reload
from running import CA, PROVISIONER
from writing import put

from acme_iid.authority import Authority, certificate_status
from acme_iid.issuance import ceremony, home, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.operations import expiry
from acme_iid.operations.expiry import ExpiryWatch, Lifetime, percent_left
from acme_iid.simulator import aws
from acme_iid.store import pruning, revocation_lists
from acme_iid.store.database import Database
from acme_iid.store.writes import Statement

DAY = 86400


@pytest.mark.parametrize(
    ("now", "percent"),
    [(1000, None), (1749, None), (1750, 25), (1899, 25), (1900, 10), (1999, 10), (2000, 10), (3000, 10)],
)
def test_there_are_two_thresholds(now: int, percent: int | None) -> None:
    assert percent_left(1000, 2000, now) == percent


def of_roles(authority: Authority, at: int) -> dict[str, int | None]:
    """The thresholds that the CA's own certificates and lists have come to, by their roles."""
    found = expiry.lifetimes(authority.config.home, authority.database)
    return {entry.role: percent_left(entry.begins, entry.ends, at) for entry in found}


def test_the_chain_of_the_issuer_that_signs_counts(authority: Authority) -> None:
    issuer = expiry.of_certificate("issuer", authority.ca.current.certificate)
    life = issuer.ends - issuer.begins
    assert of_roles(authority, now()) == {"issuer": None, "root": None}
    assert of_roles(authority, issuer.ends - life // 5) == {"issuer": 25, "root": None}
    # The next one takes its place, and nobody needs to hear of the former one.
    second = prepare(authority.config.home)
    reload(authority)
    before = expiry.lifetimes(authority.config.home, authority.database)
    activate(authority, second)
    after = expiry.lifetimes(authority.config.home, authority.database)
    assert before[0] == issuer
    assert [entry.role for entry in after] == ["issuer", "root"]
    assert after[0].subject != issuer.subject


def test_a_list_counts_until_its_issuer_is_retired(authority: Authority) -> None:
    at = now()
    signed = certificate_status.current_list(authority, authority.ca.current, at)
    assert of_roles(authority, at)["list"] is None
    assert of_roles(authority, signed.next_update - 3600)["list"] == 10
    former = authority.ca.current.id
    second = prepare(authority.config.home)
    reload(authority)
    activate(authority, second)
    assert of_roles(authority, signed.next_update - 3600)["list"] == 10
    put(authority.database, Statement("UPDATE issuers SET retired_at = 1 WHERE id = :id", {"id": former}))
    assert "list" not in of_roles(authority, signed.next_update - 3600)


def test_a_warning_is_given_once_for_each_threshold(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    life = Lifetime("root", "ab" * 32, "CN=My Root CA", 0, 1000 * DAY)
    others = []

    def other(database: Database) -> None:
        others.append(expiry.warn(database, life, 800 * DAY))

    with caplog.at_level(logging.WARNING, logger="acme_iid"):
        assert not expiry.warn(authority.database, life, 700 * DAY)
        # Two servers at the same moment.
        racing = replace(authority, database=Meanwhile(authority.database, other))
        assert [expiry.warn(racing.database, life, 800 * DAY), *others] == [False, True]
        assert not expiry.warn(authority.database, life, 850 * DAY)
        assert expiry.warn(authority.database, life, 905 * DAY)
        assert not expiry.warn(authority.database, life, 2000 * DAY)
        # Another end is news.
        assert expiry.warn(authority.database, replace(life, ends=1001 * DAY), 905 * DAY)
    assert kinds(authority.database).count("expiry.warned") == 3
    assert caplog.records[0].getMessage() == (
        "The root CN=My Root CA ends in 200 days, at 1972-09-27T00:00:00Z: less than 25 % of its life is left. "
        "Make the next root, and a link to it: acme-iid-ca issuer roots link"
    )
    assert len(caplog.records) == 3


def test_one_server_looks_for_all_and_signs_lists_in_time(authority: Authority) -> None:
    listing = replace(authority, config=replace(authority.config, ca=replace(authority.config.ca, crl=True)))
    before = int(time.time()) - certificate_status.LIST_LIFETIME // 2 - 60
    old = certificate_status.current_list(listing, authority.ca.current, before)
    ExpiryWatch(listing).turn()
    new = revocation_lists.latest(authority.database, authority.ca.current.id)
    assert new is not None
    assert new.number > old.number
    # Within ten minutes nobody else does.
    with authority.database.transaction() as transaction:
        transaction.run("DELETE FROM revocation_lists")
    ExpiryWatch(listing).turn()
    assert revocation_lists.latest(authority.database, authority.ca.current.id) is None


def test_the_list_that_is_furthest_behind_says_what_may_be_pruned(authority: Authority) -> None:
    at, former = now(), authority.ca.current.id
    assert pruning.listed_until(authority.database) is None
    behind = certificate_status.current_list(authority, authority.ca.current, at)
    second = prepare(authority.config.home)
    reload(authority)
    activate(authority, second)
    ahead = certificate_status.current_list(authority, authority.ca.current, at + DAY)
    assert behind.since < ahead.since
    assert pruning.listed_until(authority.database) == behind.since
    # The last list of a retired one stays as it is.
    put(authority.database, Statement("UPDATE issuers SET retired_at = 1 WHERE id = :id", {"id": former}))
    assert pruning.listed_until(authority.database) == ahead.since


def ending(ca: CA, begun: int, left: int) -> None:
    """Give a CA an intermediate that has begun and ends so many seconds from now."""
    at = int(time.time())
    root = Signer(home.load_certificate(ca.root), keys.load(ca.root_key, None))
    key = keys.load(ca.intermediate_key, None)
    made = ceremony.create_intermediate(root, "My CA", at - begun, key, begun + left)
    ca.replace_intermediate(made.certificate)


def test_check_and_status_say_what_ends(own_ca: CA) -> None:
    own_ca.cli("provisioner", "update", PROVISIONER, "--allow", "{instance_id}.local")
    assert own_ca.try_cli("check").code == 0
    ending(own_ca, 0, 30 * DAY)
    assert own_ca.try_cli("check").code == 0
    ending(own_ca, 80 * DAY, 20 * DAY)
    said = own_ca.try_cli("check")
    assert said.code == 1
    assert "My Intermediate CA" in said.stdout
    assert "less than 25 % of its life is left. Prepare the next one" in said.stdout
    assert said.stdout.strip().endswith("[ends-soon]")
    (found,) = json.loads(own_ca.try_cli("check", "--json").stdout)
    assert (found["code"], found["severity"]) == ("ends-soon", "remark")
    rows = json.loads(own_ca.cli("issuer", "status", "--json").stdout)
    assert [(row["role"], row["state"], row["warning"]) for row in rows] == [
        ("issuer", "prepared", 25),
        ("root", None, None),
    ]
    # Nothing was made of a store that is not there yet.
    assert not list(own_ca.home.glob("ca.db*"))


def test_status_says_where_keys_are_and_who_holds_them(own_ca: CA) -> None:
    own_ca.start()
    own_ca.until_logged("Listening on")
    second = prepare(own_ca.home)
    deadline = time.monotonic() + 30
    while True:
        rows = json.loads(own_ca.cli("issuer", "status", "--json").stdout)
        issuers = {row["id"]: row for row in rows if row["role"] == "issuer"}
        signing, prepared = issuers[own_ca_first(issuers, second)], issuers[second]
        if signing["servers"]:
            break
        assert time.monotonic() < deadline, rows
        time.sleep(0.2)
    assert (signing["state"], prepared["state"]) == ("signing", "prepared")
    assert (len(signing["servers"]), prepared["servers"]) == (1, [])
    assert prepared["key"] == f"file:{own_ca.home / home.key_file_of(second)}"
    (own_ca.home / home.key_file_of(second)).unlink()
    rows = json.loads(own_ca.cli("issuer", "status", "--json").stdout)
    assert [row["key"] for row in rows if row["id"] == second] == [f"{prepared['key']} (missing)"]
    assert {row["key"] for row in rows if row["role"] == "root"} == {f"file:{own_ca.root_key}"}


def own_ca_first(issuers: dict[str, object], second: str) -> str:
    """The id of the issuer that is not the second."""
    (first,) = set(issuers) - {second}
    return first


def test_a_certificate_that_is_cut_short_says_so_in_the_record(authority: Authority, instance: aws.Instance) -> None:
    life = authority.config.default_profile.lifetimes.usual
    second = prepare(authority.config.home, life // 2)
    reload(authority)
    actor = Actor(authority)
    whole = actor.certificate(instance, BAR)
    (issuer_id,) = (identity for identity in authority.ca.issuers if identity.startswith(second))
    authority.ca.use(issuer_id)
    cut = actor.certificate(instance, BAR)
    authority.database.seal()
    rows = authority.database.rows("SELECT detail FROM events WHERE kind = 'certificate.issued' ORDER BY seq")
    first, last = (json.loads(row["detail"]) for row in rows)
    assert ("cut_short_by" in first, first["not_after"]) == (False, whole.not_after)
    assert (last["cut_short_by"], last["not_after"]) == (second, cut.not_after)
    assert last["seconds_short"] == pytest.approx(life // 2, abs=90)
    leaf = x509.load_der_x509_certificate(cut.der)
    assert leaf.not_valid_after_utc == authority.ca.current.certificate.not_valid_after_utc
