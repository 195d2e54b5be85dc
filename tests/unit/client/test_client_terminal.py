"""What a person sees and is asked, with the program on a real terminal and off it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import Reply, ScriptedCA, issue, serve

from acme_iid.issuance import provisioner_extension
from acme_iid.simulator import aws, server

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        running.chain = lambda request: _chain(running, request)
        (tmp_path / "root.pem").write_bytes(running.root.pem)
        yield running


def _chain(ca: ScriptedCA, request: x509.CertificateSigningRequest) -> bytes:
    extension = provisioner_extension.extension(4, "AWS IID Provisioner", "123456789042")
    names = [name["value"] for name in ca.names]
    return issue(ca.root, ca.first, request.public_key(), names, extension=extension).public_bytes(Encoding.PEM)


@pytest.fixture
def options(ca: ScriptedCA) -> Iterator[list[str]]:
    recording = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": '{"instanceId": "i-1"}',
        "signature": "AAAA",
    }
    with server.serve(aws.recorded(json.dumps(recording).encode())) as metadata:
        yield ["--ca-url", ca.url, "--root", "root.pem", "--metadata-url", metadata.url]


def on_a_terminal(folder: Path, arguments: list[str], answer: bytes = b"", **env: str) -> tuple[int, str]:
    """Run acme-iid with a terminal for everything, type an answer, and return the status and what was shown."""
    master, slave = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
        "LANG": "C.UTF-8",
    } | env
    os.write(master, answer)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "acme_iid_client", *arguments],
            cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(slave)
            shown = b""
            # Reading from a terminal whose last user is gone ends with EIO.
            while True:
                try:
                    shown += os.read(master, 4096)
                except OSError:
                    break
            return process.wait(60), shown.decode()
    finally:
        os.close(master)


def test_an_order_ends_with_the_lines_that_people_look_for(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    done = acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "✔ Provisioner: AWS IID Provisioner (AWS)",
        f"✔ CA: {ca.url}",
        "✔ Certificate: foo.crt",
        "✔ Private Key: foo.key",
    ]
    assert (tmp_path / "foo.key").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (tmp_path / "foo.crt").read_bytes().count(b"BEGIN CERTIFICATE") == 1, "the root is not in the file"


def test_files_are_named_after_the_name(acme_iid: Run, options: list[str], tmp_path: Path) -> None:
    done = acme_iid("order", "*.foo.local", "--san", "bar.local", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "_.foo.local.crt").exists()
    assert (tmp_path / "_.foo.local.key").exists()


def test_json_is_all_there_is_on_stdout(acme_iid: Run, ca: ScriptedCA, options: list[str]) -> None:
    found = json.loads(acme_iid("order", "foo.local", "a.crt", "a.key", "--san", "10.0.0.1", "--json", *options).stdout)
    assert found["names"] == ["foo.local", "10.0.0.1"]
    assert (found["ca"], found["certificate"], found["key"]) == (ca.url, "a.crt", "a.key")
    assert found["provisioner"] == {"type": "AWS", "name": "AWS IID Provisioner", "credential_id": "123456789042"}


def test_a_terminal_that_cannot_spell_the_mark_gets_another(acme_iid: Run, options: list[str]) -> None:
    done = acme_iid("order", "foo.local", *options, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "* Certificate: foo.local.crt" in done.stderr


def test_marks_are_green_on_a_terminal_unless_colour_is_not_wanted(options: list[str], tmp_path: Path) -> None:
    status, shown = on_a_terminal(tmp_path, ["order", "foo.local", *options])
    assert status == 0, shown
    assert "\x1b[32m✔\x1b[0m Certificate: foo.local.crt" in shown
    status, shown = on_a_terminal(tmp_path, ["order", "foo.local", "--force", *options], NO_COLOR="1")
    assert status == 0, shown
    assert "\x1b" not in shown
    assert "✔ Certificate: foo.local.crt" in shown


@pytest.mark.parametrize(("answer", "overwritten"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_a_person_is_asked_before_files_are_overwritten(
    options: list[str], tmp_path: Path, answer: bytes, overwritten: bool
) -> None:
    (tmp_path / "foo.local.crt").write_bytes(b"old")
    status, shown = on_a_terminal(tmp_path, ["order", "foo.local", *options], answer)
    assert "foo.local.crt exists already. Overwrite?" in shown
    assert (status == 0) is overwritten
    assert ((tmp_path / "foo.local.crt").read_bytes() != b"old") is overwritten


def test_a_renewal_says_where_the_certificate_is(acme_iid: Run, options: list[str], tmp_path: Path) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", "--curve", "P-384", "--mode", "640", *options)
    before = (tmp_path / "foo.crt").read_bytes(), (tmp_path / "foo.key").read_bytes()
    done = acme_iid("renew", "--force", "foo.crt", "foo.key", *options)
    assert done.stdout == "Your certificate has been saved in foo.crt.\n", done.stderr
    after = (tmp_path / "foo.crt").read_bytes(), (tmp_path / "foo.key").read_bytes()
    assert after[0] != before[0]
    assert after[1] == before[1], "a renewal keeps the key; --new-key and rekey make one"
    assert "ECDSA P-384" in acme_iid("inspect", "--short", "foo.crt").stdout
    assert (tmp_path / "foo.key").stat().st_mode & 0o777 == 0o640


def test_a_renewal_asks_for_the_provisioner_that_was_used(acme_iid: Run, ca: ScriptedCA, options: list[str]) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    ca.asked.clear()
    acme_iid("renew", "--force", "foo.crt", "foo.key", *options)
    answer = next(payload for path, payload in ca.asked if path == "/acme/challenge/1")
    assert answer["provisioner"] == "AWS IID Provisioner"


def test_a_failed_renewal_leaves_the_pair_as_it_was(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("foo.*")}
    ca.challenge = {
        "status": "invalid",
        "error": {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "closed"},
    }
    done = acme_iid("renew", "--force", "foo.crt", "foo.key", *options)
    assert done.returncode >= 10
    assert "Error: The CA refused the evidence for foo.local: closed" in done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.glob("foo.*")} == before


@pytest.mark.parametrize(("remedy", "lasts"), [("operator", True), ("another word", False)])
def test_a_refusal_lasts_if_the_ca_says_that_an_operator_mends_it(
    acme_iid: Run, options: list[str], ca: ScriptedCA, remedy: str, lasts: bool
) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    error = {"type": "urn:ietf:params:acme:error:connection", "detail": "closed", "remedy": remedy}
    refused = {"type": "iid-01", "status": "invalid", "url": f"{ca.url}/acme/challenge/1", "token": "t" * 43}
    ca.once["/acme/challenge/1"] = [Reply(body={**refused, "error": error}) for _ in range(2)]
    renew = ("renew", "--expires-in", "30h", "foo.crt", "foo.key", *options)
    assert "The CA refused the evidence for foo.local: closed" in acme_iid(*renew).stderr
    before = len(ca.asked)
    assert "closed" in acme_iid(*renew).stderr
    assert (len(ca.asked) == before) is lasts


def test_a_revocation_names_the_serial_number(
    acme_iid: Run, options: list[str], ca: ScriptedCA, tmp_path: Path
) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    serial = x509.load_pem_x509_certificate((tmp_path / "foo.crt").read_bytes()).serial_number
    for key in (["--key", "foo.key"], []):
        done = acme_iid("revoke", "--cert", "foo.crt", *key, "--reason", "keyCompromise", *options)
        assert done.stdout == f"Certificate with Serial Number {serial} has been revoked.\n", done.stderr
        assert ca.asked[-1][1]["reason"] == 1


def test_inspect_shows_the_whole_bundle_where_that_is_asked_for(
    acme_iid: Run, ca: ScriptedCA, options: list[str]
) -> None:
    ca.chain = None
    done = acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    assert done.returncode == 0, done.stderr
    titles = [line for line in acme_iid("inspect", "--short", "foo.crt").stdout.splitlines() if "X.509v3" in line]
    assert [title.split(" (")[0] for title in titles] == ["X.509v3 TLS Certificate"]
    whole = [line for line in acme_iid("inspect", "--bundle", "foo.crt").stdout.splitlines() if "X.509v3" in line]
    assert whole == ["X.509v3 TLS Certificate", "X.509v3 Intermediate CA Certificate"]
    assert json.loads(acme_iid("inspect", "--json", "foo.crt").stdout)["names"] == ["foo.local"]
    found = json.loads(acme_iid("inspect", "--json", "--bundle", "foo.crt").stdout)
    assert [entry["subject"] for entry in found] == ["foo.local", "Scripted Intermediate CA"]


def test_a_revocation_tells_scripts_what_it_was(acme_iid: Run, options: list[str]) -> None:
    acme_iid("order", "foo.local", "foo.crt", "foo.key", *options)
    serial = json.loads(acme_iid("inspect", "--json", "foo.crt").stdout)["serial"]
    told = json.loads(acme_iid("revoke", "--cert", "foo.crt", "--reasonCode", "superseded", "--json", *options).stdout)
    assert (told["serial"], told["revoked"], told["reason"]) == (serial, True, 4)
