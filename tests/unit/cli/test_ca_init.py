from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from running import CA

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.keys import CAFileError


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *map(str, arguments)])


def everything(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_home_is_made_whole_private_and_ready(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "ca"
    done = run(home, "init", "--name", 'My "own" CA', "--domain", "local", "--domain", "Corp.Internal")
    assert done.exit_code == 0, done.output
    issuer = CA(home).issuer_id
    (act,) = (home / "acts").iterdir()
    assert sorted(everything(home)) == [
        f"acts/{act.name}",
        "ca.toml",
        "certs/root_ca.crt",
        f"issuers/{issuer}/certificate.pem",
        f"issuers/{issuer}/chain.pem",
        f"issuers/{issuer}/issuer.toml",
        f"secrets/issuer_{issuer}_key",
        "secrets/root_ca_key",
    ]
    assert home.stat().st_mode & 0o777 == 0o700
    for key in (home / "secrets").iterdir():
        assert key.stat().st_mode & 0o777 == 0o600
        assert b"ENCRYPTED" not in key.read_bytes()
    found = ca_toml.load(home)
    assert (found.ca.name, found.ca.domains) == ('My "own" CA', ("local", "corp.internal"))
    assert (found.server.url, str(found.server.listen)) == ("https://ca.local", "0.0.0.0:443")
    authority = load_ca(home)
    assert authority.current.short_id == issuer
    (name,) = authority.current.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == 'My "own" Intermediate CA'
    assert f"Root fingerprint: {authority.root_fingerprint}\n" in done.stdout
    assert f"acme-iid bootstrap --ca-url https://ca.local --fingerprint {authority.root_fingerprint}\n" in done.stdout


def test_the_fingerprint_is_the_roots_sha256(tmp_path: Path) -> None:
    run(tmp_path / "ca", "init")
    root = x509.load_pem_x509_certificate((tmp_path / "ca/certs/root_ca.crt").read_bytes())
    assert run(tmp_path / "ca", "fingerprint").stdout == root.fingerprint(hashes.SHA256()).hex() + "\n"


def test_a_password_encrypts_both_keys(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    done = run(tmp_path / "ca", "init", "--password-file", tmp_path / "password")
    assert done.exit_code == 0
    assert "hunter2" not in done.output
    assert f"serve --password-file {tmp_path}/password" in done.stdout
    for key in (tmp_path / "ca/secrets").iterdir():
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in key.read_bytes()
    assert load_ca(tmp_path / "ca", "hunter2").root_fingerprint in done.stdout
    with pytest.raises(CAFileError):
        load_ca(tmp_path / "ca", "wrong")


def test_a_ca_is_never_overwritten(tmp_path: Path) -> None:
    run(tmp_path, "init")
    before = everything(tmp_path)
    again = run(tmp_path, "init", "--name", "Another")
    assert again.exit_code == 1
    assert again.output == f"Error: {tmp_path} already holds a CA; choose another directory with --home\n"
    assert everything(tmp_path) == before


OF_ANOTHER_ISSUER = ["issuers/0123456789abcdef", "secrets/issuer_0123456789abcdef_key"]


@pytest.mark.parametrize("path", ["secrets/root_ca_key", "certs/root_ca.crt", *OF_ANOTHER_ISSUER])
def test_leftovers_of_an_interrupted_init_are_left_alone_and_explained(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text("precious")
    done = run(tmp_path, "init")
    assert done.exit_code == 1
    assert f"{tmp_path / path} exists, without a ca.toml beside it" in done.output
    assert everything(tmp_path) == {path: b"precious"}


def test_an_empty_or_otherwise_used_directory_becomes_a_home(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2")
    tmp_path.chmod(0o755)
    assert run(tmp_path, "init", "--password-file", tmp_path / "password").exit_code == 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_disk_that_is_full_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    # A limit on the size of files fails writes as a full disk does: some files still fit, ca.toml does not.
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))

    done = subprocess.run(
        [sys.executable, "-B", "-m", "acme_iid.cli", "--home", tmp_path / "ca", "init"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "Error: File too large\n")
    assert list((tmp_path / "ca").iterdir()) == []
    assert run(tmp_path / "ca", "init").exit_code == 0
    assert load_ca(tmp_path / "ca").current.short_id == CA(tmp_path / "ca").issuer_id


def test_a_place_where_nothing_can_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file" / "ca", "init")
    assert (done.exit_code, done.output) == (1, f"Error: {tmp_path}/file/ca: Not a directory\n")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--name", "", "'' is no name"),
        ("--domain", "*.local", "'*.local' is a wildcard"),
        ("--url", "http://ca.local", "'http://ca.local' is plain HTTP; write https"),
        ("--listen", "443", "'443' is no address to listen on"),
    ],
)
def test_an_option_that_cannot_be_meant_is_wrong_usage(tmp_path: Path, option: str, value: str, reason: str) -> None:
    done = run(tmp_path / "ca", "init", option, value)
    assert done.exit_code == 2
    assert reason in done.output
    assert not (tmp_path / "ca").exists()


@pytest.mark.parametrize("arguments", [["--home", "{}", "init"], ["init", "--home", "{}"], ["init", "--home={}"]])
def test_home_may_stand_before_or_behind_the_command(tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(main, [argument.format(tmp_path / "ca") for argument in arguments])
    assert done.exit_code == 0
    assert (tmp_path / "ca/ca.toml").exists()
    assert f"acme-iid-ca --home {tmp_path}/ca serve\n" in done.stdout


def test_home_may_come_from_the_environment(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init"], env={"ACME_IID_CA_HOME": str(tmp_path / "ca")})
    assert done.exit_code == 0
    assert (tmp_path / "ca/ca.toml").exists()


def test_an_init_killed_at_any_moment_leaves_no_home_that_looks_whole(tmp_path: Path) -> None:
    # The kernel's own watch kills it: an audit hook in the child raises SIGKILL at its n-th file opened for writing.
    program = """
import os, signal, sys
left = int(sys.argv[1])
def watch(event, arguments):
    global left
    made = event == "open" and not isinstance(arguments[0], int) and arguments[2] & os.O_CREAT
    if made or event == "os.rename":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from acme_iid.cli import main
import acme_iid.cli.init, acme_iid.config.ca_toml, acme_iid.operations.founding
sys.addaudithook(watch)
main(["--home", sys.argv[2], "init"])
"""
    for moment in range(1, 11):
        home = tmp_path / str(moment)
        done = subprocess.run(
            [sys.executable, "-B", "-c", program, str(moment), home], capture_output=True, check=False
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert not (home / "ca.toml").exists()
    assert moment == 10, "eight files and a rename"
    assert ca_toml.load(home).ca.name == "My CA"
