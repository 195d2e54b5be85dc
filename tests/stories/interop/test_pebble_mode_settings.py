"""The test mode takes what Pebble 2.10 takes: its configuration files as they are, and its command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conformance.solvers import account_label
from cryptography import x509
from interop.harness import ExternalAccount, Names, listens, until
from interop.pebble_modes import Mode, bound_account, started
from processes import arguments, children, runs, sockets
from wire import Account, Key, Wire, b64, csr, problem

ISSUER = "pebble.letsencrypt.org"
# test/config/pebble-config.json of Pebble 2.10.1, but for addresses, certificates and ports.
USUAL: dict[str, Any] = {
    "ocspResponderURL": "",
    "externalAccountBindingRequired": False,
    "domainBlocklist": ["blocked-domain.example"],
    "retryAfter": {"authz": 3, "order": 5},
    "keyAlgorithm": "ecdsa",
    "profiles": {
        "default": {"description": "The profile you know and love", "validityPeriod": 7776000},
        "shortlived": {
            "description": "A short-lived cert profile, without actual enforcement",
            "validityPeriod": 518400,
        },
    },
}
# test/config/pebble-config-external-account-bindings.json, likewise.
BOUND: dict[str, Any] = {
    "ocspResponderURL": "",
    "retryAfter": {"authz": 3, "order": 5},
    "externalAccountBindingRequired": True,
    "externalAccountMACKeys": {
        "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
        "kid-2": "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH",
        "kid-3": "HjudV5qnbreN-n9WyFSH-t4HXuEx_XFen45zuxY-G1h6fr74V3cUM_dVlwQZBWmc",
    },
    "certificateValidityPeriod": 157766400,
}


def serving(
    folder: Path, names: Names, ports: tuple[int, int], configuration: dict[str, Any]
) -> AbstractContextManager[Mode]:
    """The mode with good nonces, without management, with the name server given by a host's name."""
    mode = Mode(folder)
    listen = {"listenAddress": mode.addresses["listenAddress"], "httpPort": ports[0], "tlsPort": ports[1]}
    whole = {**configuration, **listen, **mode.certify()}
    return started(mode, f"localhost:{names.dns_port}", whole, PEBBLE_WFE_NONCEREJECT="0")


@pytest.fixture(scope="module")
def mode(names: Names, ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mode]:
    with serving(tmp_path_factory.mktemp("usual"), names, ports, USUAL) as mode:
        yield mode


@pytest.fixture
def wire(mode: Mode) -> Wire:
    return Wire(mode.directory, mode.root)


@pytest.fixture
def account(wire: Wire) -> Account:
    return Account.new(wire)


def challenge(account: Account, order: dict[str, Any], kind: str) -> dict[str, Any]:
    authorization = account.post(order["authorizations"][0]).json()
    found: dict[str, Any] = next(entry for entry in authorization["challenges"] if entry["type"] == kind)
    return found


def proven(account: Account, order: dict[str, Any], answered: dict[str, Any]) -> str:
    """The authorization's status once the challenge was judged."""
    assert account.post(answered["url"], {}).status_code == 200
    url = order["authorizations"][0]
    until(lambda: account.post(url).json()["status"] != "pending", "the validation", 60)
    return str(account.post(url).json()["status"])


def digest(account: Account, found: dict[str, Any]) -> str:
    """What dns-01 and dns-account-01 look for."""
    return b64(sha256(f"{found['token']}.{account.key.thumbprint}".encode()).digest())


def obtained(account: Account, names: Names, name: str, **members: object) -> x509.Certificate:
    """A certificate, by dns-01."""
    response = account.order(name, **members)
    assert response.status_code == 201, response.text
    order = response.json()
    found = challenge(account, order, "dns-01")
    names.tell("set-txt", host=f"_acme-challenge.{name}.", value=digest(account, found))
    assert proven(account, order, found) == "valid"
    done = account.post(order["finalize"], {"csr": b64(csr(name)[1])})
    assert done.status_code == 200, done.text
    return x509.load_pem_x509_certificate(account.post(done.json()["certificate"]).content)


