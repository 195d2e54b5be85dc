"""From one root to the next over a real server: announced, used, dropped, and no client is touched."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from machine import Machine, Staying, ec2_machine
from pki.root_rotating import Rotation, as_issuer, strictly, trusted
from pki.rotating import SECONDS, until
from scripted_ca import serve

from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.simulator import aws

pytestmark = pytest.mark.waits


def verified(folder: Path, root: x509.Certificate, chain: Path) -> bool:
    (folder / "one-root.pem").write_text(to_pem(root))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", folder / "one-root.pem", "-untrusted", chain, chain],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def chain(vm: Machine) -> list[x509.Certificate]:
    """A machine's certificate and what is above it."""
    return x509.load_pem_x509_certificates(vm.crt.read_bytes())


def look(daemon: Staying, sentence: str) -> None:
    daemon.send(signal.SIGHUP)
    daemon.wait_for(sentence, SECONDS)


def test_no_client_is_touched_and_none_trusts_the_old_root_afterwards(
    rotation: Rotation, tmp_path: Path, instance: aws.Instance
) -> None:
    ca, old, new = rotation.ca, rotation.old.certificate, rotation.new
    bundle, told = tmp_path / "bundle.pem", tmp_path / "told"
    command = f"{sys.executable} -c \"import os; open('{told}', 'a').write(os.environ.get('ACME_IID_ROOTS', '-'))\""
    with ec2_machine(tmp_path / "a", instance) as first, ec2_machine(tmp_path / "b", instance) as second:
        for vm in (first, second):
            vm.bootstrap(ca)
        first.order()
        with first.stay("--roots-out", bundle, "--exec", command) as daemon:
            daemon.wait_for("first renewal in", SECONDS)
            until(bundle.exists)
            assert set(x509.load_pem_x509_certificates(bundle.read_bytes())) == {old}
            rotation.announce()
            look(daemon, "The CA has a new root")
            until(lambda: trusted(first) == {old, new})
            until(lambda: set(x509.load_pem_x509_certificates(bundle.read_bytes())) == {old, new})
            until(lambda: told.exists() and told.read_text().count(str(bundle)) == 2)
            rotation.use()
            until(lambda: len(rotation.served_chain()) == 3)
            assert [strictly(ca.port, root) for root in (old, new)] == [True, True]
            # A machine that has not looked yet, and knows the old root alone, goes on as well.
            assert trusted(second) == {old}
            assert second.run("health").stdout == "ok\n"
            until(lambda: len(chain(first)) == 3)
            assert [verified(tmp_path, root, first.crt) for root in (old, new)] == [True, True]
            assert ca.cli("fingerprint").stdout.split() == [fingerprint(new), fingerprint(old)]
            # Not before the last certificate under it has ended.
            until(lambda: ca.try_cli("issuer", "roots", "drop", fingerprint(old)).code == 0)
            look(daemon, "is trusted no more")
            until(lambda: trusted(first) == {new})
            until(lambda: set(x509.load_pem_x509_certificates(bundle.read_bytes())) == {new})
            until(lambda: len(rotation.served_chain()) == 2)
            assert [strictly(ca.port, root) for root in (old, new)] == [False, True]
            # Renewed again, now that the link is handed out no more.
            until(lambda: len(chain(first)) == 2)
            assert daemon.stop() == 0
        assert [line for line in daemon.lines if "ERROR" in line] == []
        assert [verified(tmp_path, root, first.crt) for root in (old, new)] == [False, True]
        ca.stop()
        ca.start()
        assert first.run("health").stdout == "ok\n"
        # Nothing under the old root is believed, whoever has its key or that of an issuer under it.
        ca.stop()
        for signer in (rotation.stolen, rotation.old):
            above = to_pem(*({signer.certificate} - {old})).encode()
            with serve(tmp_path, tls=as_issuer(signer), above=above, port=ca.port) as impostor:
                refused = first.try_("health")
                assert "does not verify under the CA's root certificate" in refused.stderr
                assert impostor.asked == []
        # And a machine that missed it all learns the new root as it learned the first one.
        ca.start()
        assert second.try_("health").code != 0
        second.run("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(new), "--force")
        assert second.run("health").stdout == "ok\n"
