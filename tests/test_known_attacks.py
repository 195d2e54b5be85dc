"""Attacks that have happened elsewhere: each has its test here, or is named in ATTACKS with the one that it has."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forge
import forge_tokens
import pytest
from running import ACCOUNT, CA, answer
from wire import Account, Key, problem

from acme_iid.simulator import aws

ATTACKS = {
    "a forged document inside a correctly signed but different CMS (SPIRE 1.14.6)": (
        "tests/attestation/test_aws.py",
        "forged",
    ),
    "a chain anchored on the first attached certificate (SPIRE 1.14.7, Teleport)": (
        "tests/attestation/test_azure.py",
        "first_certificate",
    ),
    "a signature that is never checked (CVE-2026-46354)": ("tests/attestation/test_azure.py", "self_signed"),
    "AIA used for server-side request forgery (CVE-2026-45796)": ("tests/attestation/test_azure.py", "aia"),
    "a service account's self-signed token with a made-up claim (CVE-2020-16251)": (
        "tests/attestation/test_gcp.py",
        "self_signed_token_with_a_made_up_compute_engine_claim",
    ),
    "attacker-shaped STS answers (CVE-2020-16250)": ("tests/attestation/test_aws_web_identity.py", "sts"),
    "a cache keyed without the account (CVE-2025-11621)": ("tests/test_known_attacks.py", "cache"),
    "an ignored error that lets a request through (CVE-2025-44005)": ("tests/test_known_attacks.py", "ignored_error"),
    "a constant audience that any receiver can replay (SPIRE gcp)": (
        "tests/attestation/test_gcp.py",
        "constant_audience",
    ),
    "case and suffix tricks on metadata.azure.com": ("tests/attestation/test_azure.py", "case_and_suffix_tricks"),
    "a user-assigned identity whose xms_mirid is not the VM": (
        "tests/attestation/test_azure_managed_identity.py",
        "xms_mirid_is_not_the_vm",
    ),
    "a token of another tenant": ("tests/attestation/test_azure_managed_identity.py", "another_tenant"),
    "duplicate JSON keys read differently by two parsers": ("tests/attestation/test_gcp.py", "duplicate_json_keys"),
    "single-use checks that race (SPIRE join tokens)": ("tests/test_known_attacks.py", "single_use"),
    "template injection (step 2020)": ("tests/test_admission.py", "forges_a_label_or_a_dot"),
}
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_a_test_named_after_it(attack: str) -> None:
    file, part = ATTACKS[attack]
    functions = [
        node.name for node in ast.walk(ast.parse((REPOSITORY / file).read_text())) if isinstance(node, ast.FunctionDef)
    ]
    assert [name for name in functions if name.startswith("test_") and part in name], attack


def test_a_cache_of_keys_never_lets_one_account_sign_for_another(shared_ca: CA) -> None:
    one, other = shared_ca.account(), shared_ca.account()
    # Both keys have been looked at, and so remembered.
    assert one.post(one.url).status_code == other.post(other.url).status_code == 200
    impostor = Account(one.wire, other.key, one.url)
    assert problem(impostor.post(one.url)) == "malformed"


def test_a_cache_of_verdicts_there_is_none_the_same_document_is_judged_for_each_account(shared_ca: CA) -> None:
    instance = aws.Instance(account=ACCOUNT)
    shared_ca.account().obtain("foo.local", answer=answer(instance))
    _, (refused,) = shared_ca.account().prove("foo.local", answer=answer(instance))
    assert refused.json()["status"] == "invalid"


@pytest.mark.parametrize(
    "members",
    [
        {"privateIp": "not an address"},
        {"privateIp": 7},
        {"availabilityZone": "eu-west-1a"},
        {"pendingTime": "soon"},
        {"version": None},
        {"instanceId": "i-" + "g" * 17},
        {"accountId": int(ACCOUNT)},
        {"region": "us-west-2\u0000"},
    ],
    ids=str,
)
def test_an_ignored_error_lets_no_request_through(shared_ca: CA, members: dict[str, object]) -> None:
    account = shared_ca.account()
    document = forge.document(**{"accountId": ACCOUNT, **members})
    evidence = forge.aws_rsa2048(document)
    ordered, (response,) = account.prove("foo.local", answer={"format": evidence.format, **evidence.fields})
    assert response.json()["status"] == "invalid"
    assert account.post(ordered.headers["Location"]).json()["status"] == "invalid"


def test_a_single_use_check_does_not_race(shared_ca: CA) -> None:
    """One nonce, eight requests at once: one passes."""
    account = shared_ca.account()
    for _ in range(5):
        nonce = account.wire.nonce()
        body = account.wire.body(account.url, None, account.key, account.url, {"nonce": nonce})
        wires = [shared_ca.wire() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(lambda wire, sent=body: wire.send(account.url, sent).status_code, wires))
        assert statuses == [200] + [400] * 7


def test_a_single_use_release_is_used_once(shared_ca: CA) -> None:
    instance = aws.Instance(account=ACCOUNT)
    first, second = shared_ca.account(), shared_ca.account()
    first.obtain("foo.local", answer=answer(instance))
    shared_ca.cli("instance", "release", instance.instance_id, "--to", second.key.thumbprint)
    second.obtain("foo.local", answer=answer(instance))
    _, (back,) = first.prove("foo.local", answer=answer(instance))
    assert back.json()["status"] == "invalid"
    again = Account.new(shared_ca.wire(), Key())
    _, (stranger,) = again.prove("foo.local", answer=answer(instance))
    assert stranger.json()["status"] == "invalid"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server that notes who asks it for a key set."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = forge_tokens.key_set(forge_tokens.google())
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/keys", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_evidence_that_nobody_wants_makes_this_ca_fetch_nothing(own_ca: CA, listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    toml = own_ca.home / "ca.toml"
    toml.write_text(
        toml.read_text()
        + '\n[[provisioner]]\nname = "GCP"\ntype = "GCP"\nprojects = ["p"]\nformats = ["gcp-identity"]\n'
        + f'jwks = "{url}"\n'
    )
    own_ca.start()
    account = own_ca.account()
    evidence = forge_tokens.gcp_identity()
    given = {"format": evidence.format, **evidence.fields}
    _, (wanted,) = account.prove("foo.local", answer=given)
    assert wanted.json()["status"] == "invalid"
    assert asked == ["/keys"]
    web = forge_tokens.aws_web_identity()
    _, (unwanted,) = account.prove("foo.local", answer={"format": web.format, **web.fields})
    assert "no provisioner accepts evidence of format aws-web-identity" in unwanted.json()["error"]["detail"]
    assert asked == ["/keys"]
