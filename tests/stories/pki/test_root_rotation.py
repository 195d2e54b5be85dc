"""From one root to the next over a real server: announced, used, dropped, and no client is touched."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from machine import Machine, Staying, ec2_machine
from pki.rotating import SECONDS, activate, hang_up, until
from running import CA, Outcome, run_module
from scripted_ca import Issuer, Reply, serve

from acme_iid.issuance import ceremony, home, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.simulator import aws

LIFETIME = '[ca]\nlifetime = "1m"\nminimum_lifetime = "1m"\n'


class Rotation:
    """A CA whose root is being replaced; both roots' keys are kept elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = CA(folder / "ca")
        self.ca.init()
        file = self.ca.home / "ca.toml"
        file.write_text(file.read_text().replace("[ca]\n", LIFETIME, 1))
        self.old = Signer(home.load_certificate(self.ca.root), keys.load(self.ca.root_key, None))
        self.old_root, self.old_key = folder / "old.crt", folder / "old.key"
        self.old_root.write_bytes(self.ca.root.read_bytes())
        self.ca.root_key.rename(self.old_key)
        self.issuer = self.ca.issuer_id
        self.stolen = self.signer(self.issuer)
        # A new root is made like the first one, in a home that serves nobody.
        made = run_module("acme_iid.cli", "--home", folder / "scratch", "init", "--domain", "local", "--url",
                          self.ca.url, "--root-out", folder / "new")  # fmt: skip
        assert made.code == 0, made.stderr
        self.new_root, self.new_key = folder / "new/root_ca.crt", folder / "new/root_ca_key"
        self.new = home.load_certificate(self.new_root)

    def signer(self, issuer: str) -> Signer:
        return Signer(
            home.load_certificate(self.ca.home / home.folder_of(issuer) / home.CERTIFICATE),
            keys.load(self.ca.home / home.key_file_of(issuer), None),
        )

    def roots(self, *arguments: str | Path) -> Outcome:
        return self.ca.cli("issuer", "roots", *arguments)

    def announce(self) -> None:
        link = self.folder / "link.pem"
        self.roots("link", self.new_root, "--root-cert", self.old_root, "--root-key", self.old_key, "--out", link)
        self.roots("add", self.new_root, link)

    def use(self) -> str:
        """Have the new root be the one in use, and an issuer under it sign; the issuer's id."""
        self.ca.cli("issuer", "rotate", "prepare", "--root-cert", self.new_root, "--root-key", self.new_key)
        issuers = json.loads(self.ca.cli("issuer", "list", "--json").stdout)
        (prepared,) = {entry["id"] for entry in issuers} - {self.issuer}
        self.roots("use", fingerprint(self.new)[:16])
        hang_up(self.ca)
        activate(self.ca, prepared)
        return str(prepared)

    def served_chain(self) -> list[str]:
        """The subjects and issuers of what the server shows, without trusting any of it."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.ca.port}", "-showcerts"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [str(entry.subject) for entry in x509.load_pem_x509_certificates(done.stdout.encode())]


@pytest.fixture
def rotation(tmp_path: Path) -> Iterator[Rotation]:
    made = Rotation(tmp_path)
    made.ca.start()
    yield made
    if made.ca.process is not None:
        made.ca.kill()


def trusted(vm: Machine) -> set[x509.Certificate]:
    return set(x509.load_pem_x509_certificates((vm.folder / "config/certs/root_ca.crt").read_bytes()))


def verified(folder: Path, root: x509.Certificate, chain: Path) -> bool:
    (folder / "one-root.pem").write_text(to_pem(root))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", folder / "one-root.pem", "-untrusted", chain, chain],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def strictly(port: int, root: x509.Certificate) -> bool:
    """Whether Python's TLS accepts the server by one root, as strictly as it can."""
    context = ssl.create_default_context(cadata=to_pem(root))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


