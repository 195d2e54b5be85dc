"""acme-iid evidence and acme-iid verify, one after the other, for every format."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import forge_azure
import forge_tokens
import pytest
import stand_ins
from stand_ins import EC2, GCE, VM

from acme_iid.binding import binding
from acme_iid.errors import AttestationError
from acme_iid.simulator import aws
from acme_iid.simulator.gcp import MetadataServer
from acme_iid.simulator.listener import listening
from acme_iid.simulator.server import MetadataService
from acme_iid_client import clouds
from acme_iid_client.cli.verification import MAX_BYTES, Believed, verify
from acme_iid_client.clouds.azure import Azure
from acme_iid_client.errors import ClientError

Run = Callable[..., subprocess.CompletedProcess[str]]

BINDING = binding("token.thumbprint")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str | Path]]:
    """What 'acme-iid verify' takes to believe the test keys, by format."""
    stand_ins.provisioners(tmp_path)
    roots, azure_roots = tmp_path / "aws-roots.pem", tmp_path / "azure-roots.pem"
    issuer = forge_tokens.aws_issuer().url
    tenant: list[str | Path] = [
        "--jwks",
        tmp_path / "tenant.json",
        "--tenant",
        forge_azure.TENANT,
        "--audience",
        stand_ins.RESOURCE,
    ]
    return {
        "aws-rsa2048": ["--iid-roots", roots],
        "aws-signature": ["--iid-roots", roots],
        "aws-pkcs7": ["--iid-roots", roots],
        "aws-nitrotpm": ["--iid-roots", roots, "--nitro-roots", tmp_path / "nitro-roots.pem"],
        "aws-web-identity": [
            "--jwks", tmp_path / "web-identity.json", "--issuer", issuer, "--account", EC2.account,
        ],
        "gcp-identity": ["--jwks", tmp_path / "google.json"],
        "azure-attested": ["--iid-roots", azure_roots],
        "azure-managed-identity": ["--iid-roots", azure_roots, *tenant],
    }  # fmt: skip


@pytest.mark.parametrize("kind", clouds.formats())
def test_the_commands_show_and_verify_evidence_of_every_format(
    acme_iid: Run, files: dict[str, list[str | Path]], tmp_path: Path, kind: str
) -> None:
    with stand_ins.that_gives(kind, tmp_path) as service:
        more = ["--azure-resource", stand_ins.RESOURCE]
        raw = acme_iid("evidence", "--raw", "--format", kind, "--metadata-url", service.url, *more, env=service.env)
        shown = acme_iid("evidence", "--metadata-url", service.url, env=service.env)
        name = clouds.here(service.env, service.url).names()[0]
    assert raw.returncode == 0, raw.stderr
    assert name.split(".", maxsplit=1)[0] in shown.stdout.lower()
    done = acme_iid("verify", *files[kind], stdin=raw.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Verified: {kind}\n")
    assert "a key that was given" in done.stdout
    assert name in done.stdout
    documents = ("aws-rsa2048", "aws-signature", "aws-pkcs7")
    assert (
        "The evidence has no nonce" if kind in documents else "was not checked here: a CA compares it"
    ) in done.stdout
    if kind != "gcp-identity":
        # Google's keys would be fetched; that another key's token is refused is seen below.
        assert acme_iid("verify", stdin=raw.stdout).returncode in (1, 12)


def test_evidence_of_another_key_is_refused_at_the_signature(
    acme_iid: Run, files: dict[str, list[str | Path]], tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_bytes(forge_tokens.key_set(forge_tokens.stranger()))
    with stand_ins.that_gives("gcp-identity", tmp_path) as service:
        raw = acme_iid("evidence", "--raw", "--metadata-url", service.url, env=service.env)
    done = acme_iid("verify", "--jwks", "other.json", stdin=raw.stdout)
    assert done.returncode == 1
    assert "Refused at step 'signature'" in done.stderr
    token = json.loads(raw.stdout)["evidence"]
    assert acme_iid("verify", *files["gcp-identity"], stdin=token).stdout.startswith("Verified: gcp-identity\n")
    assert acme_iid("verify", *files["gcp-identity"], stdin=token[:-6] + "AAAAAA").returncode == 1


def test_evidence_that_is_old_is_authentic_and_said_to_be_of_no_use(
    acme_iid: Run, files: dict[str, list[str | Path]]
) -> None:
    hour_ago = int(time.time()) - 3600
    token = forge_tokens.google().sign(GCE.claims("https://somebody.else", hour_ago))
    done = acme_iid("verify", "--json", *files["gcp-identity"], stdin=token)
    found = json.loads(done.stdout)
    assert found["verified"] is True
    assert found["bound_to"] == "https://somebody.else"
    assert "seconds ago" in found["stale"]
    assert "A CA refuses it now" in acme_iid("verify", *files["gcp-identity"], stdin=token).stdout


def test_what_a_metadata_service_gives_is_recognized_as_it_is(
    acme_iid: Run, files: dict[str, list[str | Path]]
) -> None:
    with stand_ins.azure_vm(VM) as service:
        cms = Azure({}, service.url).evidence("azure-attested", BINDING).evidence
    for content in (cms, json.dumps({"encoding": "pkcs7", "signature": cms})):
        done = acme_iid("verify", *files["azure-attested"], stdin=content)
        assert done.stdout.startswith("Verified: azure-attested\n"), done.stderr
        assert f"nonce:         {BINDING.nonce}" in done.stdout


def test_what_a_token_takes_and_was_not_given_is_named(acme_iid: Run, tmp_path: Path) -> None:
    with stand_ins.that_gives("aws-web-identity", tmp_path) as service:
        raw = acme_iid(
            "evidence", "--raw", "--format", "aws-web-identity", "--metadata-url", service.url, env=service.env
        )
    done = acme_iid("verify", stdin=raw.stdout)
    assert done.returncode >= 10
    assert "--issuer and --account" in done.stderr


def test_verify_reads_what_google_really_signs(acme_iid: Run, samples: Path, tmp_path: Path) -> None:
    recorded = sorted(samples.glob("gcp-*.json"))
    assert recorded
    for path in recorded:
        sample = json.loads(path.read_bytes())
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": [sample["jwk"]]}))
        done = acme_iid("verify", "--json", "--jwks", "jwks.json", stdin=sample["signature"])
        found = json.loads(done.stdout)
        assert found["verified"] is True, path.name
        assert found["stale"]


def test_recorded_services_give_their_recordings(acme_iid: Run) -> None:
    token = forge_tokens.google().sign(GCE.claims("https://somebody.else", int(time.time())))
    recording = json.dumps({"cloud": "gcp", "signature": token}).encode()
    with listening(MetadataServer.recorded(recording)) as google:
        raw = acme_iid("evidence", "--raw", "--metadata-url", google.url)
    assert json.loads(raw.stdout) == {"format": "gcp-identity", "evidence": token}
    document = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": '{"instanceId": "i-1"}',
        "signature": "AAAA",
    }
    with listening(MetadataService(aws.recorded(json.dumps(document).encode()))) as amazon:
        assert json.loads(acme_iid("evidence", "--raw", "--metadata-url", amazon.url).stdout)["evidence"] == "AAAA"


def test_a_token_takes_both_of_what_names_its_issuer() -> None:
    for kind, believed in (
        ("aws-web-identity", Believed(issuer="https://a.tokens.sts.global.api.aws")),
        ("aws-web-identity", Believed(account="123456789042")),
        ("azure-managed-identity", Believed(tenant="72f988bf-86f1-41af-91ab-2d7cd011db47")),
        ("azure-managed-identity", Believed(audience="api://ca")),
    ):
        with pytest.raises(ClientError, match="token takes --"):
            believed.trust(kind)


@pytest.mark.parametrize("value", [1, None, ["x"], {"a": "b"}, True])
def test_evidence_whose_members_are_no_strings_is_refused(value: object) -> None:
    content = json.dumps({"format": "gcp-identity", "evidence": value}).encode()
    with pytest.raises(AttestationError, match="has to be a string"):
        verify(content, None, Believed(), 1_800_000_000)


def test_a_format_that_nobody_knows_is_named() -> None:
    content = json.dumps({"format": "oracle-identity", "evidence": "x"}).encode()
    with pytest.raises(ClientError, match=r"The format 'oracle-identity' is unknown; there are aws-"):
        verify(content, None, Believed(), 1_800_000_000)


def test_evidence_that_has_a_member_twice_is_refused() -> None:
    with pytest.raises(AttestationError, match="may occur once"):
        verify(b'{"evidence": "a", "format": "gcp-identity", "evidence": "b"}', None, Believed(), 1_800_000_000)


def test_evidence_that_the_ca_would_not_take_is_not_read() -> None:
    with pytest.raises(AttestationError, match="the most that the CA takes"):
        verify(b"x" * (MAX_BYTES + 1), "gcp-identity", Believed(), 1_800_000_000)
