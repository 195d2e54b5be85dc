"""Homes whose issuer's key is in a token: made, asked, moved on, backed up and restored; failures leave one key."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import CA
from signing import homes
from signing.programs import Program
from signing.softhsm import SoftHSM

from acme_iid.issuance import ceremony, key_places
from acme_iid.issuance.home import DESCRIPTION, FOLDER

TYPES = {"P-256": "EC:prime256v1", "P-384": "EC:secp384r1", "RSA-3072": "rsa:3072"}


@pytest.fixture
def ca(tmp_path: Path) -> CA:
    return CA(tmp_path / "home")


def test_a_ca_is_made_with_a_key_in_a_token(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    place = token.place()
    said = homes.init(ca, place, "--generate")
    assert f"The key {place} was made." in said
    assert token.private_keys() == 1
    assert not ca.intermediate_key.exists()
    assert key_places.read(ca.issuer_folder / DESCRIPTION) == place
    homes.verify_chain(ca, tmp_path)
    (listed,) = json.loads(ca.cli("issuer", "list", "--json").stdout)
    assert listed["key"] == str(place)


def test_a_ca_is_made_with_a_key_behind_a_program(ca: CA, program: Program, tmp_path: Path) -> None:
    homes.init(ca, program.place)
    homes.verify_chain(ca, tmp_path)
    refused = ca.try_cli("issuer", "rotate", "prepare", "--key", str(program.place), "--generate")
    assert refused.code == 2
    assert "--generate is for tokens" in refused.stderr


@pytest.mark.parametrize("key_type", TYPES)
def test_a_request_is_signed_in_the_token(key_type: str, ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    """The raw r and s of PKCS #11 are no signature in a request."""
    token.pkcs11_tool("--keypairgen", "--key-type", TYPES[key_type], "--label", "key", "--id", "01")
    csr = tmp_path / "ca.csr"
    homes.init(ca, token.place(), "--csr", csr)
    homes.verify_request(csr)
    (waiting,) = (ca.home / FOLDER / ".waiting").iterdir()
    assert key_places.read(waiting) == token.place()
    root = ceremony.create_root("Company", int(time.time()))
    ca.cli("issuer", "import", homes.answer(csr, root, tmp_path / "chain.pem"))
    assert waiting.stem == ca.issuer_id
    homes.verify_chain(ca, tmp_path)


