"""A CA with several roots, as while one replaces another: each counts, and what is kept about the CA stays its own."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import Issuer, Reply, ScriptedCA, issue, known, new_issuer, serve

from acme_iid.simulator import aws
from acme_iid.simulator import server as metadata_servers
from acme_iid_client import clouds
from acme_iid_client.acme import bootstrapping, known_ca, order
from acme_iid_client.cli import client_snippets
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import account_keys
from acme_iid_client.storage.directories import Directories
from acme_iid_client.x509 import keys
from acme_iid_client.x509.certificates import check_issued, fingerprint, load_certificates

Run = Callable[..., subprocess.CompletedProcess[str]]

NAME = "Example Root CA"
"""All roots here have one name, so that it is the key which tells them apart."""
RECORDING = json.dumps({
    "cloud": "aws", "format": "rsa2048-pkcs7-sha256", "document": '{"instanceId": "i-1"}', "signature": "MIIB",
}).encode()  # fmt: skip
"""What a metadata service gives out; nobody checks it here."""
OLD, NEW, THIRD = new_issuer(NAME), new_issuer(NAME), new_issuer(NAME)
ROOTS = OLD.certificate, NEW.certificate
UNREADABLE = "it has no certificate, or one that cannot be read"


def digits(issuer: Issuer) -> str:
    return fingerprint(issuer.certificate)


@pytest.fixture
def where(tmp_path: Path) -> Directories:
    """Where the programs of the fixture ``acme_iid`` keep things."""
    return Directories(tmp_path / "config/acme-iid", tmp_path / "state/acme-iid")


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    """A CA whose server is under the old root, and which gives both roots by their fingerprints."""
    with serve(tmp_path, tls=OLD) as running:
        running.root = OLD
        running.once |= {f"/root/{digits(NEW)}": [Reply(body=NEW.pem)] * 9}
        yield running


@pytest.mark.parametrize("issuer", [OLD, NEW], ids=["old", "new"])
def test_a_server_under_either_root_is_the_ca(
    acme_iid: Run, tmp_path: Path, where: Directories, issuer: Issuer
) -> None:
    with serve(tmp_path, tls=issuer) as ca:
        bootstrapping.save(where, ca.url, ROOTS)
        done = acme_iid("health")
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_a_server_under_a_third_root_is_not_the_ca(acme_iid: Run, tmp_path: Path, where: Directories) -> None:
    with serve(tmp_path, tls=THIRD) as ca:
        bootstrapping.save(where, ca.url, ROOTS)
        done = acme_iid("health")
    assert done.returncode == 12
    assert "does not verify under the CA's root certificate" in done.stderr
    assert "/health" not in ca.paths()


@pytest.mark.parametrize("issuer", [OLD, NEW, THIRD], ids=["old", "new", "third"])
def test_a_certificate_has_to_chain_to_one_of_the_roots(tmp_path: Path, issuer: Issuer) -> None:
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(OLD.pem + NEW.pem)
    request = order.Request(["foo.local"], keys.KeyType("EC", "P-256"))
    with metadata_servers.serve(aws.recorded(RECORDING)) as service, serve(tmp_path, tls=OLD) as ca:
        # The CA's honest chain is made under its root; the root itself may be sent along.
        ca.root = issuer
        ca.chain = lambda signing: ca.honest_chain(signing) + issuer.pem
        arguments = known(ca.url, roots_file), tmp_path / "state", clouds.here({}, service.url), Deadline(30)
        if issuer is THIRD:
            with pytest.raises(ClientError, match="does not chain to its root certificate"):
                order.order(request, *arguments, lambda _text: None)
            return
        issued = order.order(request, *arguments, lambda _text: None)
    assert issuer.certificate not in issued.chain
    issued.chain[-1].verify_directly_issued_by(issuer.certificate)


def test_a_root_renewed_with_its_key_counts_beside_the_ended_one() -> None:
    now = datetime.now(UTC)
    ended = issue(None, NAME, OLD.key, start=now - timedelta(days=9), days=1)
    key = keys.generate(keys.KeyType("EC", "P-256"))
    leaf = issue(OLD, "foo.local", key.public_key(), ["foo.local"])
    for roots in ((ended, OLD.certificate), (OLD.certificate, ended)):
        check_issued([leaf], roots, key.public_key(), ["foo.local"], now)
    with pytest.raises(ClientError, match="Check the clock"):
        check_issued([leaf], (ended, NEW.certificate), key.public_key(), ["foo.local"], now)


def test_bootstrap_takes_several_roots_each_by_its_fingerprint(
    acme_iid: Run, ca: ScriptedCA, where: Directories
) -> None:
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", digits(OLD), "--fingerprint", digits(NEW))
    assert done.returncode == 0, done.stderr
    roots_file = where.config / "certs/root_ca.crt"
    assert done.stdout.splitlines()[0] == f"The 2 root certificates have been saved in {roots_file}."
    assert load_certificates(roots_file.read_bytes()) == [*ROOTS]
    assert known_ca.load(where).roots == ROOTS
    assert ca.paths()[:3] == [f"/root/{digits(OLD)}", f"/root/{digits(NEW)}", "/health"]


def test_bootstrap_saves_no_root_if_one_of_several_is_another(
    acme_iid: Run, ca: ScriptedCA, where: Directories
) -> None:
    ca.once[f"/root/{digits(NEW)}"] = [Reply(body=THIRD.pem)]
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", digits(OLD), "--fingerprint", digits(NEW))
    assert done.returncode == 12
    assert f"has the fingerprint {digits(THIRD)}, not {digits(NEW)}. Nothing was saved." in done.stderr
    assert not where.config.exists()


def test_a_root_is_added_or_taken_away_on_a_clear_word_only(acme_iid: Run, ca: ScriptedCA, where: Directories) -> None:
    old, both = ("--fingerprint", digits(OLD)), ("--fingerprint", digits(NEW), "--fingerprint", digits(OLD))
    bootstrap = ("bootstrap", "--ca-url", ca.url, "--json")
    assert acme_iid(*bootstrap, *old).returncode == 0
    refused = acme_iid(*bootstrap, *both)
    assert (refused.returncode, known_ca.load(where).roots) == (12, (OLD.certificate,))
    assert "root_ca.crt exists already. Use --force" in refused.stderr
    said = json.loads(acme_iid(*bootstrap, *both, "--force").stdout)
    # The first root is the one that older programs know the CA by.
    assert (said["fingerprint"], said["fingerprints"]) == (digits(OLD), [digits(OLD), digits(NEW)])
    assert acme_iid(*bootstrap, *both).returncode == 0
    assert acme_iid(*bootstrap, *old).returncode == 12
    assert known_ca.load(where).roots == ROOTS


def test_what_is_kept_about_a_ca_outlives_its_first_root(where: Directories) -> None:
    for roots in ((OLD.certificate,), (NEW.certificate, OLD.certificate), (NEW.certificate,), (NEW.certificate,)):
        bootstrapping.save(where, "https://ca.local", roots)
        assert known_ca.load(where).identity == digits(OLD)
    assert known_ca.load(where).roots == (NEW.certificate,)
    bootstrapping.save(where, "https://ca.example", (NEW.certificate, THIRD.certificate))
    assert known_ca.load(where).identity == digits(OLD)
    # A CA without any root that this machine knew is another one.
    bootstrapping.save(where, "https://ca.example", (new_issuer(NAME).certificate,))
    assert known_ca.load(where).identity != digits(OLD)


def test_another_default_keeps_roots_and_identity_of_the_one_before(where: Directories) -> None:
    for roots in ((OLD.certificate,), ROOTS, (NEW.certificate,)):
        bootstrapping.save(where, "https://ca.local", roots)
    bootstrapping.save(where, "https://other.local", (THIRD.certificate,), first=True)
    assert known_ca.load(where).roots == (THIRD.certificate,)
    before = known_ca.load(where, "https://ca.local")
    assert (before.roots, before.identity) == ((NEW.certificate,), digits(OLD))


def test_roots_put_in_the_file_are_another_cas_unless_one_is_known(where: Directories) -> None:
    bootstrapping.save(where, "https://ca.local", (OLD.certificate,))
    roots_file = known_ca.load(where).roots_file
    roots_file.write_bytes(NEW.pem + OLD.pem)
    assert known_ca.load(where).identity == digits(OLD)
    roots_file.write_bytes(NEW.pem)
    assert known_ca.load(where).identity == digits(NEW)


def test_the_issuer_of_a_certificate_is_found_by_any_of_its_roots(where: Directories) -> None:
    bootstrapping.save(where, "https://third.local", (THIRD.certificate,))
    bootstrapping.save(where, "https://ca.local", ROOTS)
    for issuer, url in ((OLD, "https://ca.local"), (NEW, "https://ca.local"), (THIRD, "https://third.local")):
        leaf = issue(issuer, "foo.local", keys.generate(keys.KeyType("EC", "P-256")).public_key(), ["foo.local"])
        assert known_ca.load_issuer(where, [leaf]).ca_url == url


def test_an_existing_client_finds_its_ca_and_its_account(
    acme_iid: Run, tmp_path: Path, ca: ScriptedCA, where: Directories
) -> None:
    # What programs of before have written, to the letter.
    (where.config / "certs").mkdir(parents=True)
    (where.config / "certs/root_ca.crt").write_bytes(OLD.pem)
    content = {
        "ca_url": ca.url,
        "directory": f"{ca.url}/acme/directory",
        "fingerprint": digits(OLD),
        "root": str(where.config / "certs/root_ca.crt"),
        "azure_resource": "api://my-ca",
        "former_urls": ["https://before.local"],
    }
    (where.config / "authority.json").write_text(json.dumps(content, indent=2) + "\n")
    account, _ = account_keys.of_instance(where.state, digits(OLD), "aws:i-0a0b0c0d0e0f00001")
    assert acme_iid("health").stdout == "ok\n"
    before = known_ca.load(where, "https://before.local")
    assert (before.roots, before.token_resource) == ((OLD.certificate,), "api://my-ca")
    options = ("--fingerprint", digits(OLD), "--fingerprint", digits(NEW), "--force")
    assert acme_iid("bootstrap", "--ca-url", ca.url, *options).returncode == 0
    after = known_ca.load(where, "https://before.local")
    assert (after.roots, after.token_resource, after.ca_url) == (ROOTS, "api://my-ca", ca.url)
    assert [kept.thumbprint for kept in account_keys.all_of(where.state, after.identity)] == [account.thumbprint]
    # The present layout keeps the members that other programs read.
    assert json.loads((where.config / "authority.json").read_text()) == content | {
        "fingerprints": [digits(OLD), digits(NEW)]
    }
    assert tmp_path in where.config.parents


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"hello\n", UNREADABLE),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            UNREADABLE,
        ),
        (OLD.pem + NEW.pem[:200], UNREADABLE),
        (NEW.pem[:200] + OLD.pem, UNREADABLE),
        (OLD.pem + NEW.pem.replace(b"MII", b"AII", 1), UNREADABLE),
    ],
    ids=["empty", "blank", "text", "a key", "second cut off", "first cut off", "second damaged"],
)
def test_a_file_of_roots_that_cannot_be_used_is_said_to_be(
    acme_iid: Run, ca: ScriptedCA, where: Directories, tmp_path: Path, content: bytes, problem: str
) -> None:
    bootstrapping.save(where, ca.url, ROOTS)
    roots_file = where.config / "certs/root_ca.crt"
    roots_file.write_bytes(content)
    done = acme_iid("health")
    assert done.returncode == 12
    named = f"The file {roots_file} should hold the CA's root certificates in PEM, but {problem}."
    assert done.stderr == f"Error: {named} Run 'acme-iid bootstrap --force' to write it anew.\n"
    assert "/health" not in ca.paths()
    own = tmp_path / "own.pem"
    own.write_bytes(content)
    done = acme_iid("health", "--ca-url", ca.url, "--root", own)
    assert (done.returncode, problem in done.stderr, str(own) in done.stderr) == (12, True, True)
    options = ("--fingerprint", digits(OLD), "--fingerprint", digits(NEW), "--force")
    assert acme_iid("bootstrap", "--ca-url", ca.url, *options).returncode == 0
    assert acme_iid("health").returncode == 0


def test_a_recorded_identity_leads_to_no_other_directory(where: Directories) -> None:
    bootstrapping.save(where, "https://ca.local", (OLD.certificate,))
    configuration = where.config / "authority.json"
    for text in ("../../etc", "a" * 63, 7, ["x"]):
        configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"identity": text}))
        assert known_ca.load(where).identity == digits(OLD)


def test_other_programs_are_given_all_roots(tmp_path: Path) -> None:
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(OLD.pem + NEW.pem)
    settings = client_snippets.Settings("https://ca.local", roots_file, "kid", "A" * 22, ("foo.local",))
    text = client_snippets.FORMATS["cert-manager"](settings)
    (bundle,) = [line.removeprefix("    caBundle: ") for line in text.splitlines() if "caBundle" in line]
    assert load_certificates(base64.b64decode(bundle)) == [*ROOTS]


def test_a_root_in_der_is_one_root(acme_iid: Run, ca: ScriptedCA, tmp_path: Path) -> None:
    root = tmp_path / "root.der"
    root.write_bytes(OLD.certificate.public_bytes(Encoding.DER))
    assert acme_iid("health", "--ca-url", ca.url, "--root", root).returncode == 0
    root.write_bytes(NEW.certificate.public_bytes(Encoding.DER))
    assert acme_iid("health", "--ca-url", ca.url, "--root", root).returncode == 12


def test_certbots_plugin_trusts_all_roots_and_names_a_bad_file(tmp_path: Path) -> None:
    trust = pytest.importorskip("certbot_acme_iid.trust")
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(OLD.pem + NEW.pem)
    env: dict[str, str] = {"REQUESTS_CA_BUNDLE": str(tmp_path / "none.pem")}
    trust.add(roots_file, env)
    assert load_certificates(Path(env["REQUESTS_CA_BUNDLE"]).read_bytes()) == [*ROOTS]
    roots_file.write_bytes(OLD.pem + NEW.pem[:200])
    with pytest.raises(ClientError, match="is not a file with root certificates in PEM"):
        trust.add(roots_file, env)


def test_certbots_plugin_says_that_bootstrapped_roots_cannot_be_used(
    where: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = pytest.importorskip("certbot_acme_iid.authenticator")
    errors = pytest.importorskip("certbot.errors")
    bootstrapping.save(where, "https://ca.local", ROOTS)
    (where.config / "certs/root_ca.crt").write_bytes(b"")
    monkeypatch.setenv("ACME_IID_CONFIG_DIR", str(where.config))
    config = SimpleNamespace(server="https://ca.local/acme/directory", acme_iid_ca_bundle=None)
    with pytest.raises(errors.MisconfigurationError, match=r"root_ca\.crt should hold .* but it is empty"):
        authenticator.Authenticator(config, "acme-iid").prepare()
