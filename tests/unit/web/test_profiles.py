"""Certificate profiles over the wire: listed, asked for, echoed, and given by the provisioners that may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from acting import FOO, Actor, authority_of, context, now
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from running import ACCOUNT, CA, PROVISIONER, answer
from wire import Account, b64, csr, problem

from acme_iid.authority import Authority, orders
from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.errors import AcmeError, Problem
from acme_iid.policy.hosts import HostProvisioner
from acme_iid.protocol.identifiers import dns
from acme_iid.protocol.status import Status, of_order
from acme_iid.simulator import aws
from acme_iid.store.writes import perform

OTHER_ACCOUNT = "210987654321"
PROFILES = """
[profile.web]
description = "TLS servers, for two hours at most"
lifetime = "1h"
maximum_lifetime = "2h"
usages = ["server"]

[profile.mesh]
description = "Both sides of a connection"
lifetime = "30m"
minimum_lifetime = "10m"
key_usages = ["digitalSignature", "keyAgreement"]

[profile.nobody]
description = "What no provisioner gives"
"""


def with_profiles(ca: CA) -> None:
    """Add the profiles, and a provisioner that gives one of them only."""
    file = ca.home / "ca.toml"
    file.write_text(file.read_text() + PROFILES)
    ca.cli("provisioner", "update", PROVISIONER, "--profile", "web", "--profile", "mesh")
    ca.cli("provisioner", "add", "Mesh", "--type", "AWS", "--aws-account", OTHER_ACCOUNT, "--profile", "mesh",
           "--iid-roots", ca.home / "test-roots.pem")  # fmt: skip


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    ca = CA(tmp_path_factory.mktemp("profiles") / "ca")
    ca.init()
    with_profiles(ca)
    ca.start()
    yield ca
    ca.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def issued(account: Account, instance: aws.Instance, **members: object) -> tuple[dict[str, Any], x509.Certificate]:
    """Order foo.local, all the way; the order as it then is, and the leaf."""
    order = account.order("foo.local", **members).json()
    assert account.post(account.challenge(order)["url"], answer(instance)).json()["status"] == "valid"
    done = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])}).json()
    assert done["status"] == "valid", done
    return done, x509.load_pem_x509_certificate(account.post(done["certificate"]).content)


def lifetime(leaf: x509.Certificate) -> float:
    return (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()


def test_the_directory_lists_the_profiles_with_their_descriptions(ca: CA, shared_ca: CA) -> None:
    assert ca.wire().directory["meta"]["profiles"] == {
        "web": "TLS servers, for two hours at most",
        "mesh": "Both sides of a connection",
        "nobody": "What no provisioner gives",
    }
    assert "profiles" not in shared_ca.wire().directory["meta"]


def test_a_profile_is_echoed_in_the_order_and_decides_the_certificate(
    ca: CA, account: Account, instance: aws.Instance
) -> None:
    order, leaf = issued(account, instance, profile="mesh")
    assert order["profile"] == "mesh"
    assert lifetime(leaf) == 30 * 60 + 60
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement, usage.key_encipherment) == (True, True, False)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    shown = json.loads(ca.cli("certificate", "show", str(leaf.serial_number), "--json").stdout)
    assert shown["profile"] == "mesh"


def test_an_order_that_asks_for_none_has_the_first(account: Account, instance: aws.Instance) -> None:
    order, leaf = issued(account, instance)
    assert order["profile"] == "web"
    assert lifetime(leaf) == 60 * 60 + 60
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement) == (True, False)
    extended = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_first_that_can_be_given_for_the_names_is_taken(own_ca: CA) -> None:
    with_profiles(own_ca)
    own_ca.cli("provisioner", "update", PROVISIONER, "--remove-profile", "web")
    own_ca.start()
    account = own_ca.account()
    assert account.order("foo.local").json()["profile"] == "mesh"
    assert problem(account.order("foo.local", profile="web")) == "invalidProfile"


def test_an_order_of_a_ca_without_profiles_has_none(shared_ca: CA) -> None:
    response = shared_ca.account().order("foo.local")
    assert "profile" not in response.json()


@pytest.mark.parametrize(
    ("profile", "expected", "detail"),
    [
        ("Web", "invalidProfile", "its profiles are web, mesh, nobody"),
        ("", "invalidProfile", "its profiles are web, mesh, nobody"),
        (7, "malformed", "a string"),
        (["web"], "malformed", "a string"),
    ],
)
def test_a_profile_that_there_is_not_is_refused(account: Account, profile: object, expected: str, detail: str) -> None:
    response = account.order("foo.local", profile=profile)
    assert response.status_code == 400
    assert problem(response) == expected
    assert detail in response.json()["detail"]


def test_a_profile_that_nobody_gives_is_refused_for_each_name(account: Account) -> None:
    response = account.order("foo.local", "bar.local", profile="nobody")
    assert problem(response) == "invalidProfile"
    faults = response.json()["subproblems"]
    assert [fault["identifier"]["value"] for fault in faults] == ["foo.local", "bar.local"]
    assert "no provisioner that may give foo.local gives the profile 'nobody'" in faults[0]["detail"]


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


@pytest.mark.parametrize(
    ("profile", "seconds", "given"),
    [("web", 6000, True), ("web", 7500, False), ("web", 400, True), ("mesh", 400, False), ("mesh", 7500, True)],
)
def test_the_end_that_an_order_asks_for_is_within_its_profiles_lifetimes(
    account: Account, profile: str, seconds: float, given: bool
) -> None:
    response = account.order("foo.local", profile=profile, notAfter=when(seconds))
    if given:
        assert response.status_code == 201
    else:
        assert problem(response) == "malformed"
        assert f"the profile '{profile}' gives" in response.json()["detail"]


def refusal(response: requests.Response) -> str:
    challenge = response.json()
    assert challenge["status"] == "invalid", challenge
    return str(challenge["error"]["detail"])


def test_an_instance_gets_the_profiles_of_its_own_provisioner_only(account: Account) -> None:
    other = aws.Instance(account=OTHER_ACCOUNT)
    order = account.order("foo.local", profile="web").json()
    refused = refusal(account.post(account.challenge(order)["url"], answer(other)))
    assert "refused at step 'admission'" in refused
    assert "provisioner 'Mesh' does not give the profile 'web'; its profiles are mesh" in refused
    _, leaf = issued(account, other, profile="mesh")
    assert lifetime(leaf) == 30 * 60 + 60


def test_a_proof_ahead_serves_no_profile_of_another_provisioner(account: Account) -> None:
    body = {"identifier": {"type": "dns", "value": "ahead.local"}}
    made = account.post(account.wire.directory["newAuthz"], body)
    url = made.json()["challenges"][0]["url"]
    assert account.post(url, answer(aws.Instance(account=OTHER_ACCOUNT))).json()["status"] == "valid"
    assert account.order("ahead.local", profile="web").json()["status"] == "pending"
    assert account.order("ahead.local", profile="mesh").json()["status"] == "ready"


class Ready:
    """An order for a profile, ready to be finalized, and the authority that it was made by."""

    def __init__(self, authority: Authority, instance: aws.Instance, profile: str | None) -> None:
        self.config, self.actor = authority.config, Actor(authority)
        wanted = orders.NewOrder((FOO,), profile=profile)
        made = perform(
            authority.database,
            lambda reader: orders.new_order(authority, context(), reader, self.actor.account, wanted),
        )
        self.actor.answer(made, instance)
        self.order = self.actor.read(made)

    def finalize(self, changed: Config) -> Status:
        """Finalize under another configuration, as after a reload; the order's status then."""
        self.actor.authority = replace(self.actor.authority, config=changed)
        return of_order(self.actor.finalize(self.order), now())


