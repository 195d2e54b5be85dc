"""A backup that is written while orders are running, what a kill leaves of one, and a CA that goes on from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from running import ACCOUNT, CA, answer, run_module
from wire import Account, Wire, b64, csr

from acme_iid.simulator import aws


def issue(account: Account, instance: aws.Instance, **members: object) -> str:
    """Order foo.local with an instance's proof; the chain."""
    ordered = account.order("foo.local", **members)
    assert ordered.status_code == 201, ordered.text
    done = account.post(account.challenge(ordered.json())["url"], answer(instance))
    assert done.json()["status"] == "valid", done.text
    final = account.post(ordered.json()["finalize"], {"csr": b64(csr("foo.local")[1])})
    assert final.status_code == 200, final.text
    return account.post(final.json()["certificate"]).text


def crl_number(wire: Wire, ca: CA) -> int:
    der = wire.session.get(f"{ca.url}/crl", timeout=10).content
    number = x509.load_der_x509_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert isinstance(number, int)
    return number


def revoke(account: Account, chain: str) -> int:
    leaf = x509.load_pem_x509_certificate(chain.encode()).public_bytes(Encoding.DER)
    return account.post(account.wire.directory["revokeCert"], {"certificate": b64(leaf), "reason": 4}).status_code


def test_a_ca_goes_on_from_a_backup_made_while_orders_were_running(own_ca: CA, tmp_path: Path) -> None:
    config = own_ca.home / "ca.toml"
    config.write_text(config.read_text().replace("# crl = true", "crl = true"))
    own_ca.start()
    account, instance = own_ca.account(), aws.Instance(account=ACCOUNT)
    before = issue(account, instance)
    assert crl_number(account.wire, own_ca) > 0  # so that the backup has a list
    stop, served = threading.Event(), [0]

    def load() -> None:
        other, another = own_ca.account(), aws.Instance(account=ACCOUNT, instance_id="i-0123456789abcdef0")
        while not stop.is_set() and served[0] < 500:
            issue(other, another)
            served[0] += 1

    running = threading.Thread(target=load)
    running.start()
    try:
        while served[0] < 2:
            assert running.is_alive()
            stop.wait(0.05)
        own_ca.cli("backup", tmp_path / "backup.tar")
        at_backup = served[0]
    finally:
        stop.set()
        running.join(timeout=60)
    assert served[0] >= at_backup
    after = issue(account, instance)
    assert revoke(account, after) == 200
    published = crl_number(account.wire, own_ca)
    own_ca.stop()

    restored = CA(tmp_path / "elsewhere" / "ca", port=own_ca.port)
    told = restored.cli("restore", tmp_path / "backup.tar").stdout
    assert "cannot be revoked here" in told
    assert restored.cli("events", "--check").stdout.startswith("OK")
    assert str(own_ca.home) not in (restored.home / "ca.toml").read_text()
    restored.start()
    try:
        again = Account(Wire(restored.directory, restored.root), account.key, account.url)
        assert crl_number(again.wire, restored) > published
        renewed = issue(again, instance)
        assert revoke(again, before) == 200
        assert revoke(again, renewed) == 200
        assert revoke(again, after) == 404
        names = [row.name for row in (restored.home).iterdir()]
        assert "ca.db" in names
    finally:
        restored.stop()


CALLS = [("pwrite64", 1), ("fsync", 1), ("fsync", 2), ("linkat", 1), ("link", 1), ("write", 30)]


@pytest.mark.parametrize(("call", "number"), CALLS)
def test_a_kill_during_a_backup_leaves_a_whole_file_or_none(own_ca: CA, tmp_path: Path, call: str, number: int) -> None:
    target = tmp_path / "backup.tar"
    own_ca.cli("backup", tmp_path / "whole.tar")  # what can be compiled is, and the store exists
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
         "-e", f"inject={call}:signal=SIGKILL:when={number}",
         sys.executable, "-m", "acme_iid.cli", "--home", str(own_ca.home), "backup", str(target)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    killed = done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert killed or done.returncode == 0, done.stderr
    if (call, number) in (("pwrite64", 1), ("fsync", 1)):
        assert killed
        assert not target.exists()
    if target.exists():  # how many writes there are, and whether linkat is link, is the system's business
        tarfile.open(target).close()
        assert run_module("acme_iid.cli", "--home", tmp_path / "new", "restore", target).code == 0
    else:
        assert killed
    again = own_ca.try_cli("backup", target, "--force")
    assert again.code == 0, again.stderr
