"""Names and addresses of the CA itself: nobody gets a certificate for them, whichever way the request takes."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from enrolling import delegate, enrol, finalize, proven
from responders import Names, Page, Web, add_hosts, settled, standard
from running import CA, answer
from wire import Account, Key, b64, problem

from acme_iid.binding import SERVING_MARK
from acme_iid.simulator import aws

RESERVED = "10.20.30.40"
TOKENS = "/.well-known/acme-challenge/"


def reserve(ca: CA, *names: str) -> None:
    """Write ``reserved`` into ca.toml."""
    file = ca.home / "ca.toml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("reserved")]
    lines.insert(lines.index("[ca]") + 1, f"reserved = {json.dumps(list(names))}")
    file.write_text("\n".join(lines) + "\n")


@dataclass
class Hosts:
    """What proves a name of a host by http-01."""

    names: Names
    web: Web

    def prove(self, account: Account, name: str) -> requests.Response:
        """The order of a host whose name was proven."""
        self.names.set(name, "A", "127.0.0.1")
        ordered = account.order(name)
        challenge = standard(account, ordered.json(), "http-01")
        self.web.pages[TOKENS + challenge["token"]] = Page(f"{challenge['token']}.{account.key.thumbprint}".encode())
        account.post(challenge["url"], {})
        assert settled(account, challenge["url"]).json()["status"] == "valid"
        return ordered


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    found = Hosts(Names(), Web())
    yield found
    found.names.close()
    found.web.close()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, hosts: Hosts) -> Iterator[CA]:
    """A CA with an admitting provisioner for instances and one for hosts; all of its names are open to both."""
    made = CA(tmp_path_factory.mktemp("own") / "ca")
    made.init("--allow-wildcard", "*.local", "--allow", "*.local")
    add_hosts(made, hosts.names, hosts.web.port)  # with ca.local as issuer_domain
    reserve(made, "proxy.local", RESERVED)
    made.start()
    yield made
    if made.process is not None:
        made.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def refusal(response: requests.Response, *names: str) -> str:
    """The sentence of a refusal with a subproblem for each of the names."""
    assert problem(response) == "rejectedIdentifier"
    body = response.json()
    assert [entry["identifier"]["value"] for entry in body["subproblems"]] == list(names)
    assert {entry["type"] for entry in body["subproblems"]} == {body["type"]}
    assert "is reserved" in body["detail"]
    return str(body["detail"])


def events(ca: CA, account: Account) -> list[str]:
    """The kinds of an account's events."""
    found = json.loads(ca.cli("events", "--account", account.url.rpartition("/")[2], "--json").stdout)
    return [entry["kind"] for entry in found]


@pytest.mark.parametrize("name", ["ca.local", "CA.Local", "proxy.local", "*.local"])
def test_an_order_for_a_name_of_the_cas_own_is_refused(ca: CA, account: Account, name: str) -> None:
    detail = refusal(account.order("foo.local", name), name.lower())
    assert "order another name" in detail
    assert "acme-iid-ca serving-certificate" in detail
    assert "order.refused" in events(ca, account)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", RESERVED])
def test_an_order_for_an_address_of_the_cas_own_is_refused(account: Account, address: str) -> None:
    response = account.post(account.wire.directory["newOrder"], {"identifiers": [{"type": "ip", "value": address}]})
    assert problem(response) == "rejectedIdentifier"
    assert "is reserved" in response.json()["detail"]


@pytest.mark.parametrize(("kind", "name"), [("dns", "ca.local"), ("dns", "proxy.local"), ("ip", "127.0.0.1")])
def test_an_authorization_ahead_of_an_order_is_refused(ca: CA, account: Account, kind: str, name: str) -> None:
    refusal(account.post(account.wire.directory["newAuthz"], {"identifier": {"type": kind, "value": name}}), name)
    assert "authorization.refused" in events(ca, account)


def test_names_below_one_of_the_cas_own_are_like_any_other(account: Account) -> None:
    assert account.order("www.ca.local", "*.ca.local").status_code == 201


def test_an_instance_is_not_given_the_cas_address_as_its_own(account: Account) -> None:
    neighbour = aws.Instance(account="123456789042", private_ip=RESERVED)
    ordered, (answered,) = account.prove("web.local", answer=answer(neighbour))
    assert ordered.status_code == 201
    names = {entry["value"] for entry in answered.json()["names"]}
    assert neighbour.instance_id in names
    assert RESERVED not in names


