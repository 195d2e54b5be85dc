"""Which keys accounts and certificates may have is the operator's to say."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from running import CA, answer
from wire import Account, Key, b64, csr, problem

from acme_iid.simulator import aws

ALGORITHMS = ["ES256", "RS256"]


@dataclass
class P384(Key):
    """A P-384 key; its requests say so in ``alg``."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    @property
    def jwk(self) -> dict[str, str]:
        numbers = self.private.public_key().public_numbers()
        x, y = (b64(value.to_bytes(48, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-384", "x": x, "y": y}

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CA]:
    ca = CA(tmp_path_factory.mktemp("keys") / "ca")
    ca.init()
    file = ca.home / "ca.toml"
    text = file.read_text()
    policy = 'key_types = ["P-384"]\naccount_algorithms = ["ES256", "RS256"]\n'
    file.write_text(text.replace("\n[server]", f"{policy}\n[server]", 1))
    ca.start()
    yield ca
    ca.stop()


@pytest.fixture
def account(ca: CA) -> Account:
    return ca.account()


def test_an_account_with_another_algorithm_is_told_the_configured_ones(ca: CA) -> None:
    wire = ca.wire()
    refused = wire.post(wire.directory["newAccount"], {}, P384(), alg="ES384")
    assert problem(refused) == "badSignatureAlgorithm"
    assert refused.json()["algorithms"] == ALGORITHMS


def test_a_key_is_not_changed_to_one_of_another_algorithm(account: Account) -> None:
    url, new = account.wire.directory["keyChange"], P384()
    payload = {"account": account.url, "oldKey": account.key.jwk}
    inner = account.wire.body(url, payload, new, None, {"alg": "ES384"}, drop=("nonce",))
    refused = account.post(url, inner)
    assert problem(refused) == "badSignatureAlgorithm"
    assert refused.json()["algorithms"] == ALGORITHMS


def test_a_certificate_needs_a_configured_key_type_and_its_key_revokes_it(
    account: Account, instance: aws.Instance
) -> None:
    order = account.order("foo.local").json()
    assert account.post(account.challenge(order)["url"], answer(instance)).json()["status"] == "valid"
    refused = account.post(order["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert problem(refused) == "badCSR"
    assert "the keys that are: P-384" in refused.json()["detail"]
    key, request = csr("foo.local", key=P384())
    done = account.post(order["finalize"], {"csr": b64(request)}).json()
    assert done["status"] == "valid"
    der = b64(pem_to_der(account.post(done["certificate"]).text))
    # Accounts may not sign with ES384, the certificate's own key may.
    wire = account.wire
    by_account = wire.post(wire.directory["revokeCert"], {"certificate": der}, P384(), account.url, alg="ES384")
    assert problem(by_account) == "badSignatureAlgorithm"
    by_key = wire.post(wire.directory["revokeCert"], {"certificate": der, "reason": 1}, key, alg="ES384")
    assert by_key.status_code == 200, by_key.text


def pem_to_der(chain: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(chain.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