@pytest.fixture
def profiled(own_ca: CA) -> Iterator[Authority]:
    with_profiles(own_ca)
    with authority_of(own_ca.home) as made:
        yield made


def test_a_profile_no_longer_given_is_refused_and_the_order_stays_ready(
    profiled: Authority, instance: aws.Instance
) -> None:
    ready = Ready(profiled, instance, "mesh")
    gone = replace(ready.config, profiles=ready.config.profiles[:1])
    with pytest.raises(AcmeError, match="the profile 'mesh' is no longer issued here") as caught:
        ready.finalize(gone)
    assert caught.value.problem is Problem.INVALID_PROFILE
    narrowed = tuple(replace(entry, profiles=("web",)) for entry in ready.config.provisioners[:1])
    # Another one that gives it does not help: it has proven nothing.
    others = (*narrowed, ready.config.provisioners[1])
    with pytest.raises(AcmeError, match="which does not give the profile 'mesh'") as caught:
        ready.finalize(replace(ready.config, provisioners=others))
    assert caught.value.problem is Problem.INVALID_PROFILE
    assert ready.finalize(ready.config) is Status.VALID


def test_an_order_from_before_there_were_profiles_gets_the_first_one(own_ca: CA, instance: aws.Instance) -> None:
    with authority_of(own_ca.home) as authority:
        ready = Ready(authority, instance, None)
        assert ready.order.profile is None
        with_profiles(own_ca)
        changed = ca_toml.load(own_ca.home)
        denied = tuple(replace(entry, profiles=("mesh",)) for entry in changed.provisioners)
        with pytest.raises(AcmeError, match="which does not give the profile 'web'"):
            ready.finalize(replace(changed, provisioners=(*denied, *changed.provisioners[1:])))
        assert ready.finalize(changed) is Status.VALID


def test_a_provisioner_of_hosts_gives_its_profiles_too(own_ca: CA) -> None:
    with_profiles(own_ca)
    loaded = ca_toml.load(own_ca.home)
    hosts = (HostProvisioner("Hosts", ("dns-01",), profiles=("nobody",)), HostProvisioner("All", ("dns-01",)))
    policy = replace(loaded, provisioners=(), hosts=hosts).policy
    for profile, name in (("web", "All"), ("nobody", "Hosts")):
        assert policy.gives_profile(profile)
        giver = policy.giver(dns("foo.local"), "dns-01", profile)
        assert giver is not None
        assert giver.name == name
    assert policy.gives_profile("nobody", under="Hosts")
    assert not policy.gives_profile("web", under="Hosts")


def test_provisioner_list_shows_the_profiles(ca: CA) -> None:
    shown = json.loads(ca.cli("provisioner", "list", "--json").stdout)
    assert [entry["profiles"] for entry in shown] == [["web", "mesh"], ["mesh"]]
    assert ACCOUNT in shown[0]["accounts"]
