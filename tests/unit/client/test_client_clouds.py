from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from acme_iid.attestation.registry import VERIFIERS
from acme_iid.binding import binding
from acme_iid.simulator import aws, server
from acme_iid_client import clouds
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import account_keys

Run = Callable[..., subprocess.CompletedProcess[str]]

INSTANCE = aws.Instance(instance_id="i-0123456789abcdef0", private_ip="172.31.65.180")
BINDING = binding("token.thumbprint")
DOCUMENTS = ("aws-rsa2048", "aws-signature", "aws-pkcs7")


@pytest.fixture(scope="module")
def signers() -> aws.Keys:
    return aws.Keys.generate()


@pytest.fixture
def metadata(signers: aws.Keys) -> Iterator[str]:
    with server.serve(aws.tree(INSTANCE, signers)) as running:
        yield running.url


@contextmanager
def answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """A metadata service that gives these answers, "METHOD path" -> status and body, and 404 otherwise."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            status, body = answers.get(f"{self.command} {self.path}", (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
            """Keep quiet."""

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=partial(service.serve_forever, 0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_address[1]}"
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


DOCUMENT = "GET /latest/dynamic/instance-identity/document"
TOKEN = "PUT /latest/api/token"


def test_every_format_of_the_server_has_a_collector() -> None:
    assert set(clouds.formats()) == set(VERIFIERS)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_evidence_is_what_the_metadata_service_signed(metadata: str, kind: str) -> None:
    answer = clouds.here({}, metadata).evidence(kind, BINDING)
    assert answer.format == kind
    if kind == "aws-signature":
        assert base64.urlsafe_b64decode(answer.document + "==") == INSTANCE.document
        assert base64.b64decode(answer.signature, validate=True)
    else:
        assert INSTANCE.document in base64.b64decode(answer.evidence, validate=True)


def test_the_instance_is_known_by_its_id(metadata: str) -> None:
    assert clouds.here({}, metadata).instance() == "aws:i-0123456789abcdef0"


def test_awss_own_variables_say_where_the_service_is(metadata: str) -> None:
    assert clouds.here({"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata}, None).facts()["accountId"] == "123456789042"
    with pytest.raises(ClientError, match="switched off by AWS_EC2_METADATA_DISABLED"):
        clouds.here({"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata, "AWS_EC2_METADATA_DISABLED": "true"}, None).facts()


def test_the_service_is_found_at_an_ipv6_address(signers: aws.Keys) -> None:
    with server.serve(aws.tree(INSTANCE, signers), listen=("::1", 0)) as running:
        assert clouds.here({}, running.url).instance() == "aws:i-0123456789abcdef0"


def test_a_service_without_sessions_is_asked_the_old_way() -> None:
    for refusal in (403, 404, 405):
        with answering({TOKEN: (refusal, b""), DOCUMENT: (200, INSTANCE.document)}) as url:
            assert clouds.here({}, url).instance() == "aws:i-0123456789abcdef0"


def test_a_service_that_fails_to_open_a_session_is_not_asked_the_old_way() -> None:
    with (
        answering({TOKEN: (500, b""), DOCUMENT: (200, INSTANCE.document)}) as url,
        pytest.raises(ClientError, match="status 500 when asked for a session token"),
    ):
        clouds.here({}, url).instance()


def test_a_token_that_does_not_arrive_is_the_hop_limit(signers: aws.Keys) -> None:
    with (
        server.serve(aws.tree(INSTANCE, signers), tokens="closed") as running,
        pytest.raises(ClientError, match="--http-put-response-hop-limit"),
    ):
        clouds.here({}, running.url).instance()


def test_a_service_that_is_switched_off_is_said_to_be() -> None:
    with (
        answering({TOKEN: (403, b""), DOCUMENT: (403, b"")}) as url,
        pytest.raises(ClientError, match=r"switched off.*--http-endpoint enabled"),
    ):
        clouds.here({}, url).instance()


def test_a_service_that_wants_a_token_and_gives_none_is_said_to() -> None:
    with (
        answering({TOKEN: (404, b""), DOCUMENT: (401, b"")}) as url,
        pytest.raises(ClientError, match="demands a session token"),
    ):
        clouds.here({}, url).instance()


def test_an_answer_that_is_too_large_is_not_read_to_its_end() -> None:
    with answering({TOKEN: (200, b"x" * 100_000)}) as url, pytest.raises(ClientError, match="larger than"):
        clouds.here({}, url).instance()


@pytest.mark.parametrize("document", [b"", b"hello", b"[]", b'{"instanceId": 1}'])
def test_a_document_that_is_none_is_refused(document: bytes) -> None:
    with (
        answering({TOKEN: (200, b"t"), DOCUMENT: (200, document)}) as url,
        pytest.raises(ClientError, match="Is it EC2's metadata service"),
    ):
        clouds.here({}, url).instance()


def test_a_token_cannot_add_headers() -> None:
    with (
        answering({TOKEN: (200, b"t\r\nX: y"), DOCUMENT: (200, INSTANCE.document)}) as url,
        pytest.raises(ClientError, match="does not give a session token"),
    ):
        clouds.here({}, url).instance()


def test_a_machine_in_no_cloud_hears_so(acme_iid: Run) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = acme_iid("evidence", "--metadata-url", f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert done.returncode >= 10
    assert "does not seem to be a cloud instance" in done.stderr
    assert "the connection is refused" in done.stderr


def test_a_metadata_address_that_is_none_is_refused(acme_iid: Run) -> None:
    done = acme_iid("evidence", "--metadata-url", "here")
    assert done.returncode >= 10
    assert "is not a metadata service's address" in done.stderr


def test_no_proxy_sees_the_metadata_service(acme_iid: Run, metadata: str) -> None:
    env = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
    assert acme_iid("evidence", "--metadata-url", metadata, env=env).returncode == 0


def test_evidence_says_which_instance_this_is(acme_iid: Run, metadata: str) -> None:
    done = acme_iid("evidence", "--metadata-url", metadata)
    assert "not verified" in done.stdout
    for fact in ("123456789042", "us-west-2", "i-0123456789abcdef0", "aws-rsa2048"):
        assert fact in done.stdout
    found = json.loads(acme_iid("evidence", "--json", "--metadata-url", metadata).stdout)
    assert found["facts"]["instanceId"] == "i-0123456789abcdef0"


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_evidence_is_verified_by_its_neighbour(
    acme_iid: Run, metadata: str, signers: aws.Keys, tmp_path: Path, kind: str
) -> None:
    raw = acme_iid("evidence", "--raw", "--format", kind, "--metadata-url", metadata)
    assert "Keep this secret" in raw.stderr
    (tmp_path / "roots.pem").write_bytes(signers.certificates)
    done = acme_iid("verify", "--iid-roots", "roots.pem", stdin=raw.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Verified: {kind}\n")
    assert "172.31.65.180" in done.stdout
    unknown = acme_iid("verify", stdin=raw.stdout)
    assert unknown.returncode == 1
    assert "Refused at step 'signature'" in unknown.stderr


def test_verify_names_the_failed_step_and_exits_with_1(
    acme_iid: Run, metadata: str, signers: aws.Keys, tmp_path: Path
) -> None:
    (tmp_path / "roots.pem").write_bytes(signers.certificates)
    answer = clouds.here({}, metadata).evidence("aws-rsa2048", BINDING).to_json()
    cms = base64.b64decode(answer["evidence"])
    changed = base64.b64encode(cms.replace(b"123456789042", b"123456789043")).decode()
    for content, step in (
        (json.dumps(answer | {"evidence": changed}), "signature"),
        (changed, "signature"),
        (base64.b64encode(cms + b"\0").decode(), "decoding"),
        (json.dumps(answer | {"document": "e30"}), "decoding"),
        (json.dumps(answer)[:-1] + ', "evidence": "AAAA"}', "decoding"),
        ("\u00fc", "decoding"),
        ("x" * 70_000, "decoding"),
        ("", "decoding"),
    ):
        done = acme_iid("verify", "--iid-roots", "roots.pem", "--json", stdin=content)
        assert done.returncode == 1
        assert json.loads(done.stdout)["step"] == step
        assert f"Refused at step '{step}'" in done.stderr


def test_verify_reads_what_the_clouds_really_sign(acme_iid: Run, samples: Path) -> None:
    found_files = sorted(samples.glob("aws-*.json")) + sorted(samples.glob("NEG-aws-*.json"))
    assert len(found_files) > 8
    for path in found_files:
        sample = json.loads(path.read_bytes())
        both = {"document": sample["document"], "signature": sample["signature"]}
        content = json.dumps(both) if sample["format"].startswith("signature") else sample["signature"]
        done = acme_iid("verify", "--json", stdin=content)
        found = json.loads(done.stdout)
        assert found["verified"] is sample["verifies"], path.name
        if sample["verifies"]:
            assert found["facts"]["instance_id"] == json.loads(sample["document"])["instanceId"]


def test_an_account_key_stays_with_its_instance(tmp_path: Path) -> None:
    first, others = account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")
    assert others == []
    assert account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")[0].thumbprint == first.thumbprint
    clone, others = account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-2")
    assert others == ["aws:i-1"]
    assert clone.thumbprint != first.thumbprint
    assert account_keys.of_instance(tmp_path, "https://other.local", "aws:i-1")[0].thumbprint != first.thumbprint
    assert account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-2")[1] == []


def test_two_first_orders_agree_on_one_account_key(tmp_path: Path) -> None:
    found: list[str] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait(10)
        found.append(account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")[0].thumbprint)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_damaged_account_key_is_not_made_anew(tmp_path: Path) -> None:
    known, _ = account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")
    known.file.write_bytes(b"{}")
    with pytest.raises(ClientError, match="cannot be read"):
        account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")
