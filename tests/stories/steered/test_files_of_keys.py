"""Whatever makes a file with a private key, and under whatever umask: the server's user alone can read it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from company_cas import POLICY_KEY, Company, pem
from cryptography import x509
from operators import OperatorCA, Steered, ask_by_tls, role_table
from running import CA, SECONDS
from strangers import Ground, as_nobody

from acme_iid.protocol.public_keys import PublicKey

WIDE = ("sh", "-c", 'umask 000; exec "$@"', "sh")
"""Runs a command whose files are everybody's unless it says otherwise."""
READ = """
import json, sys
for path in json.load(sys.stdin):
    try:
        open(path, "rb").read(1)
        print(path)
    except PermissionError:
        pass
"""


def typed(home: Path, *words: str | Path) -> None:
    command = [*WIDE, sys.executable, "-m", "acme_iid.cli", "--home", home, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr


def make(folder: Path, home: Path, ca: CA) -> None:
    """Have each command make its files that makes some with keys."""
    typed(home, "init", "--domain", "local", "--url", ca.url, "--listen", f"127.0.0.1:{ca.port}")
    (home / "ca.toml").write_text((home / "ca.toml").read_text().replace("[ca]\n", "[ca]\ncrl = true\n", 1))
    typed(home, "issuer", "rotate", "prepare")
    typed(home, "issuer", "rotate", "prepare", "--csr", folder / "next.csr")
    typed(home, "serving-certificate", "--key", folder / "proxy.key", "--out", folder / "proxy.pem")
    typed(home, "backup", "--with-root-keys", folder / "backup.tar")
    typed(folder / "restored", "restore", folder / "backup.tar")
    # A root elsewhere, and one whose key is put elsewhere.
    typed(folder / "apart", "init", "--domain", "local", "--url", ca.url, "--root-out", folder / "safe")
    signed = folder / "signed"
    typed(signed, "init", "--domain", "local", "--url", ca.url, "--csr", folder / "first.csr")
    key = x509.load_pem_x509_csr((folder / "first.csr").read_bytes()).public_key()
    assert isinstance(key, PublicKey)
    company = Company(key, int(time.time()))
    (folder / "chain.pem").write_bytes(pem(company.issuing(), company.policy(POLICY_KEY), company.root()))
    typed(signed, "issuer", "import", folder / "chain.pem")


@pytest.fixture(scope="module")
def place(open_ground: Ground) -> Iterator[Path]:
    """A folder in which CAs were made, and one of them is served, with operators by TLS."""
    folder = open_ground.own / "made"
    folder.mkdir()
    ca = CA(folder / "ca")
    make(folder, ca.home, ca)
    steered, operators = Steered(ca, folder / "admin.sock"), OperatorCA()
    steered.configure(role_table("viewer", certificates=["bob"]), listen=operators.write(open_ground.own))
    steered.start(prefix=WIDE)
    bob = operators.operator(open_ground.own, "bob")
    deadline = time.monotonic() + SECONDS
    while ask_by_tls(steered, bob).status != 200:
        assert time.monotonic() < deadline, ca.log
        time.sleep(0.1)
    yield folder
    ca.stop()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode)]


def keys(folder: Path) -> list[Path]:
    """The files that have a private key in them."""
    return [path for path in files(folder) if b"PRIVATE KEY" in path.read_bytes()]


def test_every_file_with_a_key_is_its_owners_alone(place: Path) -> None:
    found = {path.relative_to(place).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in keys(place)}
    assert found == dict.fromkeys(found, 0o600)
    # Those of each command, and what serving has made: responders' keys and the key of the server's own certificate.
    parts = {name.partition("/")[0] for name in found}
    assert parts == {"ca", "proxy.key", "backup.tar", "restored", "safe", "apart", "signed"}
    of_server = {path.parent.name for path in keys(place / "ca")}
    assert of_server == {"secrets", "tls"}
    assert len(list((place / "ca" / "secrets").glob("issuer_*_key"))) == 3
    assert list((place / "ca" / "secrets").glob("responder_*"))


def test_nobody_else_writes_to_any_file_of_a_ca(place: Path) -> None:
    writable = [path for path in place.rglob("*") if not path.is_socket() and path.stat().st_mode & 0o022]
    assert [path for path in writable if path.name not in ("chain.pem", "next.csr", "first.csr")] == []


def sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]


def test_another_user_reads_no_key_even_through_open_folders(place: Path) -> None:
    # A copy, whose folders let everybody pass.
    opened = place.with_name("opened")
    shutil.copytree(place, opened, ignore=sockets)
    for path in (opened, *opened.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    tried = list(map(str, files(opened)))
    done = subprocess.run(as_nobody("/usr/bin/python3", "-c", READ), input=json.dumps(tried), capture_output=True,
                          text=True, check=True, cwd="/")  # fmt: skip
    readable = set(done.stdout.splitlines())
    assert str(opened / "ca" / "ca.toml") in readable, "nobody reads anything there"
    assert readable & set(map(str, keys(opened))) == set()
    assert [path for path in readable if Path(path).name.startswith("ca.db")] == []


def test_the_admin_process_leaves_no_file_where_it_works(place: Path) -> None:
    folder = place / "ca" / "admin"
    assert [path for path in folder.rglob("*") if not path.is_dir()] == []
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, os.geteuid())
