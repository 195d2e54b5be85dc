"""``init`` and ``issuer import``, killed or with a disk that fails at each of their steps: nothing is half there."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from company_cas import Company, pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from running import CA

from acme_iid.issuance import home
from acme_iid.protocol.public_keys import PublicKey

STEPS = "fsync,rename,renameat,renameat2,mkdir"
"""The calls that make what was written last, and give it its names."""
FAULTS = {"killed": "signal=SIGKILL", "no space": "error=ENOSPC"}


def run(folder: Path, fault: str, number: int, *arguments: str | Path) -> int:
    """Run acme-iid-ca, with a fault at one of its steps; its exit code, and what strace makes of a kill."""
    injected = f"inject={STEPS}:{FAULTS[fault]}:when={number}"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={STEPS}", "-e", injected,
         sys.executable, "-m", "acme_iid.cli", "--home", folder, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def keys_below(folder: Path) -> set[bytes]:
    """The public keys of all private keys in a folder."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
            key = load_pem_private_key(path.read_bytes(), None).public_key()
            assert isinstance(key, PublicKey)
            found.add(x509.SubjectKeyIdentifier.from_public_key(key).digest)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_the_roots_key_is_never_in_the_home(fault: str, tmp_path: Path) -> None:
    for number in itertools.count(1):
        ca, out = CA(tmp_path / f"ca{number}"), tmp_path / f"out{number}"
        if run(ca.home, fault, number, "init", "--root-out", out) == 0:
            break
        # A key in the home would be the intermediate's: those of the home and of the folder outside differ.
        assert not keys_below(ca.home) & keys_below(out)
        assert not (ca.home / home.ROOT_KEY).exists()
        if fault == "killed" and (ca.home / "ca.toml").exists():
            assert len(home.load(ca.home).issuers) == 1, "the last step comes when all is written"
        elif fault == "killed":
            again = ca.try_cli("init", "--root-out", out)
            assert again.code == 0 or "an init was interrupted there" in again.stderr
        else:
            # What a failed init has made it takes away.
            assert [path for path in (*ca.home.rglob("*"), *out.rglob("*")) if path.is_file()] == []
            ca.cli("init", "--root-out", out)
    assert number > 5
    (root,) = home.load_roots(ca.home)
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert keys_below(out) == {own}
    assert own not in keys_below(ca.home)


@pytest.mark.parametrize("fault", FAULTS)
def test_an_import_is_whole_or_can_be_tried_again(fault: str, tmp_path: Path) -> None:
    base = CA(tmp_path / "base")
    base.cli("init", "--csr", tmp_path / "ca.csr")
    key = x509.load_pem_x509_csr((tmp_path / "ca.csr").read_bytes()).public_key()
    assert isinstance(key, PublicKey)
    company = Company(key, int(time.time()))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(pem(*company.chain()))
    for number in itertools.count(1):
        ca = CA(tmp_path / f"ca{number}")
        shutil.copytree(base.home, ca.home)
        if run(ca.home, fault, number, "issuer", "import", chain) == 0:
            break
        if home.has_issuers(ca.home):
            assert "imported before" in ca.try_cli("issuer", "import", chain).stderr
        else:
            # Another root than that of the first try is as good.
            chain.write_bytes(pem(*company.chain()))
            ca.cli("issuer", "import", chain)
        assert len(home.load(ca.home).issuers) == 1
    assert number > 3
    assert len(home.load(ca.home).issuers) == 1


def test_a_second_request_overwrites_nothing(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.cli("init", "--csr", tmp_path / "ca.csr")
    before = {path: path.read_bytes() for path in ca.home.rglob("*") if path.is_file()}
    request = (tmp_path / "ca.csr").read_bytes()
    for out in ("ca.csr", "other.csr"):
        refused = ca.try_cli("init", "--csr", tmp_path / out)
        assert refused.code == 1
        assert "already holds a CA" in refused.stderr
    # A request in the way of another CA's stays, too, and that CA is not made.
    other = CA(tmp_path / "other")
    refused = other.try_cli("init", "--csr", tmp_path / "ca.csr")
    assert refused.code == 1
    assert not other.home.exists() or not list(other.home.iterdir())
    assert (tmp_path / "ca.csr").read_bytes() == request
    assert not (tmp_path / "other.csr").exists()
    assert {path: path.read_bytes() for path in ca.home.rglob("*") if path.is_file()} == before


def test_the_roots_key_is_put_nowhere_in_the_home(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    (tmp_path / "link").symlink_to(ca.home)
    for out in (ca.home, ca.home / "secrets", tmp_path / "link" / "root", tmp_path / "x" / ".." / "ca" / "root"):
        refused = ca.try_cli("init", "--root-out", out)
        assert refused.code == 2
        assert "keeps the root's key out of the home" in refused.stderr
        assert not ca.home.exists()
