"""Attacks that have happened elsewhere: each has its test here, or is named in ATTACKS with the one that it has."""

from __future__ import annotations

import ast
import threading
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import forge
import forge_azure as fa
import forge_tokens
import pytest
from running import ACCOUNT, CA, answer
from trusting import trusting
from wire import Account, Key, problem

from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.errors import AttestationError, Step
from acme_iid.simulator import aws
from acme_iid.simulator.listener import Request, Response, listening

ATTACKS = {
    "a forged document inside a correctly signed but different CMS (SPIRE 1.14.6)": (
        "tests/unit/attestation/test_aws.py::test_a_forged_document_beside_a_correctly_signed_cms_is_malformed"
    ),
    "a chain anchored on the first attached certificate (SPIRE 1.14.7, Teleport)": (
        "tests/unit/attestation/test_azure_signers.py::test_a_chain_anchored_on_the_first_attached_certificate_is_refused"
    ),
    "a signature that is never checked (CVE-2026-46354)": (
        "tests/unit/attestation/test_azure_signers.py::test_a_signature_that_was_never_made_is_refused"
    ),
    "Microsoft's own self-signed documentation sample": (
        "tests/unit/attestation/test_azure_signers.py::test_a_self_signed_document_in_azures_name_is_refused"
    ),
    "AIA used for server-side request forgery (CVE-2026-45796)": (
        "tests/unit/attestation/test_azure_signers.py::test_an_aia_address_in_a_certificate_has_nothing_fetched"
    ),
    "a service account's self-signed token with a made-up claim (CVE-2020-16251)": (
        "tests/unit/attestation/test_gcp.py::test_a_service_accounts_token_with_a_made_up_instance_is_refused"
    ),
    "attacker-shaped STS answers (CVE-2020-16250)": (
        "tests/unit/attestation/test_aws_web_identity.py::test_an_attacker_shaped_sts_answer_speaks_for_no_other_account"
    ),
    "a cache keyed without the account (CVE-2025-11621)": (
        "tests/unit/test_known_attacks.py::test_a_cache_of_key_sets_never_lets_one_tenant_sign_for_another"
    ),
    "an ignored error that lets a request through (CVE-2025-44005)": (
        "tests/unit/test_known_attacks.py::test_an_ignored_error_lets_no_request_through"
    ),
    "a constant audience that any receiver can replay (SPIRE gcp)": (
        "tests/unit/attestation/test_gcp.py::test_a_constant_audience_that_any_receiver_can_replay_is_refused"
    ),
    "case and suffix tricks on metadata.azure.com": (
        "tests/unit/attestation/test_azure_signers.py::test_case_and_suffix_tricks_on_the_signers_name_are_refused"
    ),
    "a user-assigned identity whose xms_mirid is not the VM": (
        "tests/unit/attestation/test_azure_identity_attacks.py"
        "::test_a_user_assigned_identity_needs_the_vm_in_xms_az_rid"
    ),
    "a token of another tenant": (
        "tests/unit/attestation/test_azure_identity_attacks.py::test_a_token_of_another_tenant_is_refused"
    ),
    "duplicate JSON keys read differently by two parsers": (
        "tests/unit/attestation/test_gcp_decoding.py::test_duplicate_json_keys_read_differently_by_two_parsers_are_refused"
    ),
    "single-use checks that race (SPIRE join tokens)": (
        "tests/unit/test_known_attacks.py::test_a_single_use_check_does_not_race"
    ),
    "template injection (step 2020)": "tests/unit/policy/test_instances.py::test_no_fact_forges_a_label_or_a_dot",
}
"""The attacks of rfc-notes/iid-01.md that happened elsewhere, each with the one test that is named after it."""
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_has_a_test_and_a_mutation_that_it_alone_catches(attack: str) -> None:
    file, _, name = ATTACKS[attack].partition("::")
    functions = ast.walk(ast.parse((REPOSITORY / file).read_text()))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}
    mutations = tomllib.loads((REPOSITORY / "tests" / "tools" / "mutations" / "attacks.toml").read_text())["mutation"]
    assert [mutation for mutation in mutations if mutation["tests"] == [ATTACKS[attack]]], attack


def test_a_cache_of_keys_never_lets_one_account_sign_for_another(shared_ca: CA) -> None:
    one, other = shared_ca.account(), shared_ca.account()
    # Both keys have been looked at, and so remembered.
    assert one.post(one.url).status_code == other.post(other.url).status_code == 200
    impostor = Account(one.wire, other.key, one.url)
    assert problem(impostor.post(one.url)) == "malformed"


def test_a_cache_of_key_sets_never_lets_one_tenant_sign_for_another() -> None:
    """All tenants' keys are at one host; a set that was kept without the tenant would be everybody's."""
    issuers = {fa.TENANT: fa.keys(), "99999999-86f1-41af-91ab-2d7cd011db47": fa.other_keys()}
    with listening(KeySets({f"/{tenant}/keys": keys.key_set for tenant, keys in issuers.items()})) as running:
        tenants = [AzureTenant.of("mine", name, fa.AUDIENCE, f"{running.url}/{name}/keys") for name in issuers]
        trust = trusting(azure_roots={"mine": fa.keys().roots}, google=False, azure_tenants=tenants)
        verifier = VERIFIERS["azure-managed-identity"]
        # In both orders, so that each set is there, and would be found, when it is the other's turn.
        for tenant, other in (tuple(issuers), tuple(issuers)[::-1]) * 2:
            own = {"iss": f"https://sts.windows.net/{tenant}/", "tid": tenant}
            verifier.authenticate(fa.managed_identity(own, by=issuers[tenant]), trust, fa.NOW)
            with pytest.raises(AttestationError) as refused:
                verifier.authenticate(fa.managed_identity(own, by=issuers[other]), trust, fa.NOW)
            assert refused.value.step is Step.SIGNATURE


@dataclass
class KeySets:
    """One host with the key sets of several tenants, each at a path of its own."""

    served: Mapping[str, bytes]
    banner: str = "keys"
    reads: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Response:
        return Response(HTTPStatus.OK, self.served[request.path], {}, "application/json")


def test_verdicts_are_not_cached_and_each_account_is_judged_anew(shared_ca: CA) -> None:
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
        {"pendingTime": "2099-01-01T00:00:00Z"},
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


def test_a_single_use_check_does_not_race(own_ca: CA) -> None:
    """One nonce, eight requests at once, at two processes: one passes."""
    own_ca.start("--workers", "2")
    account = own_ca.account()
    for _ in range(5):
        nonce = account.wire.nonce()
        body = account.wire.body(account.url, None, account.key, account.url, {"nonce": nonce})
        wires = [own_ca.wire() for _ in range(8)]
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
