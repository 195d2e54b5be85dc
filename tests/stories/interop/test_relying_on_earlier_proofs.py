"""Other people's clients renew by what was proven before with their account key: the order is ready at once.

None of them can answer iid-01. The key's owner has proven the name once; within the provisioner's proof_lifetime the
clients order by themselves, and nothing listens for a challenge.
"""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from acme import client, crypto_util, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from enrolling import whole_id
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from ports import free_port
from running import CA, PROVISIONER, answer
from wire import Account, Key

from acme_iid.simulator import aws

NAME = "foo.local"


@pytest.fixture
def ca(own_ca: CA) -> CA:
    own_ca.cli("provisioner", "update", PROVISIONER, "--proof-lifetime", "24h")
    own_ca.start()
    return own_ca


def prove(ca: CA, key: Key, instance: aws.Instance) -> None:
    """Prove the name once with an account's key, as our client does."""
    _, (answered,) = Account.new(ca.wire(), key).prove(NAME, answer=answer(instance))
    assert answered.json()["status"] == "valid", answered.text


def decided(ca: CA, instance: aws.Instance) -> list[int]:
    """How many challenges of an instance's were judged, orders relied on that, and certificates were issued."""
    text = ca.cli("events", "--json", "--limit", "100", "--instance", whole_id(instance)).stdout
    kinds = [event["kind"] for event in json.loads(text)]
    return [kinds.count(kind) for kind in ("challenge.valid", "order.proven", "certificate.issued")]


def names_of(leaf: x509.Certificate) -> list[str]:
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def test_the_acme_library(ca: CA, instance: aws.Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.root))
    key = Key()
    network = client.ClientNetwork(JWKEC(key=key.private), alg=ES256)
    stock = client.ClientV2(client.ClientV2.get_directory(ca.directory, network), network)
    stock.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    request = crypto_util.make_csr(private, [NAME])
    assert stock.new_order(request).body.status == messages.STATUS_PENDING
    prove(ca, key, instance)
    for _ in range(2):
        order = stock.new_order(request)
        assert order.body.status == messages.STATUS_READY
        assert [entry.body.status for entry in order.authorizations] == [messages.STATUS_VALID]
        # It looks at the authorizations, and has no challenge to answer.
        finished = stock.poll_and_finalize(order, datetime.now() + timedelta(seconds=60))  # noqa: DTZ005 - as it wants
        assert names_of(x509.load_pem_x509_certificate(finished.fullchain_pem.encode())) == [NAME]
    assert decided(ca, instance) == [1, 2, 2]


def test_lego(ca: CA, instance: aws.Instance, tmp_path: Path) -> None:
    port = free_port()

    def lego(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/usr/bin/lego", "--accept-tos", "--server", ca.directory, "--email", "a@example.com", "--path", tmp_path,
             "--key-type", "ec256", "--http", "--http.port", f"127.0.0.1:{port}", "--domains", NAME, *command],
            env={"LEGO_CA_CERTIFICATES": str(ca.root), "HOME": str(tmp_path), "no_proxy": "*"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    # It makes its account, and can do no more by itself.
    assert lego("run").returncode != 0
    (pem,) = tmp_path.glob("accounts/*/*/keys/*.key")
    private = load_pem_private_key(pem.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    prove(ca, Key(private), instance)
    serials = set()
    for command in (("run",), ("renew", "--days", "36500", "--no-random-sleep")):
        done = lego(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        leaf = x509.load_pem_x509_certificate((tmp_path / f"certificates/{NAME}.crt").read_bytes())
        assert names_of(leaf) == [NAME]
        serials.add(leaf.serial_number)
    assert len(serials) == 2
    assert decided(ca, instance) == [1, 2, 2]
