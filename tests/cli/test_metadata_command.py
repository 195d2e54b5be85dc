from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import forge
import pytest

from acme_iid.attestation import VERIFIERS
from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.trust import TrustStore

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
        trust = TrustStore.load({"mine": roots.read_bytes()})
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
            (["--cloud", "moon"], 2, "'moon' is not 'aws'"),
            (["--listen", f"127.0.0.1:{port}"], 1, f"127.0.0.1:{port}: Address already in use."),
            (["--keys", tmp_path / "keys"], 1, "rsa2048.pem does not hold a simulator's key"),
            (["--iid-roots-out", tmp_path / "no" / "roots.pem"], 1, "No such file or directory."),
            (["--replay", tmp_path / "recording.json"], 1, "recording.json cannot be replayed: the recording is not"),
        ):
            ended, said = _failing(*options)
            assert (ended, sentence in said) == (status, True), said


def test_a_reader_that_goes_away_does_not_keep_it_running() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen([*COMMAND], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    _, errors = process.communicate(timeout=20)
    # 120 is the interpreter's own word for an output that it could not flush.
    assert process.returncode in (1, 120)
    assert "Traceback" not in errors
