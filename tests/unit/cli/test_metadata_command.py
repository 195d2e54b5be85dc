from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import forge
import pytest
from forge_tokens import BINDING
from trusting import judged, trusting

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS

COMMAND = (sys.executable, "-c", "from acme_iid.cli.metadata import metadata; metadata()")


@contextmanager
def running(*options: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the first line that it printed."""
    process = subprocess.Popen([*COMMAND, *map(str, options)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().rstrip("\n")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _failing(*options: str | Path) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *map(str, options)], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stderr.split())


def _fetch(url: str, path: str) -> str:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        token = connection.getresponse().read().decode()
        connection.request("GET", "/latest/" + path, headers={"X-aws-ec2-metadata-token": token})
        return connection.getresponse().read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_line_says_where_it_listens_and_a_signal_ends_it_well(number: signal.Signals) -> None:
    with running() as (process, line):
        words, _, url = line.rpartition(" ")
        assert words == "Metadata service:"
        assert _fetch(url, "meta-data/local-ipv4") == "172.31.65.180"
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout is not None
        rest = process.stdout.read()
    assert f"--metadata-url {url}" in rest
    assert "give --iid-roots-out FILE" in rest


def test_its_keys_are_kept_and_its_certificates_are_what_a_ca_takes(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    facts = {"account": "210987654321", "region": "eu-west-1", "instance-id": "i-0fedcba9876543210"}
    options = [part for name, value in facts.items() for part in (f"--{name}", value)]
    identities = set()
    for _ in range(2):
        with running(
            "--keys", tmp_path / "keys", "--iid-roots-out", roots, "--json", *options,
            "--image", "ami-11111111", "--instance-type", "m7g.large", "--private-ip", "10.1.2.3",
            "--pending-time", "2026-01-31T12:00:00Z",
        ) as (_, line):  # fmt: skip
            said = json.loads(line)
            evidence = _fetch(said["url"], "dynamic/instance-identity/rsa2048")
        assert (said["cloud"], said["iid_roots"]) == ("aws", str(roots))
        assert {name: said[name.replace("-", "_")] for name in facts} == facts
        trust = trusting({"mine": roots.read_bytes()})
        claims = VERIFIERS["aws-rsa2048"].authenticate(Evidence("aws-rsa2048", {"evidence": evidence}), trust, 0)
        assert (claims.document["imageId"], claims.document["instanceType"]) == ("ami-11111111", "m7g.large")
        assert (claims.document["privateIp"], claims.document["pendingTime"]) == ("10.1.2.3", "2026-01-31T12:00:00Z")
        identities.add((claims.key_id, claims.document["instanceId"]))
    assert len(identities) == 1


def test_a_recording_is_replayed(tmp_path: Path) -> None:
    recording = tmp_path / "recording.json"
    evidence = forge.aws_rsa2048(forge.document()).fields["evidence"]
    record = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": forge.document().decode(),
        "signature": evidence.replace("\n", ""),
    }
    recording.write_text(json.dumps(record))
    with running("--replay", recording, "--json") as (_, line):
        url = json.loads(line)["url"]
        assert _fetch(url, "dynamic/instance-identity/rsa2048") == evidence
    status, said = _failing("--replay", recording, "--account", "123456789042")
    assert status == 2
    assert "--replay serves what was recorded" in said


def test_mistakes_are_explained(tmp_path: Path) -> None:
    (tmp_path / "recording.json").write_text("{}")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "rsa2048.pem").write_text("hello")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options, status, sentence in (
            (["--listen", "8080"], 2, "give an address and a port, like 127.0.0.1:8080"),
            (["--listen", "127.0.0.1:99999"], 2, "give an address and a port"),
            (["--pending-time", "yesterday"], 2, "like 2026-01-31T12:00:00Z"),
            (["--cloud", "moon"], 2, "'moon' is not one of 'aws', 'gcp'"),
            (["--cloud", "gcp", "--account", "123456789042"], 2, "--account does not go with --cloud gcp"),
            (["--cloud", "gcp", "--imdsv1"], 2, "--imdsv1 does not go with --cloud gcp"),
            (["--cloud", "gcp", "--project-number", "0"], 2, "0 is not in the range"),
            (["--zone", "us-east1-b"], 2, "--zone does not go with --cloud aws"),
            (["--jwks-out", tmp_path / "keys.json"], 2, "--jwks-out goes with --role"),
            (["--listen", f"127.0.0.1:{port}"], 1, f"127.0.0.1:{port}: Address already in use."),
            (["--keys", tmp_path / "keys"], 1, "rsa2048.pem does not hold a simulator's key"),
            (["--iid-roots-out", tmp_path / "no" / "roots.pem"], 1, "No such file or directory."),
            (["--replay", tmp_path / "recording.json"], 1, "recording.json cannot be replayed: the recording is not"),
        ):
            ended, said = _failing(*options)
            assert (ended, sentence in said) == (status, True), said


def _get(url: str, path: str, **headers: str) -> str:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read().decode()


def test_it_stands_in_for_gcp_with_the_keys_that_a_ca_pins_or_fetches(tmp_path: Path) -> None:
    facts = {"instance-id": "3015378661047007286", "instance-name": "web", "project": "proj", "zone": "us-east1-b"}
    options = [part for name, value in facts.items() for part in (f"--{name}", value)]
    audience, key_ids = BINDING.audience, set()
    for _ in range(2):
        with running(
            "--cloud", "gcp", "--keys", tmp_path / "keys", "--jwks-out", tmp_path / "keys.json", "--json", *options,
            "--project-number", "42", "--service-account", "web@proj.iam.gserviceaccount.com",
            "--created", "2026-01-31T12:00:00Z",
        ) as (_, line):  # fmt: skip
            said = json.loads(line)
            path = f"/computeMetadata/v1/instance/service-accounts/default/identity?audience={audience}&format=full"
            evidence = Evidence("gcp-identity", {"evidence": _get(said["url"], path, **{"Metadata-Flavor": "Google"})})
            assert (said["cloud"], said["jwks"]) == ("gcp", str(tmp_path / "keys.json"))
            assert {name: said[name.replace("-", "_")] for name in facts} == facts
            now = int(time.time())
            for keys in (said["jwks_url"], (tmp_path / "keys.json").read_bytes()):
                trust = trusting(gcp_keys={"mine": keys}, google=False)
                claims = VERIFIERS["gcp-identity"].authenticate(evidence, trust, now)
                identity = judged(VERIFIERS["gcp-identity"], claims, BINDING, now)
                assert identity.id == "gcp:42:3015378661047007286"
                assert identity.facts["service_account"] == "web@proj.iam.gserviceaccount.com"
                assert identity.started_at == 1769860800
                key_ids.add(identity.key_id)
    assert len(key_ids) == 1


def test_for_people_it_says_where_the_keys_are() -> None:
    with running("--cloud", "gcp", "--instance-id", "3015378661047007286") as (process, line):
        url = line.rpartition(" ")[2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        rest = process.stdout.read()
    assert "It is the instance 3015378661047007286 of the project my-project in us-central1-a." in rest
    assert f"the keys at {url}/oauth2/v3/certs" in rest
    assert f"--metadata-url {url}" in rest


def test_a_gcp_recording_is_replayed(tmp_path: Path) -> None:
    recording = tmp_path / "recording.json"
    recording.write_text(json.dumps({"cloud": "gcp", "signature": "a.b.c", "jwk": {"kid": "x"}}))
    with running("--cloud", "gcp", "--replay", recording, "--json") as (_, line):
        said = json.loads(line)
        path = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=x"
        assert _get(said["url"], path, **{"Metadata-Flavor": "Google"}) == "a.b.c"
        assert json.loads(_get(said["jwks_url"], "/oauth2/v3/certs")) == {"keys": [{"kid": "x"}]}
    status, said = _failing("--replay", recording)
    assert (status, "cannot be replayed" in said) == (1, True)


def test_an_aws_instance_with_a_role_has_sts_at_the_same_address(tmp_path: Path) -> None:
    with running("--role", "web", "--jwks-out", tmp_path / "keys.json", "--keys", tmp_path / "keys", "--json") as (
        _,
        line,
    ):
        said = json.loads(line)
        assert _fetch(said["url"], "meta-data/iam/security-credentials/") == "web"
        assert json.loads(_fetch(said["url"], "meta-data/iam/security-credentials/web"))["Code"] == "Success"
        assert said["role"] == "arn:aws:iam::123456789042:role/web"
        published = _get(said["jwks_url"], urlsplit(said["jwks_url"]).path)
        assert published.encode() == (tmp_path / "keys.json").read_bytes()
        configuration = json.loads(_get(said["sts_url"], "/.well-known/openid-configuration"))
        assert configuration["issuer"] == said["issuer"]
    with running("--role", "web", "--keys", tmp_path / "keys") as (process, line):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        rest = process.stdout.read()
    assert f"AWS_ENDPOINT_URL_STS={line.rpartition(' ')[2]}" in rest
    assert said["issuer"] in rest


def test_a_reader_that_goes_away_does_not_keep_it_running() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen([*COMMAND], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    _, errors = process.communicate(timeout=20)
    # 120 is the interpreter's own word for an output that it could not flush.
    assert process.returncode in (1, 120)
    assert "Traceback" not in errors
