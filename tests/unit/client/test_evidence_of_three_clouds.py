"""What the client fetches for each format, and what it does not fetch for anybody."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import forge
import forge_azure
import forge_tokens
import pytest
import stand_ins
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from josepy.jwk import JWKEC
from stand_ins import EC2, VM
from trusting import judged as judged_claims
from trusting import trusting

from acme_iid import iid01
from acme_iid.attestation.aws_trust import WebIdentityIssuer
from acme_iid.attestation.azure_trust import AzureTenant
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.attestation.trust import TrustStore
from acme_iid.binding import EVIDENCE_FIELDS, Binding, binding
from acme_iid.protocol import jwk
from acme_iid.simulator import gcp, nitro
from acme_iid.simulator.azure_service import AzureService
from acme_iid.simulator.listener import Request, Response, Service, listening
from acme_iid_client import clouds
from acme_iid_client.acme.known_ca import parse_resource
from acme_iid_client.clouds import nitrotpm, sts
from acme_iid_client.clouds.azure import Azure, nonce_of
from acme_iid_client.clouds.gcp import GCP
from acme_iid_client.clouds.metadata import FormatUnavailableError
from acme_iid_client.clouds.sigv4 import Credentials
from acme_iid_client.errors import ClientError

KEY = ec.generate_private_key(ec.SECP256R1())
BINDING = binding("token.thumbprint", KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass
class Asked:
    """A service, and what was asked of it."""

    service: Service
    paths: list[str] = field(default_factory=list)

    @property
    def banner(self) -> str:
        return self.service.banner

    @property
    def reads(self) -> frozenset[str]:
        return self.service.reads

    def answer(self, request: Request) -> object:
        self.paths.append(request.path)
        return self.service.answer(request)


@contextmanager
def serving(service: Service) -> Iterator[tuple[str, list[str]]]:
    """Serve, and keep the paths that are asked for."""
    asked = Asked(service)
    with listening(asked) as running:  # type: ignore[arg-type]  # what it passes on is the service's own answer
        yield running.url, asked.paths


def trust(folder: Path) -> TrustStore:
    """Believe all of the test keys."""
    return trusting(
        {"test": forge.keys().certificates},
        azure_roots={"test": forge_azure.keys().roots},
        nitro_roots={"test": nitro.Keys.open(folder / "nitro").roots},
        gcp_keys={"test": forge_tokens.key_set(forge_tokens.google())},
        google=False,
        web_identity=[
            WebIdentityIssuer.of("test", forge_tokens.aws_issuer().url, EC2.account, forge_tokens.aws_issuer().key_set)
        ],
        azure_tenants=[AzureTenant.of("test", forge_azure.TENANT, stand_ins.RESOURCE, forge_azure.keys().key_set)],
    )


def judged(answer: iid01.IID01Response, believed: TrustStore, binding: Binding) -> InstanceIdentity:
    """What the CA makes of an answer."""
    members: Mapping[str, str] = answer.to_json()
    fields = {name: value for name, value in members.items() if name in EVIDENCE_FIELDS}
    verifier, now = VERIFIERS[answer.format], int(time.time())
    return judged_claims(verifier, verifier.authenticate(Evidence(answer.format, fields), believed, now), binding, now)


@pytest.mark.parametrize("kind", clouds.formats())
def test_evidence_of_every_format_is_bound_and_names_the_instance(kind: str, tmp_path: Path) -> None:
    with stand_ins.that_gives(kind, tmp_path) as service:
        here = clouds.here(service.env, service.url, stand_ins.RESOURCE)
        identity = judged(here.evidence(kind, BINDING), trust(tmp_path), BINDING)
        assert identity.format == kind
        assert here.instance() == f"{identity.cloud}:{identity.instance_id}"
        assert set(here.names()) == {name.value for name in identity.names}


def test_the_binding_holds_the_account_key_as_the_server_has_it() -> None:
    account = JWKEC(key=KEY)
    challenge = iid01.IID01(token=b"t" * 32)
    bound = challenge.binding(account)
    assert bound.public_key == jwk.spki(KEY.public_key())
    assert bound == binding(challenge.key_authorization(account), bound.public_key)


# Azure


def test_a_document_that_stays_stale_is_an_error_after_a_few_requests() -> None:
    with serving(AzureService(VM, forge_azure.keys(), stale_nonces=100)) as (url, asked):
        here = clouds.here({}, url)
        with pytest.raises(ClientError, match="made for an earlier request"):
            here.evidence("azure-attested", BINDING)
    assert asked.count("/metadata/attested/document") == 6


@pytest.mark.parametrize(
    "resource",
    [
        "https://management.azure.com/",
        "https://vault.azure.net",
        "api://AzureADTokenExchange",
        "api://azureadtokenexchangeusgov",
        "00000003-0000-0000-c000-000000000000",
        "api://",
        "api://a b",
        "",
    ],
)
def test_no_token_is_asked_for_what_opens_more_than_this_ca(resource: str) -> None:
    with pytest.raises(ClientError, match="not a resource of the CA's own"):
        parse_resource(resource)


def test_without_a_resource_no_managed_identity_token_is_asked_for() -> None:
    with serving(AzureService(VM, forge_azure.keys())) as (url, asked):
        here = clouds.here({}, url)
        with pytest.raises(FormatUnavailableError, match="--azure-resource"):
            here.evidence("azure-managed-identity", BINDING)
        formats = ("azure-managed-identity", "azure-attested")
        assert clouds.collect(here, formats, BINDING).format == "azure-attested"
    assert not [path for path in asked if "oauth2" in path]


def test_intermediates_go_along_when_the_environment_names_a_file(tmp_path: Path) -> None:
    file = tmp_path / "intermediates.pem"
    file.write_bytes(forge_azure.keys().roots)
    env = {"ACME_IID_AZURE_INTERMEDIATES": str(file)}
    with stand_ins.azure_vm(VM) as service:
        answer = Azure(env, service.url).evidence("azure-attested", BINDING)
        assert answer.intermediates == file.read_text()
        file.write_text("no certificate")
        with pytest.raises(ClientError, match="is not a PEM file"):
            Azure(env, service.url).evidence("azure-attested", BINDING)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader_of_a_nonce(data: bytes) -> None:
    assert nonce_of(data) is None or isinstance(nonce_of(data), str)


# GCP


@dataclass
class Answers:
    """A service with one answer."""

    response: Response
    banner: str = "a server"
    reads: frozenset[str] = frozenset()

    def answer(self, _request: Request) -> Response:
        return self.response


def test_an_answer_without_googles_header_is_not_believed() -> None:
    with (
        serving(Answers(Response(HTTPStatus.OK, b"a.b.c"))) as (url, _),
        pytest.raises(ClientError, match="is not Google's metadata server"),
    ):
        GCP({}, url).evidence("gcp-identity", BINDING)


def test_a_vm_without_a_service_account_is_told_to_get_one() -> None:
    answer = Response(HTTPStatus.NOT_FOUND, b"", {"Metadata-Flavor": "Google"})
    with serving(Answers(answer)) as (url, _), pytest.raises(FormatUnavailableError, match="no service account"):
        GCP({}, url).evidence("gcp-identity", BINDING)


@pytest.mark.parametrize("project", ["my-project", "example.com:my-project"])
def test_the_names_of_internal_dns_are_made_as_google_makes_them(project: str) -> None:
    instance = gcp.Instance(project=project, instance_name="web-1")
    with stand_ins.gce(instance) as service:
        here = clouds.here({}, service.url)
        assert here.names()[0] == instance.hostname
        assert here.names()[1] == instance.hostname.replace(f".{instance.zone}.", ".")
        assert here.facts()["project"] == project


# AWS: web identity


def test_an_instance_without_a_role_gets_no_web_identity() -> None:
    with stand_ins.ec2(EC2) as service:
        here = clouds.here({}, service.url)
        with pytest.raises(FormatUnavailableError, match="has no role"):
            here.evidence("aws-web-identity", BINDING)


CREDENTIALS = Credentials("ASIAEXAMPLEEXAMPLE00", "secret", "token")


@pytest.mark.parametrize(
    "endpoint", ["http://sts.example", "https://user@sts.example", "ftp://127.0.0.1", "https://sts/?a", "here"]
)
def test_a_session_token_leaves_this_machine_over_tls_only(endpoint: str) -> None:
    with pytest.raises(ClientError, match="is not an https URL of an STS endpoint"):
        sts.web_identity_token(CREDENTIALS, "us-west-2", "audience", {"AWS_ENDPOINT_URL_STS": endpoint})


@pytest.mark.parametrize("region", ["", "us-west-2.evil.example", "us west-2", "us-west-2/"])
def test_a_region_that_is_none_makes_no_host_name(region: str) -> None:
    with pytest.raises(ClientError, match="as the region, which is not a region"):
        sts.web_identity_token(CREDENTIALS, region, "audience", {})


def test_credentials_unknown_to_sts_are_refused_in_the_words_of_sts() -> None:
    with stand_ins.ec2(EC2, role=True) as service, pytest.raises(FormatUnavailableError) as error:
        sts.web_identity_token(CREDENTIALS, EC2.region, "audience", service.env)
    assert "InvalidClientTokenId: The security token included in the request is invalid" in str(error.value)
    assert CREDENTIALS.secret not in str(error.value)


def test_credentials_are_kept_out_of_representations() -> None:
    assert repr(CREDENTIALS) == "Credentials(access_key_id='ASIAEXAMPLEEXAMPLE00')"


# AWS: NitroTPM


def _command(program: str) -> dict[str, str]:
    return {nitrotpm.VARIABLE: shlex.join([sys.executable, "-c", program])}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"PATH": "/nonexistent"}, "has no nitro-tpm-attest"),
        ({nitrotpm.VARIABLE: "/nonexistent/attest"}, "cannot be run: No such file"),
        (_command("import sys; sys.exit('no TPM here')"), r"\(status 1\): no TPM here"),
        (_command("print('x' * 100_000)"), "more than 32768 octets"),
        (_command("pass"), r"\(status 0\): it says nothing"),
    ],
)
def test_a_program_that_makes_no_document_is_said_to(env: dict[str, str], message: str) -> None:
    with pytest.raises(FormatUnavailableError, match=message):
        nitrotpm.attest(env, BINDING)


def test_a_program_that_does_not_end_is_ended_with_its_children() -> None:
    sleeper = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    with pytest.raises(FormatUnavailableError, match="took too long"):
        nitrotpm.attest(_command(sleeper), BINDING, seconds=1)
    assert time.monotonic() - start < 50


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    with pytest.raises(FormatUnavailableError):
        nitrotpm.attest({nitrotpm.VARIABLE: f"/bin/echo; touch {tmp_path / 'touched'}"}, BINDING)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(ClientError, match="is not a command"):
        nitrotpm.attest({nitrotpm.VARIABLE: "'"}, BINDING)