def test_what_an_operator_is_told_agrees(ca: CA) -> None:
    facts = ("--fact", "account=123456789042", "--fact", f"private_ip={RESERVED}", "--fact", "region=us-west-2")
    told = ca.try_cli("provisioner", "test", *facts, "ca.local", "*.local", RESERVED)
    assert told.code == 1
    assert told.stdout.count("is reserved") == 4  # and allow_wildcards gives no *.local
    listed = ca.cli("provisioner", "test", *facts).stdout
    may_hold = next(line for line in listed.splitlines() if "It may hold" in line)
    assert RESERVED not in may_hold
    alone = ca.try_cli("provisioner", "test", "ca.local")
    assert (alone.code, "is reserved" in alone.stdout) == (1, True)
    assert ca.cli("provisioner", "test", "web.local").code == 0


def reload(ca: CA, *names: str) -> None:
    """Reserve names, and wait until the server does."""
    reserve(ca, *names)
    assert ca.process is not None
    ca.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while ca.account().order(names[-1]).status_code == 201:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.1)


def test_what_was_proven_before_a_name_was_reserved_leads_to_nothing(
    own_ca: CA, hosts: Hosts, instance: aws.Instance
) -> None:
    add_hosts(own_ca, hosts.names, hosts.web.port)
    own_ca.start()
    bound, host, pending = own_ca.account(), own_ca.account(), own_ca.account()
    order = proven(bound, instance, "later.local")
    by_host = hosts.prove(host, "later.local")
    handed_on = delegate(own_ca, bound, instance, "later.local")
    by_delegate = handed_on.order("later.local").json()
    waiting = pending.order("later.local").json()
    by_http = pending.order("later.local").json()
    reload(own_ca, "later.local")

    for account, found in ((bound, bound.post(order).json()), (host, by_host.json()), (handed_on, by_delegate)):
        refusal(finalize(account, found, "later.local"), "later.local")
        assert "finalize.refused" in events(own_ca, account)
    refusal(enrol(bound, order), "later.local")
    assert "enrolment.refused" in events(own_ca, bound)
    refusal(handed_on.order("later.local"), "later.local")
    assert "order.refused" in events(own_ca, handed_on)

    refused = pending.post(pending.challenge(waiting)["url"], answer(aws.Instance(account=instance.account))).json()
    assert refused["status"] == "invalid"
    assert "step 'names': later.local is reserved" in refused["error"]["detail"]
    challenge = standard(pending, by_http, "http-01")
    pending.post(challenge["url"], {})
    looked = settled(pending, challenge["url"]).json()
    assert (looked["status"], looked["error"]["type"].rpartition(":")[2]) == ("invalid", "rejectedIdentifier")

    # And a name that is the CA's own no longer is given again.
    reserve(own_ca)
    assert own_ca.process is not None
    own_ca.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while (done := finalize(bound, bound.post(order).json(), "later.local")).status_code != 200:
        refusal(done, "later.local")
        assert time.monotonic() < deadline, own_ca.log
        time.sleep(0.2)


def test_a_signing_request_for_the_mark_gets_a_certificate_without(account: Account, instance: aws.Instance) -> None:
    order = account.post(proven(account, instance, "foo.local")).json()
    mark = x509.ObjectIdentifier(SERVING_MARK)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("foo.local")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, mark]), critical=True)
        .sign(Key().private, hashes.SHA256())
    )
    done = account.post(order["finalize"], {"csr": b64(request.public_bytes(Encoding.DER))}).json()
    leaf = x509.load_pem_x509_certificate(account.post(done["certificate"]).text.encode())
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


@pytest.mark.parametrize("usage", ["cmcRA", "id-kp-cmcRA", SERVING_MARK])
def test_no_profile_can_name_the_mark(tmp_path: Path, usage: str) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    with (ca.home / "ca.toml").open("a") as file:
        file.write(f'\n[profile.server]\ndescription = "x"\nusages = ["server", "{usage}"]\n')
    assert f"{usage!r} is not one of server, client" in ca.start_refused()


def test_the_server_shows_a_marked_certificate(ca: CA) -> None:
    context = ssl.create_default_context(cafile=str(ca.root))
    with (
        socket.create_connection(("127.0.0.1", ca.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        der = stream.getpeercert(binary_form=True)
    assert der is not None
    purposes = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier(SERVING_MARK)]
