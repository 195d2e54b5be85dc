"""A new root without a link: a planted one is refused, and one that was given by its fingerprint is trusted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cryptography import x509
from machine import ec2_machine
from pki.root_rotating import Rotation, as_issuer, strictly, trusted
from pki.rotating import until
from scripted_ca import Reply, serve

from acme_iid.issuance import ceremony
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.simulator import aws

pytestmark = pytest.mark.waits


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
