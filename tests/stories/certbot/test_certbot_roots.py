"""certbot with the plugin while a CA replaces its root: no machine is touched, whichever libraries it has."""

from __future__ import annotations

import time
from pathlib import Path

from certbots import CertbotMachine, Program
from cryptography import x509
from running import CA
from stand_ins import ACCOUNT, ec2

from acme_iid.issuance import ceremony, home, keys
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.simulator import aws


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_a_new_root_is_taken_up_and_a_dropped_one_given_up(own_ca: CA, program: Program, tmp_path: Path) -> None:
    now = int(time.time())
    old = Signer(home.load_certificate(own_ca.root), keys.load(own_ca.root_key, None))
    new, stranger = (ceremony.create_root("My CA", now) for _ in range(2))
    new_root, link, bundle = tmp_path / "new.pem", tmp_path / "link.pem", tmp_path / "bundle.pem"
    roots_file = tmp_path / "config/certs/root_ca.crt"
    own_ca.start()
    with ec2(aws.Instance(account=ACCOUNT)) as service:
        machine = CertbotMachine(program, tmp_path, own_ca, service)
        client = machine.client
        client.bootstrap(own_ca)
        done = machine.certonly("-d", "a.local", "--acme-iid-roots-out", bundle, env=client.environment)
        assert done.code == 0, done.stdout + done.stderr
        assert certificates(bundle) == [old.certificate]
        new_root.write_text(to_pem(new.certificate))
        link.write_text(to_pem(ceremony.link(old, new.certificate, now)))
        own_ca.cli("issuer", "roots", "add", new_root, link)
        new_root.write_text(to_pem(stranger.certificate))
        own_ca.cli("issuer", "roots", "add", new_root, "--without-link")
        done = machine.renew("--force-renewal", env=client.environment)
        assert done.code == 0, done.stdout + done.stderr
        assert certificates(roots_file) == [old.certificate, new.certificate]
        assert certificates(bundle) == [old.certificate, new.certificate]
        # One that was announced by mistake is given up again.
        own_ca.cli("issuer", "roots", "drop", fingerprint(new.certificate))
        done = machine.renew("--force-renewal", env=client.environment)
        assert done.code == 0, done.stdout + done.stderr
        assert certificates(bundle) == certificates(roots_file) == [old.certificate]
