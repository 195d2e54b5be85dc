from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import Reply, ScriptedCA, new_issuer, serve

from acme_iid_client.x509.certificates import fingerprint

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        yield running


def test_bootstrap_saves_the_root_and_the_authority_and_says_where(
    acme_iid: Run, ca: ScriptedCA, tmp_path: Path
) -> None:
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate))
    assert done.returncode == 0, done.stderr
    config = tmp_path / "config/acme-iid"
    assert done.stdout.splitlines() == [
        f"The root certificate has been saved in {config}/certs/root_ca.crt.",
        f"The authority configuration has been saved in {config}/authority.json.",
    ]
    assert (config / "certs/root_ca.crt").read_bytes() == ca.root.pem
    assert acme_iid("health").stdout == "ok\n"


def test_scripts_read_where_things_are(acme_iid: Run, ca: ScriptedCA, tmp_path: Path) -> None:
    digits = fingerprint(ca.root.certificate)
    told = json.loads(acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", digits, "--json").stdout)
    config = tmp_path / "config/acme-iid"
    assert told == {
        "ca": ca.url, "fingerprint": digits, "fingerprints": [digits], "root": str(config / "certs/root_ca.crt"),
        "configuration": str(config / "authority.json"), "default": True,
        "terms_of_service": None, "terms_of_service_agreed": False,
    }  # fmt: skip
    assert json.loads(acme_iid("health", "--json").stdout) == {"ca": ca.url, "status": "ok"}


def test_the_address_of_terms_cannot_write_on_the_terminal(acme_iid: Run, ca: ScriptedCA) -> None:
    body = ca.usual("/acme/directory", None).body
    assert isinstance(body, dict)
    for options in ((), ("--agree-tos",)):
        ca.once["/acme/directory"] = [Reply(body=body | {"meta": {"termsOfService": "https://ca.local/\x1b[2J"}})]
        done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate), *options)
        assert done.returncode == 0, done.stderr
        assert "https://ca.local/?[2J" in done.stdout


def test_bootstrap_takes_a_fingerprint_as_openssl_prints_it(acme_iid: Run, ca: ScriptedCA) -> None:
    digits = fingerprint(ca.root.certificate).upper()
    pairs = ":".join(digits[i : i + 2] for i in range(0, 64, 2))
    assert acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", pairs).returncode == 0


def test_bootstrap_saves_nothing_when_the_server_sends_another_root(
    acme_iid: Run, ca: ScriptedCA, tmp_path: Path
) -> None:
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", "ab" * 32)
    assert done.returncode >= 10
    assert fingerprint(ca.root.certificate) in done.stderr
    assert "Nothing was saved" in done.stderr
    assert not (tmp_path / "config").exists()


def test_bootstrap_saves_nothing_when_the_server_has_no_such_root(
    acme_iid: Run, ca: ScriptedCA, tmp_path: Path
) -> None:
    ca.once[f"/root/{'ab' * 32}"] = [Reply(404)]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", "ab" * 32)
    assert done.returncode >= 10
    assert "no root certificate with that fingerprint" in done.stderr
    assert not (tmp_path / "config").exists()


def test_bootstrap_saves_nothing_if_the_server_is_not_under_the_root(acme_iid: Run, tmp_path: Path) -> None:
    # The right root, relayed by a server that has no certificate from it.
    with serve(tmp_path, tls=new_issuer("Somebody Else")) as ca:
        done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate))
    assert done.returncode >= 10
    assert "does not verify under the CA's root certificate" in done.stderr
    assert "/health" not in ca.paths()
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (Reply(body=b"hello"), "did not send a certificate as its root"),
        (Reply(404), "has no root certificate with that fingerprint"),
        (Reply(body=b"x" * 70_000), "larger than any root"),
        (Reply(302, headers={"Location": "https://127.0.0.1:1/"}), "status 302"),
        (Reply(500), "status 500"),
    ],
)
def test_bootstrap_refuses_what_is_no_root(acme_iid: Run, ca: ScriptedCA, reply: Reply, complaint: str) -> None:
    expected = fingerprint(ca.root.certificate)
    ca.once[f"/root/{expected}"] = [reply]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", expected)
    assert done.returncode >= 10
    assert complaint in done.stderr


