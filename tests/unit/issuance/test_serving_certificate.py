from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from acme_iid.binding import SERVING_MARK
from acme_iid.issuance import ceremony, keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Issuer
from acme_iid.issuance.roots import Roots
from acme_iid.issuance.serving import ServingCertificate
from acme_iid.protocol.identifiers import dns

NOW = int(time.time())
NAMES = (dns("ca.local"),)


@pytest.fixture
def authority() -> CertificateAuthority:
    root = ceremony.create_root("My CA", NOW)
    issuer = Issuer(ceremony.create_intermediate(root, "My CA", NOW), root.certificate)
    return CertificateAuthority(Roots((root.certificate,), {}), [issuer])


def test_each_has_a_new_key_in_a_private_file_of_its_own(authority: CertificateAuthority, tmp_path: Path) -> None:
    serving = ServingCertificate(tmp_path / "tls", 900)
    first, second = serving.issue(authority, NAMES, NOW), serving.issue(authority, NAMES, NOW + 1)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    public_keys = set()
    for path in (first, second):
        assert path.stat().st_mode & 0o777 == 0o600
        leaf, intermediate = x509.load_pem_x509_certificates(path.read_bytes())
        assert intermediate == authority.current.certificate
        assert (
            x509.ObjectIdentifier(SERVING_MARK) in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )
        key = keys.load(path, None)
        assert key.public_key() == leaf.public_key()
        assert isinstance(key.public_key(), type(keys.generate().public_key()))
        public_keys.add(leaf.serial_number)
    assert len(public_keys) == 2


def test_it_is_due_when_a_third_is_left(authority: CertificateAuthority, tmp_path: Path) -> None:
    serving = ServingCertificate(tmp_path / "tls", 900)
    serving.issue(authority, NAMES, NOW)
    assert serving.renew_at == NOW + 600
    assert serving.until == datetime.fromtimestamp(NOW + 900, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_only_the_last_two_files_are_kept_and_none_at_the_end(authority: CertificateAuthority, tmp_path: Path) -> None:
    serving = ServingCertificate(tmp_path / "tls", 900)
    paths = [serving.issue(authority, NAMES, NOW) for _ in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    serving.discard()
    assert list((tmp_path / "tls").iterdir()) == []


def test_files_of_ended_servers_are_removed_and_of_running_ones_kept(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = tmp_path / "tls"
    folder.mkdir()
    left, living, foreign = folder / f"{ended.pid}-1.pem", folder / f"{os.getppid()}-1.pem", folder / "mine-1.pem"
    for path in (left, living, foreign):
        path.touch()
    made = ServingCertificate(folder, 900).issue(authority, NAMES, int(time.time()))
    assert set(folder.iterdir()) == {made, living, foreign}


def test_what_a_server_left_is_taken_up_if_clients_take_it(authority: CertificateAuthority, tmp_path: Path) -> None:
    former = ServingCertificate(tmp_path / "tls", 900)
    former.issue(authority, NAMES, NOW)
    path = former.issue(authority, NAMES, NOW + 1)
    former.discard(keep=True)
    assert list((tmp_path / "tls").iterdir()) == [path]
    (tmp_path / "tls" / "1-cut.pem").write_bytes(path.read_bytes()[:-200])
    (tmp_path / "tls" / "1-none.pem").touch()
    serving = ServingCertificate(tmp_path / "tls", 900)
    assert serving.take_up(authority, NAMES, NOW) == path
    assert (serving.until, serving.renew_at, serving.chain) == (former.until, former.renew_at, former.chain)
    assert serving.take_up(authority, (*NAMES, dns("other.local")), NOW) is None
    assert serving.take_up(authority, NAMES, NOW + 901) is None
    root = ceremony.create_root("Another CA", NOW)
    issuer = Issuer(ceremony.create_intermediate(root, "Another CA", NOW), root.certificate)
    another = CertificateAuthority(Roots((root.certificate,), {}), [issuer])
    assert serving.take_up(another, NAMES, NOW) is None
    assert ServingCertificate(tmp_path / "nowhere", 900).take_up(authority, NAMES, NOW) is None
