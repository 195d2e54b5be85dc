"""A canary goes through every path that takes a secret, at level debug; no log, answer or event has it afterwards."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import forge
import forge_azure
import forge_tokens
import pytest
import stand_ins
from canary import CANARY, SHORTEST, Told
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID
from responders import Names, Page, Web, add_hosts, settled
from running import CA, PROVISIONER, SECONDS, answer, restarted
from wire import Account, Key, b64

from acme_iid.attestation.identity import Evidence
from acme_iid.policy.clouds import formats
from acme_iid.simulator import aws
from acme_iid.store.database import open_store


def evidence() -> Iterator[Evidence]:
    """Evidence of each format as a cloud would sign it for another binding, and of each format what is none."""
    yield forge.aws_rsa2048(forge.document())
    yield forge.aws_pkcs7(forge.document())
    yield forge.aws_signature(forge.document(privateIp=CANARY))
    yield forge_tokens.gcp_identity()
    yield forge_tokens.aws_web_identity()
    yield forge_azure.attested()
    yield forge_azure.managed_identity()
    unsigned = b64(json.dumps({"alg": "RS256", "kid": CANARY, "typ": "JWT"}).encode())
    for name in formats():
        yield Evidence(name, {"evidence": CANARY})
        yield Evidence(name, {"evidence": f"{unsigned}.{b64(json.dumps({'aud': CANARY}).encode())}.{b64(b'x' * 256)}"})
        yield Evidence(name, {"evidence": base64.b64encode(b"\x30\x82" + CANARY.encode()).decode()})
        yield Evidence(name, {"document": b64(CANARY.encode()), "signature": CANARY})


def send_evidence(told: Told, account: Account) -> None:
    """Answer a challenge with each."""
    for number, one in enumerate(evidence()):
        for name, value in one.fields.items():
            if len(value) >= SHORTEST:
                told.hide(f"evidence {number} of {one.format}, {name}", value)
        ordered = told.hear(account.order("foo.local")).json()
        told.hear(account.post(account.challenge(ordered)["url"], {"format": one.format, **one.fields}))


def order(told: Told, account: Account) -> None:
    """Order a certificate with real evidence and a CSR that has the client's password in it."""
    instance = aws.Instance(account="123456789042")
    given = answer(instance) | {"provisioner": PROVISIONER}
    told.hide("evidence that was taken", given["evidence"])
    made = told.hear(account.order("foo.local")).json()
    done = told.hear(account.post(account.challenge(made)["url"], given))
    assert done.json()["status"] == "valid", done.text
    key = Key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("foo.local")]), critical=False)
    request = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, CANARY.encode()).sign(key.private, hashes.SHA256())
    der = request.public_bytes(Encoding.DER)
    told.hide("the CSR", b64(der))
    told.hear(account.post(made["finalize"], {"csr": b64(der[:-1])}))
    told.hear(account.post(made["finalize"], {"csr": CANARY}))
    told.hear(account.post(made["finalize"], {"csr": b64(der)}))
    # Another account key with the evidence of the same instance, which is refused.
    other = Account.new(account.wire)
    again = told.hear(other.order("foo.local")).json()
    late = answer(restarted(instance, 1))
    told.hide("evidence that was refused", late["evidence"])
    assert told.hear(other.post(other.challenge(again)["url"], late)).json()["status"] == "invalid"


def bind(told: Told, ca: CA, account: Account) -> None:
    """Make accounts with an external key, rightly and wrongly, and with a JWK that has its private part."""
    wire, key = account.wire, Key()
    url = wire.directory["newAccount"]
    made = json.loads(ca.cli("eab", "add", "--json").stdout)
    told.hide("the external key", made["hmac_key"])
    private = b64(key.private.private_numbers().private_value.to_bytes(32, "big"))
    told.hide("the account's private key", private)
    for secret in (made["hmac_key"], b64(CANARY.encode() * 2)):
        first = b64(json.dumps({"alg": "HS256", "kid": made["key_id"], "url": url}).encode())
        second = b64(json.dumps(key.jwk).encode())
        mac = hmac.digest(base64.urlsafe_b64decode(secret + "=="), f"{first}.{second}".encode(), hashlib.sha256)
        binding = {"protected": first, "payload": second, "signature": b64(mac)}
        told.hear(wire.post(url, {"externalAccountBinding": binding}, Key()))
        told.hear(wire.post(url, {"externalAccountBinding": binding}, key))
    told.hear(wire.post(url, {"termsOfServiceAgreed": True}, key, jwk={**key.jwk, "d": private}))
    told.hear(
        wire.post(url, {"externalAccountBinding": {"protected": CANARY, "payload": CANARY, "signature": CANARY}}, key)
    )
    told.hear(wire.post(url, {}, key, jwk={"kty": "oct", "k": CANARY}))
    body = wire.body(url, {}, key, None)
    told.hear(wire.send(url, body | {"signature": CANARY}))
    told.hear(wire.send(url, body | {"payload": CANARY}))
    told.hear(wire.send(url, f"{CANARY}{{".encode()))