def test_an_answer_waits_for_a_token_that_is_away(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    csr = tmp_path / "ca.csr"
    homes.init(ca, token.place(), "--csr", csr, "--generate")
    root = ceremony.create_root("Company", int(time.time()))
    chain = homes.answer(csr, root, tmp_path / "chain.pem")
    token.pin.rename(tmp_path / "away")
    refused = ca.try_cli("issuer", "import", chain)
    assert refused.code == 1
    assert f"the PIN's file {token.pin} cannot be read" in refused.stderr
    (tmp_path / "away").rename(token.pin)
    ca.cli("issuer", "import", chain)


def test_ten_failed_preparations_leave_one_key_that_is_taken_up(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    """The disk is full, or the request's file is there by then, or the process is killed: after the key was made."""
    ca.cli("init", *homes.NAMES)
    place, csr = token.place(), tmp_path / "folder" / "next.csr"
    prepare = ("issuer", "rotate", "prepare", "--key", str(place), "--generate", "--csr", csr)
    for attempt in range(3):
        failed = ca.try_cli(*prepare)
        assert failed.code == 1
        assert str(place) in failed.stderr
        assert ("was made" if attempt == 0 else "is taken up") in failed.stderr
    for fault in ("error=ENOSPC", "signal=SIGKILL"):
        for number in (1, 2):
            _prepare_with_fault(ca, fault, number, str(place))
    (ca.home / "ca.db").mkdir()
    for _ in range(3):
        assert ca.try_cli(*prepare).code == 1
    (ca.home / "ca.db").rmdir()
    assert token.private_keys() == 1
    csr.parent.mkdir()
    ca.cli(*prepare)
    homes.verify_request(csr)
    assert token.private_keys() == 1


def _prepare_with_fault(ca: CA, fault: str, number: int, place: str) -> None:
    """Prepare an issuer, with a fault where its files get their names."""
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=rename,renameat,renameat2,mkdir",
         "-e", f"inject=rename,renameat,renameat2,mkdir:{fault}:when={number}",
         sys.executable, "-m", "acme_iid.cli", "--home", ca.home, "issuer", "rotate", "prepare", "--key", place,
         "--generate"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert place in done.stderr
    assert "Traceback" not in done.stderr


def test_what_can_be_refused_is_refused_before_a_key_is_made(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    ca.cli("init", *homes.NAMES)
    made = ("--key", str(token.place()), "--generate")
    (tmp_path / "next.csr").touch()
    other = CA(tmp_path / "other")
    other.cli("init", *homes.NAMES)
    for arguments, why in (
        (("init", *homes.NAMES, *made), "already holds a CA"),
        (("issuer", "rotate", "prepare", *made, "--csr", tmp_path / "next.csr"), "exists; choose another file"),
        (("issuer", "rotate", "prepare", *made, "--root-cert", other.root, "--root-key", other.root_key),
         "the root is not among this CA's roots"),
    ):  # fmt: skip
        refused = ca.try_cli(*arguments)
        assert refused.code == 1
        assert why in refused.stderr
    assert token.private_keys() == 0


def test_what_makes_no_sense_is_said(ca: CA, token: SoftHSM) -> None:
    for options, why in (
        (("--key", "file:secrets/key"), "a key in a file is made without --key"),
        (("--key", str(token.place()) + "&pin-value=1234"), "pin-value is refused"),
        (("--generate",), "--generate makes the key of --key; give its place too"),
    ):
        refused = ca.try_cli("init", *homes.NAMES, *options)
        assert refused.code == 2
        assert why in refused.stderr


def test_a_key_that_an_issuer_has_is_no_other_issuers(ca: CA, token: SoftHSM) -> None:
    homes.init(ca, token.place(), "--generate")
    for more in ((), ("--generate",)):
        refused = ca.try_cli("issuer", "rotate", "prepare", "--key", str(token.place()), *more)
        assert refused.code == 1
        assert "has a certificate already; choose another" in refused.stderr
    assert len(homes.issuers(ca)) == 1
    assert token.private_keys() == 1


def test_a_token_makes_no_ed25519_key(ca: CA, token: SoftHSM) -> None:
    refused = ca.try_cli("init", *homes.NAMES, "--key", str(token.place()), "--generate", "--key-type", "Ed25519")
    assert refused.code == 1
    assert "a token makes no key of the type Ed25519; it makes P-256" in refused.stderr
    assert not (ca.home / "ca.toml").exists()


def test_the_status_says_which_key_answers(ca: CA, token: SoftHSM) -> None:
    homes.init(ca, token.place(), "--generate")
    (row,) = homes.issuers(ca)
    assert (row["key"], row["answers"], row["fault"]) == (str(token.place()), True, None)
    token.pin.chmod(0o644)
    (row,) = homes.issuers(ca)
    assert row["answers"] is False
    assert f"the PIN's file {token.pin} is open to other users" in row["fault"]
    token.pin.chmod(0o600)
    token.remove_token()
    (row,) = homes.issuers(ca)
    assert "there is no token of that name" in row["fault"]


def test_check_names_what_keeps_a_key_from_signing(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    homes.init(ca, token.place(), "--generate")
    ca.cli("provisioner", "add", "Mine", "--type", "AWS", "--aws-account", "123456789042", "--disable-custom-sans")
    assert _findings(ca) == []
    token.pin.chmod(0o640)
    assert _findings(ca) == [("others-read", "unsafe", str(token.pin))]
    token.pin.chmod(0o660)
    assert ("others-write", "unsafe", str(token.pin)) in _findings(ca)
    token.pin.rename(tmp_path / "away")
    assert _findings(ca) == [("key-place", "remark", str(token.pin))]
    (tmp_path / "away").rename(token.pin)
    token.pin.chmod(0o600)
    description = ca.issuer_folder / DESCRIPTION
    uri = str(token.place(module=tmp_path / "none.so"))
    description.write_text(f'key = "{uri}"')
    assert _findings(ca) == [("key-place", "remark", str(tmp_path / "none.so"))]
    description.write_text(
        'key = "pkcs11:token=acme;object=key?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-value=1"'
    )
    assert _findings(ca) == [("key-place", "remark", str(description))]
    # systemd gives its credentials to the service only, and a check by hand has none.
    uri = str(token.place()).replace(f"file:{token.pin}", "credential:pin")
    description.write_text(f'key = "{uri}"')
    assert _findings(ca) == []


def _findings(ca: CA) -> list[tuple[str, str, str]]:
    done = ca.try_cli("check", "--json")
    found = [(entry["code"], entry["severity"], entry["where"]) for entry in json.loads(done.stdout)]
    assert done.code == (1 if found else 0)
    return found


def test_a_backup_names_the_keys_that_it_does_not_hold(ca: CA, token: SoftHSM, tmp_path: Path) -> None:
    homes.init(ca, token.place(), "--generate")
    issuer, archive = ca.issuer_id, tmp_path / "backup.tar"
    said = ca.cli("backup", archive).stdout
    assert f"keys of issuers that do not leave their place: {token.place()} (issuer {issuer})" in said
    summary = json.loads(ca.cli("backup", archive, "--force", "--json").stdout)
    assert summary["elsewhere"] == {issuer: str(token.place())}

    here = CA(tmp_path / "here")
    said = here.cli("restore", archive).stdout
    assert f"{token.place()} (issuer {issuer})" in said
    assert "does not answer" not in said
    homes.verify_chain(here, tmp_path)

    token.remove_token()
    without = CA(tmp_path / "without")
    said = without.cli("restore", archive).stdout
    assert f"The key of the issuer {issuer} does not answer on this machine: " in said
    assert "It issues nothing, not even its own TLS certificate" in said
    assert f"acme-iid-ca --home {without.home} issuer status" in said
