"""What is too much is refused with the time after which it is not (RFC 8555 section 6.6)."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from running import CA, UNLIMITED, answer
from wire import Account, Key, b64, csr, problem
from writing import happens, put

from acme_iid.authority.limits import order_asked, require_room_for_account, subject
from acme_iid.config.limit_settings import Limits
from acme_iid.config.parsers import rate
from acme_iid.errors import AcmeError
from acme_iid.protocol import resources
from acme_iid.protocol.renewal import CertificateId
from acme_iid.simulator import aws
from acme_iid.store import accounts, limits
from acme_iid.store.database import open_store
from acme_iid.store.limits import Rate
from acme_iid.store.writes import again


@pytest.fixture
def limited(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[CA]:
    """A CA that serves with the lines of [limits] that the test names; with "", as it was made."""
    ca = CA(tmp_path / "ca")
    ca.init(limits=request.param)
    ca.start("--workers", "2")
    yield ca
    if ca.process is not None:
        ca.kill()


def refused(response: requests.Response) -> str:
    """What a rate-limited client is told, once its form is right."""
    assert (response.status_code, problem(response)) == (429, "rateLimited")
    assert 1 <= int(response.headers["Retry-After"]) <= 3600
    return str(response.json()["detail"])


@pytest.mark.parametrize("limited", ['orders_per_account = "2/1h"'], indirect=True)
def test_an_accounts_orders_are_limited_by_themselves_across_processes(limited: CA) -> None:
    account = limited.account()
    assert [account.order("foo.local").status_code for _ in range(2)] == [201, 201]
    assert "2 in 3600 seconds" in refused(account.order("foo.local"))
    assert limited.account().order("foo.local").status_code == 201


@pytest.mark.parametrize("limited", ['orders_per_account = "3/1h"'], indirect=True)
def test_authorizations_made_ahead_and_refused_requests_count_too(limited: CA) -> None:
    account = limited.account()
    ahead = account.wire.directory["newAuthz"]
    foo, outside = ({"identifier": {"type": "dns", "value": name}} for name in ("foo.local", "foo.example"))
    assert account.post(ahead, foo).status_code == 201
    assert problem(account.post(ahead, outside)) == "rejectedIdentifier"
    assert problem(account.order("foo.example")) == "rejectedIdentifier"
    for late in (account.post(ahead, foo), account.post(ahead, outside), account.order("foo.example")):
        assert "3 in 3600 seconds" in refused(late)
    recorded = json.loads(limited.cli("events", "--json").stdout)
    assert [entry["kind"] for entry in recorded if entry["kind"].endswith(".refused")] == [
        "order.refused",
        "authorization.refused",
    ]


@pytest.mark.parametrize("limited", ["open_orders_per_account = 2"], indirect=True)
def test_authorizations_that_wait_for_an_order_are_capped_with_those(limited: CA) -> None:
    account = limited.account()
    ahead = account.wire.directory["newAuthz"]
    foo = {"identifier": {"type": "dns", "value": "foo.local"}}
    first, _ = account.post(ahead, foo), account.order("bar.local")
    assert "2 open orders" in refused(account.post(ahead, foo))
    account.post(first.headers["Location"], {"status": "deactivated"})
    assert account.post(ahead, foo).status_code == 201


@pytest.mark.parametrize("limited", ["open_orders_per_account = 2"], indirect=True)
def test_open_orders_are_capped_until_one_ends(limited: CA) -> None:
    account = limited.account()
    first, _ = account.order("foo.local"), account.order("foo.local")
    assert "2 open orders" in refused(account.order("foo.local"))
    account.post(first.json()["authorizations"][0], {"status": "deactivated"})
    assert account.order("foo.local").status_code == 201


@pytest.mark.parametrize("limited", ['accounts_per_address = "2/1h"'], indirect=True)
def test_new_accounts_of_an_address_are_limited_and_a_known_key_is_let_in(limited: CA) -> None:
    wire, key = limited.wire(), Key()
    Account.new(wire, key)
    Account.new(wire)
    assert "address 127.0.0.1" in refused(wire.post(wire.directory["newAccount"], {}, Key()))
    assert wire.post(wire.directory["newAccount"], {}, key).status_code == 200


@pytest.mark.parametrize(
    ("limited", "subject"),
    [('certificates_per_instance = "1/1h"', "instance aws:"), ('certificates_per_name = "1/1h"', "name foo.local")],
    indirect=["limited"],
)
def test_certificates_are_limited_and_the_order_stays_ready(limited: CA, subject: str, instance: aws.Instance) -> None:
    account = limited.account()
    account.obtain("foo.local", answer=answer(instance))
    ordered, _ = account.prove("foo.local", answer=answer(instance))
    late = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert subject in refused(late)
    assert account.post(ordered.headers["Location"]).json()["status"] == "ready"


@pytest.mark.parametrize("limited", ['certificates_per_instance = "1/1h"'], indirect=True)
def test_a_renewal_that_is_due_does_not_count_and_one_that_is_not_does(limited: CA, instance: aws.Instance) -> None:
    account = limited.account()
    issued = account.obtain("foo.local", answer=answer(instance))
    authority = issued.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert authority is not None
    ordered = account.order("foo.local", replaces=str(CertificateId(authority, issued.leaf.serial_number))).json()
    account.post(account.challenge(ordered)["url"], answer(instance))
    request = {"csr": b64(csr("foo.local")[1])}
    assert "instance aws:" in refused(account.post(ordered["finalize"], request))
    limited.cli("certificate", "renew-now", "--over", "1m")
    assert account.post(ordered["finalize"], request).json()["status"] == "valid"


@pytest.mark.parametrize("limited", ['accounts_per_address = "2/1h"'], indirect=True)
@pytest.mark.parametrize("name", ["foo.local", None])
def test_an_account_counts_for_its_address_until_its_first_proof(
    limited: CA, name: str | None, instance: aws.Instance
) -> None:
    first, _ = limited.account(), limited.account()
    wire = limited.wire()
    assert "proven nothing" in refused(wire.post(wire.directory["newAccount"], {}, Key()))
    if name is not None:
        first.prove(name, answer=answer(instance))
        assert wire.post(wire.directory["newAccount"], {}, Key()).status_code == 201
    assert "proven nothing" in refused(wire.post(wire.directory["newAccount"], {}, Key()))


@pytest.mark.parametrize("limited", [""], indirect=True)
def test_limits_are_in_force_where_the_configuration_names_none(limited: CA) -> None:
    one, other, *_ = [limited.account() for _ in range(100)]
    wire = limited.wire()
    assert "100 in 3600 seconds" in refused(wire.post(wire.directory["newAccount"], {}, Key()))
    assert {one.order("foo.local").status_code for _ in range(100)} == {201}
    assert "100 open orders" in refused(one.order("foo.local"))
    began = time.monotonic()
    assert {other.order("foo.example").status_code for _ in range(300)} == {400}
    # One more is let through each twelve seconds that the others took.
    further = 0
    while (late := other.order("foo.example")).status_code == 400:
        further += 1
        assert further <= (time.monotonic() - began) / 12 + 1
    assert "300 in 3600 seconds" in refused(late)


@pytest.mark.parametrize("limited", [UNLIMITED], indirect=True)
def test_each_limit_can_be_turned_off(limited: CA) -> None:
    made = [limited.account() for _ in range(101)]
    assert {made[-1].order("foo.local").status_code for _ in range(301)} == {201}


def made(number: int, remote: str, now: int, proven: int | None = None) -> resources.Account:
    """An account as it is stored."""
    return resources.Account(f"a{number}", "{}", f"t{number}", (), now, made_from=subject(remote), proven_at=proven)


def test_an_ipv6_hosts_many_addresses_are_one_subject(store_url: str) -> None:
    database = open_store(store_url)
    settings = Limits(accounts_per_address=Rate(1, 60))
    for number, (remote, most) in enumerate((("2001:db8::1", 1), ("2001:db8::f:1", 2), ("2001:db8:0:1::1", 1))):
        account = made(number, remote, 1000)
        if most == 1:
            require_room_for_account(settings, database, account, 1000)
        else:
            with pytest.raises(AcmeError, match="address 2001:db8::/64"):
                require_room_for_account(settings, database, account, 1000)
        put(database, accounts.add(account))
    database.close()


def test_accounts_of_more_than_a_period_ago_count_no_longer(store_url: str) -> None:
    database = open_store(store_url)
    settings = Limits(accounts_per_address=Rate(2, 60))
    for number, at in enumerate((1000, 1001, 1010, 1060)):
        account = made(number, "192.0.2.1", at)
        if at == 1010:
            with pytest.raises(AcmeError, match="Try again in 30 seconds"):
                require_room_for_account(settings, database, account, at)
            put(database, accounts.add(account), accounts.set_proven(account, at))
        else:
            require_room_for_account(settings, database, account, at)
            put(database, accounts.add(account))
    database.close()


def test_subjects_whose_actions_count_no_longer_are_forgotten(store_url: str) -> None:
    database = open_store(store_url)
    settings = Limits(orders_per_account=Rate(2, 60))
    for number in range(5):
        put(database, *order_asked(settings, made(number, "192.0.2.1", 1000), 1000 + number))
    assert len(database.rows("SELECT key FROM limits")) == 5
    put(database, *order_asked(settings, made(9, "192.0.2.1", 1000), 1033))
    assert limits.count_past(database, 1033) == 4
    put(database, limits.forget(1033, 100))
    kept = {row["key"].rpartition(" ")[2] for row in database.rows("SELECT key FROM limits")}
    assert kept == {"a4", "a9"}
    database.close()


@given(st.integers(1, 20), st.integers(1, 100), st.lists(st.integers(0, 30), max_size=60))
def test_no_period_sees_more_than_the_rate_twice_over(most: int, seconds: int, steps: list[int]) -> None:
    # A whole burst, and as many as one interval after another lets through in the same time.
    wanted, now = Rate(most, seconds), 1_000_000
    passed: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        database = open_store(f"sqlite:{folder}/ca.db")
        for step in steps:
            now += step
            if happens(database, limits.spend("s", wanted, now, again)):
                passed.append(now)
            else:
                later = now + limits.wait(database, "s", wanted, now)
                assert now < later <= now + seconds + 1
        database.close()
    assert all(sum(start <= at < start + seconds for at in passed) <= 2 * most for start in passed)
    assert len(passed) >= min(len(steps), most)


@pytest.mark.parametrize("text", ["", "3", "3/", "/1h", "0/1h", "-1/1h", "3/1x", "٣/1h", "99999999999/1h"])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (rate|duration)"):
        rate(text)