def as_issuer(signer: Signer) -> Issuer:
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    return Issuer(signer.certificate, signer.key)


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
            look(daemon, "certificate renewed")
            until(lambda: len(x509.load_pem_x509_certificates(first.crt.read_bytes())) == 3)
            assert [verified(tmp_path, root, first.crt) for root in (old, new)] == [True, True]
            assert ca.cli("fingerprint").stdout.split() == [fingerprint(new), fingerprint(old)]
            # Not before the last certificate under it has ended.
            until(lambda: ca.try_cli("issuer", "roots", "drop", fingerprint(old)).code == 0)
            look(daemon, "is trusted no more")
            until(lambda: trusted(first) == {new})
            until(lambda: set(x509.load_pem_x509_certificates(bundle.read_bytes())) == {new})
            until(lambda: len(rotation.served_chain()) == 2)
            assert [strictly(ca.port, root) for root in (old, new)] == [False, True]

            def renewed_without_link() -> bool:
                # A renewal may have been under way when the former root was dropped.
                look(daemon, "certificate renewed")
                return len(x509.load_pem_x509_certificates(first.crt.read_bytes())) == 2

            until(renewed_without_link)
            assert daemon.stop() == 0
        assert [line for line in daemon.lines if "ERROR" in line] == []
        leaf = x509.load_pem_x509_certificates(first.crt.read_bytes())
        assert len(leaf) == 2
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


def test_a_root_planted_by_the_intermediates_key_is_refused(
    rotation: Rotation, tmp_path: Path, instance: aws.Instance
) -> None:
    ca, stolen, now = rotation.ca, rotation.stolen, int(time.time())
    evil = ceremony.create_root("Evil CA", now)
    identifier = x509.SubjectKeyIdentifier.from_public_key(evil.key.public_key())
    builder = ceremony._builder(evil.certificate.subject, evil.key.public_key(), ceremony.ROOT, identifier, None)
    planted = ceremony._sign(builder, stolen.certificate.subject, stolen.key_identifier, stolen.key, now, now + 86400)
    (tmp_path / "evil.pem").write_text(to_pem(evil.certificate))
    (tmp_path / "planted.pem").write_text(to_pem(planted))
    refused = ca.try_cli("issuer", "roots", "add", tmp_path / "evil.pem", tmp_path / "planted.pem")
    assert "An intermediate's signature does not do" in refused.stderr
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        vm.order()
        before = trusted(vm)
        ca.stop()
        entry = {"link": None, "from": "2026-01-01T00:00:00Z", "until": None}
        old = {**entry, "pem": rotation.old_root.read_text(), "until": "2026-01-02T00:00:00Z"}
        new = {**entry, "pem": to_pem(evil.certificate), "link": to_pem(planted)}
        document = Reply(body={"version": now, "roots": [new, old], "crl": None})
        # Whoever has the issuer's key makes himself a marked certificate as well, and is the CA for now; but no longer.
        with serve(
            tmp_path, tls=as_issuer(stolen), above=to_pem(stolen.certificate).encode(), port=ca.port
        ) as impostor:
            impostor.once["/roots.json"] = [document]
            assert "which no root that is trusted vouches for" in vm.try_("renew", "--force").stderr
            assert "/roots.json" in impostor.paths()
        assert trusted(vm) == before
        ca.start()
        vm.run("renew", "--force")


def test_after_the_old_key_was_lost_machines_bootstrap_the_new_root(
    rotation: Rotation, tmp_path: Path, instance: aws.Instance
) -> None:
    ca, old, new = rotation.ca, rotation.old.certificate, rotation.new
    rotation.old_key.unlink()
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(ca)
        vm.order()
        said = rotation.roots("add", rotation.new_root, "--without-link").stdout
        assert "No client takes it up by itself" in said
        assert "which no root that is trusted vouches for" in vm.run("renew", "--force").stderr
        assert trusted(vm) == {old}
        until(lambda: vm.try_("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(old), "--fingerprint",
                              fingerprint(new), "--force").code == 0)  # fmt: skip
        assert trusted(vm) == {old, new}
        issuer = rotation.use()
        until(lambda: [len(rotation.served_chain()), strictly(ca.port, new)] == [2, True])
        vm.run("renew", "--force")
        chain = x509.load_pem_x509_certificates(vm.crt.read_bytes())
        assert chain[1:] == [rotation.signer(issuer).certificate]
        until(lambda: ca.try_cli("issuer", "roots", "drop", fingerprint(old)).code == 0)
        vm.run("renew", "--force")
        assert trusted(vm) == {new}