@pytest.mark.parametrize(
    "url", ["http://ca.local", "ftp://ca.local", "https://", "https://user@ca.local", "https://a?b"]
)
def test_bootstrap_takes_https_addresses_only(acme_iid: Run, url: str) -> None:
    done = acme_iid("bootstrap", "--ca-url", url, "--fingerprint", "ab" * 32)
    assert done.returncode == 2
    assert "is not a CA's address" in done.stderr


def test_no_other_trust_store_counts(acme_iid: Run, tmp_path: Path) -> None:
    stranger = new_issuer("Somebody Else")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(stranger.pem)
    with serve(tmp_path, tls=stranger) as ca:
        root = tmp_path / "root.pem"
        root.write_bytes(ca.root.pem)
        env = {"REQUESTS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(bundle), "CURL_CA_BUNDLE": str(bundle)}
        done = acme_iid("health", "--ca-url", ca.url, "--root", root, env=env)
        assert done.returncode >= 10
        assert "does not verify" in done.stderr
        root.write_bytes(stranger.pem)
        assert acme_iid("health", "--ca-url", ca.url, "--root", root, env=env).returncode == 0


@pytest.mark.parametrize("form", ["PEM", "PEM with text", "DER"])
def test_a_root_is_taken_as_people_have_it(acme_iid: Run, ca: ScriptedCA, tmp_path: Path, form: str) -> None:
    root = tmp_path / "root"
    text = f"Subject: CN=Root\nSHA-256: {fingerprint(ca.root.certificate)}\n".encode()
    contents = {
        "PEM": ca.root.pem,
        "PEM with text": text + ca.root.pem + b"\nthe end\n",
        "DER": ca.root.certificate.public_bytes(Encoding.DER),
    }
    root.write_bytes(contents[form])
    done = acme_iid("health", "--ca-url", ca.url, "--root", root)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_a_root_that_is_served_with_text_is_saved(acme_iid: Run, ca: ScriptedCA) -> None:
    digits = fingerprint(ca.root.certificate)
    ca.once[f"/root/{digits}"] = [Reply(body=b"Subject: CN=Root\n" + ca.root.pem)]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", digits)
    assert done.returncode == 0, done.stderr
    assert acme_iid("health").stdout == "ok\n"


def test_bootstrap_takes_one_root_and_no_other_beside_it(acme_iid: Run, ca: ScriptedCA, tmp_path: Path) -> None:
    expected = fingerprint(ca.root.certificate)
    ca.once[f"/root/{expected}"] = [Reply(body=ca.root.pem + new_issuer("Somebody Else").pem)]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", expected)
    assert done.returncode >= 10
    assert "Nothing was saved" in done.stderr
    assert not (tmp_path / "config").exists()


def test_a_root_that_is_gone_is_asked_for_again(acme_iid: Run, ca: ScriptedCA, tmp_path: Path) -> None:
    acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate))
    root = tmp_path / "config/acme-iid/certs/root_ca.crt"
    root.unlink()
    done = acme_iid("health")
    assert done.returncode == 12
    assert f"The root certificate {root} is gone. Run 'acme-iid bootstrap' again." in done.stderr


@pytest.mark.parametrize("options", [(), ("--ca-url", "https://ca.local")], ids=["no address", "an address"])
def test_a_machine_that_knows_no_ca_says_so(acme_iid: Run, options: tuple[str, ...]) -> None:
    done = acme_iid("health", *options)
    assert done.returncode == 12
    assert "This machine does not know a CA yet. Run: acme-iid bootstrap" in done.stderr