def lifetime(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - datetime.now(UTC)


def test_there_is_no_management_unless_it_is_configured(mode: Mode) -> None:
    assert mode.process is not None
    assert "Management interface is disabled\n" in mode.log.read_text()
    assert open_ports(mode.process.pid) == {mode.port}


def open_ports(pid: int) -> set[int]:
    """The TCP ports at which a process listens."""
    own = set(sockets(pid))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def test_profiles_are_listed_and_give_their_lifetimes(wire: Wire, account: Account, names: Names) -> None:
    profiles = {name: profile["description"] for name, profile in USUAL["profiles"].items()}
    assert wire.directory["meta"]["profiles"] == profiles
    short = obtained(account, names, "short.example.com", profile="shortlived")
    assert timedelta(days=5, hours=22) < lifetime(short) < timedelta(days=6, minutes=1)
    usual = obtained(account, names, "usual.example.com")
    assert timedelta(days=89) < lifetime(usual) < timedelta(days=90, minutes=1)
    assert problem(account.order("a.example.com", profile="tls")) == "invalidProfile"


def test_a_blocked_domain_is_refused_with_all_below_it(account: Account) -> None:
    for name in ("blocked-domain.example", "a.blocked-domain.example", "*.blocked-domain.example"):
        assert problem(account.order(name)) == "rejectedIdentifier"
    assert account.order("unblocked-domain.example").status_code == 201


@pytest.mark.parametrize("name", ["localhost", "a.localhost", "host.of-any-domain"])
def test_any_name_is_ordered_localhost_among_them(account: Account, names: Names, name: str) -> None:
    found = obtained(account, names, name).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert found.value.get_values_for_type(x509.DNSName) == [name]


def test_dns_account_01_is_proven(account: Account, names: Names) -> None:
    order = account.order("account.example.com").json()
    found = challenge(account, order, "dns-account-01")
    host = f"{account_label(account.url)}._acme-challenge.account.example.com."
    names.tell("set-txt", host=host, value=digest(account, found))
    assert proven(account, order, found) == "valid"


@pytest.mark.parametrize(("name", "policy"), [("persist.example.com", ""), ("*.wild.example.com", "; policy=wildcard")])
def test_dns_persist_01_is_proven_by_pebbles_issuer_name(
    wire: Wire, account: Account, names: Names, name: str, policy: str
) -> None:
    order = account.order(name).json()
    found = challenge(account, order, "dns-persist-01")
    assert found["issuer-domain-names"] == wire.directory["meta"]["caaIdentities"] == [ISSUER]
    assert found["accounturi"] == account.url
    value = f"{ISSUER}; accounturi={account.url}{policy}"
    names.tell("set-txt", host=f"_validation-persist.{name.removeprefix('*.')}.", value=value)
    assert proven(account, order, found) == "valid"


def test_clients_are_told_to_wait_as_long_as_the_configuration_says(account: Account) -> None:
    order = account.order("waiting.example.com").json()
    found = challenge(account, order, "http-01")  # nobody answers it, so it is tried again for a while
    account.post(found["url"], {})
    shown = account.post(order["authorizations"][0])
    assert (shown.json()["status"], shown.headers["Retry-After"]) == ("pending", "3")


def test_pebbles_own_configuration_for_external_account_binding_is_taken(
    names: Names, ports: tuple[int, int], tmp_path: Path
) -> None:
    with serving(tmp_path, names, ports, BOUND) as mode:
        wire = Wire(mode.directory, mode.root)
        assert wire.directory["meta"]["externalAccountRequired"] is True
        unbound = wire.post(wire.directory["newAccount"], {"termsOfServiceAgreed": True}, Key())
        assert problem(unbound) == "externalAccountRequired"
        for kid, key in BOUND["externalAccountMACKeys"].items():
            account = bound_account(wire, ExternalAccount(kid, key))
        # Five years are asked for; no certificate of ours lives longer than 825 days.
        assert lifetime(obtained(account, names, "bound.example.com")) > timedelta(days=824)


def test_another_issuer_name_and_names_in_another_case_are_taken(
    names: Names, ports: tuple[int, int], tmp_path: Path
) -> None:
    configuration = {"CAAIdentities": ["ca.example.org", "second.example.org"], "PROFILES": {"p": {}}}
    with serving(tmp_path, names, ports, configuration) as mode:
        wire = Wire(mode.directory, mode.root)
        assert wire.directory["meta"]["profiles"] == {"p": "p"}
        account = Account.new(wire)
        order = account.order("a.example.com").json()
        found = challenge(account, order, "dns-persist-01")
        assert found["issuer-domain-names"] == ["ca.example.org"]


def test_nothing_is_left_after_sigkill(names: Names, ports: tuple[int, int], tmp_path: Path) -> None:
    with serving(tmp_path, names, ports, USUAL) as mode:
        assert mode.process is not None
        parent = mode.process.pid
        started = children(parent)
        assert started
        (home,) = {Path(os.fsdecode(word)) for pid in started for word in arguments(pid) if word.endswith(b"/ca")}
        assert home.is_dir()
        os.kill(parent, signal.SIGKILL)
        mode.process.wait()
        until(lambda: not any(map(runs, started)), "the end of the children", 60)
        assert not listens(mode.port)
        assert not home.exists()