def send_headers(told: Told, ca: CA) -> None:
    """Send the canary in headers, paths, queries and what is no HTTP."""
    session = ca.wire().session
    headers = {"Authorization": f"Bearer {CANARY}", "Cookie": f"session={CANARY}", "X-Request-Id": CANARY,
               "X-Forwarded-For": CANARY, "User-Agent": CANARY, "Proxy-Authorization": CANARY,
               "Content-Type": CANARY, "Accept": CANARY}  # fmt: skip
    for path in ("/acme/directory", "/health", f"/{CANARY}", f"/acme/order/{CANARY}", f"/acme/directory?token={CANARY}",
                 "/acme/new-order", f"/crl/{CANARY}"):  # fmt: skip
        for method in ("GET", "POST", "DELETE", CANARY):
            told.hear(session.request(method, ca.url + path, headers=headers, data=CANARY, timeout=SECONDS))
    context = ssl.create_default_context(cafile=str(ca.root))
    for octets in (
        f"{CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/9.{CANARY}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{CANARY}\r\n\r\n",
    ):
        with (
            socket.create_connection(("127.0.0.1", ca.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
        ):
            stream.sendall(octets.encode())
            told.texts.append(stream.recv(65536).decode())


def answer_http(told: Told, account: Account, names: Names, web: Web) -> None:
    """Have a host answer the server's http-01 request with the canary, in a page and in a redirection."""
    for name, page in {
        "page": Page(CANARY.encode()),
        "status": Page(CANARY.encode(), 500, {"X-Secret": CANARY}),
        "away": Page(b"", 302, {"Location": f"http://u:{CANARY}@127.0.0.1:1/{CANARY}"}),
    }.items():
        names.set(f"{name}.local", "A", "127.0.0.1")
        wanted = {"identifier": {"type": "dns", "value": f"{name}.local"}}
        made = told.hear(account.post(account.wire.directory["newAuthz"], wanted)).json()
        challenge = next(entry for entry in made["challenges"] if entry["type"] == "http-01")
        web.pages[f"/.well-known/acme-challenge/{challenge['token']}"] = page
        told.hear(account.post(challenge["url"], {}))
        told.hear(settled(account, challenge["url"]))


def reload(ca: CA) -> None:
    """Have the server read ca.toml again, and wait until it has said what it thinks of it."""
    assert ca.process is not None
    count = sum("The configuration was" in line for line in list(ca.log)) + 1
    ca.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + SECONDS
    while sum("The configuration was" in line for line in list(ca.log)) < count:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.01)


def configurations(ca: CA) -> Iterator[None]:
    """Write the canary into ca.toml in each way that is wrong, and in the way that was right, one after another."""
    good = (ca.home / "ca.toml").read_text()
    store = next(line for line in good.splitlines() if line.startswith("url = ") and "ca.db" in line)
    url = f"postgresql://acme:{CANARY}@127.0.0.1:1/acme?connect_timeout=1"
    (ca.home / "two-lines").write_text(f"{CANARY}\n{CANARY}\n")
    for text in (
        good.replace(store, f'url = "{url}"'),
        good.replace(store, f'url = "postgresql://acme:{CANARY}%zz@127.0.0.1:1/acme"'),
        good.replace(store, f'url = "postgres+x://acme:{CANARY}@127.0.0.1:1/acme"'),
        good.replace(store, f'url = ["{url}"]'),
        good.replace(store, f'url_file = "{url}"'),
        good.replace(store, f'{store}\npassword = "{CANARY}"'),
        f'{good}\n[[sink]]\nsecret = "{CANARY}"\n',
        f"{good}\n[store]\npassword = {CANARY}\n",
        f'{good}\n[[sink]]\nname = "siem"\nurl = "https://siem.local/in"\nsecret_file = "{url}"\n',
        f'{good}\n[[sink]]\nname = "siem"\nurl = "https://siem.local/in"\nsecret_file = "two-lines"\n',
        f'{good}\n[[sink]]\nname = "siem"\nurl = "https://siem.local/in"\nheader = "X-Token: {CANARY}"\n',
        f'{good}\n[[sink]]\nname = "siem"\nurl = "https://u:{CANARY}@siem.local/in"\n',
        f'{good}\n[[sink]]\nname = "siem"\nurl = "http://siem.local/{CANARY}"\n',
        f'{good}\n[[sink]]\nname = "log"\nurl = "syslog+tls://log.local"\ncertificate_file = "two-lines"\n',
    ):
        (ca.home / "ca.toml").write_text(text)
        yield
    (ca.home / "ca.toml").write_text(good.replace(store, 'url_file = "store-url"'))
    for content in (url, f"{url}\n{url}", f"{CANARY}\x00", f"mysql://acme:{CANARY}@db"):
        (ca.home / "store-url").write_text(content)
        (ca.home / "store-url").chmod(0o644)
        yield
    (ca.home / "ca.toml").write_text(good)


def break_store(told: Told, ca: CA, account: Account) -> None:
    """Let requests with secrets meet a fault that nobody foresaw."""
    ordered = account.order("foo.local").json()
    challenge = account.challenge(ordered)["url"]
    with closing(open_store(ca.store_url)) as store, store.transaction() as transaction:
        transaction.run("ALTER TABLE instances RENAME TO elsewhere")
        transaction.run("ALTER TABLE external_keys RENAME TO elsewhere_keys")
    late = answer(aws.Instance(account="123456789042")) | {"provisioner": PROVISIONER}
    told.hide("evidence that met a fault", late["evidence"])
    failed = told.hear(account.post(challenge, late))
    assert failed.status_code == 500, failed.text
    url = account.wire.directory["newAccount"]
    protected = b64(json.dumps({"alg": "HS256", "kid": CANARY, "url": url}).encode())
    binding = {"protected": protected, "payload": b64(b"{}"), "signature": b64(CANARY.encode())}
    told.hear(account.wire.post(url, {"externalAccountBinding": binding}, Key()))
    with closing(open_store(ca.store_url)) as store, store.transaction() as transaction:
        transaction.run("ALTER TABLE elsewhere RENAME TO instances")
        transaction.run("ALTER TABLE elsewhere_keys RENAME TO external_keys")


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[CA]:
    """A CA whose store is a file, so that the store's settings can be changed."""
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    yield ca
    if ca.process is not None:
        ca.kill()


@pytest.mark.parametrize("format_", ["text", "json", "logfmt"])
def test_no_secret_is_told(ca: CA, tmp_path: Path, format_: str) -> None:
    told = Told()
    password = tmp_path / "password"
    password.write_text(f"{CANARY}\n")
    password.chmod(0o600)
    (tmp_path / "keys").mkdir()
    with (ca.home / "ca.toml").open("a") as file:
        file.write(stand_ins.provisioners(tmp_path / "keys"))
    for path in (ca.root_key, ca.intermediate_key):
        told.hide(path.name, path.read_text().splitlines()[1])
    names, web = Names(), Web()
    with closing(names), closing(web):
        add_hosts(ca, names, web.port)
        ca.start("--log-format", format_, "--log-level", "debug", "--password-file", str(password),
                 env={"PGPASSWORD": CANARY, "ACME_IID_UNKNOWN": CANARY})  # fmt: skip
        account = ca.account()
        order(told, account)
        send_evidence(told, account)
        bind(told, ca, account)
        send_headers(told, ca)
        answer_http(told, account, names, web)
        break_store(told, ca, account)
        for _ in configurations(ca):
            reload(ca)
        ca.until_logged("certificate.issued")
        told.texts.append(ca.cli("events", "--json", "--limit", "1000").stdout)
        # What a process writes that is aborted: neither a traceback of C's nor a core's message has more.
        assert ca.process is not None
        process, ca.process = ca.process, None
        process.send_signal(signal.SIGABRT)
        assert process.wait(SECONDS) == -signal.SIGABRT
    log = "".join(ca.log)
    assert "unexpected failure" in log
    assert "Traceback" in log
    assert told.given_away(log) == []
    assert [(what, text) for text in told.texts if (what := told.given_away(text))] == []
    assert not os.path.lexists("core")
    if format_ == "json":
        assert all(json.loads(line)["message"] for line in ca.log)


def test_no_command_tells_a_secret_of_ca_toml(ca: CA) -> None:
    told = Told()
    for _ in configurations(ca):
        for command in ("check", "check --reload", "provisioner list", "events", "status --json", "policy show --json"):
            done = ca.try_cli(*command.split())
            assert told.given_away(done.stdout + done.stderr) == []


def test_the_search_finds_what_it_looks_for() -> None:
    """A secret as it is, a part of a long one, and encoded in the middle of something."""
    told = Told()
    told.hide("long", "0123456789" * 20)
    assert told.given_away(f"x{CANARY}y") == ["the canary"]
    assert told.given_away(("0123456789" * 20)[:60]) == ["long"]
    for before in ("", "a", "ab"):
        assert "the canary" in told.given_away(b64(f"{before}{CANARY}zz".encode()))
    assert told.given_away("nothing") == []
