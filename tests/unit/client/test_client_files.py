from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from pairs import certificate_for, issuance, pair_in
from scripted_ca import issue

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import pairs
from acme_iid_client.storage.bundles import Bundles
from acme_iid_client.storage.pairs import Permissions
from acme_iid_client.x509 import keys


def _modes(pair: pairs.Pair) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in (pair.certificate, pair.key)]


def test_new_files_are_private(tmp_path: Path) -> None:
    pairs.install(pair_in(tmp_path), *issuance(), Permissions())
    assert _modes(pair_in(tmp_path)) == [0o600, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key"]


def test_the_mode_is_for_both_files_and_others_never_read_the_key(tmp_path: Path) -> None:
    pairs.install(pair_in(tmp_path), *issuance(), pairs.parse_permissions("644", None, None))
    assert _modes(pair_in(tmp_path)) == [0o644, 0o640]


def test_a_renewal_keeps_what_the_files_were(tmp_path: Path) -> None:
    pairs.install(pair_in(tmp_path), *issuance(), Permissions(0o640))
    if os.getuid() == 0:
        os.chown(tmp_path / "foo.key", 12345, 23456)
    pairs.install(pair_in(tmp_path), *issuance(), Permissions())
    assert _modes(pair_in(tmp_path)) == [0o640, 0o640]
    if os.getuid() == 0:
        found = (tmp_path / "foo.key").stat()
        assert (found.st_uid, found.st_gid) == (12345, 23456)


def test_a_link_is_followed_to_where_the_file_really_is(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "foo.key").symlink_to(real / "the.key")
    pairs.install(pair_in(tmp_path), *issuance(), Permissions())
    assert (tmp_path / "foo.key").is_symlink()
    assert pairs.belong_together(tmp_path / "foo.crt", real / "the.key")


@pytest.mark.parametrize("mode", ["9", "0", "066", "1777", "rw"])
def test_a_mode_that_makes_no_sense_is_refused(mode: str) -> None:
    with pytest.raises(ClientError, match="is not a mode"):
        pairs.parse_permissions(mode, None, None)


def test_an_owner_that_does_not_exist_is_named() -> None:
    with pytest.raises(ClientError, match="nobody-of-that-name"):
        pairs.parse_permissions(None, "nobody-of-that-name", None)


def test_places_where_nothing_can_be_put_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for certificate, key, complaint in (
        ("foo.crt", "foo.crt", "a file each"),
        ("folder", "foo.key", "not a regular file"),
        ("nowhere/foo.crt", "foo.key", "does not exist"),
    ):
        with pytest.raises(ClientError, match=complaint):
            pairs.pair(tmp_path / certificate, tmp_path / key)


def test_the_files_may_be_in_different_directories(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "private").mkdir(0o700)
    pair = pairs.pair(tmp_path / "certs/foo.crt", tmp_path / "private/foo.key")
    for made in (issuance(), issuance()):
        pairs.install(pair, *made, Permissions())
        assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == made
        assert sorted(path.name for path in tmp_path.glob("*/*")) == ["foo.crt", "foo.key"]


def test_whoever_reads_all_the_time_never_finds_a_file_missing_or_cut_off(tmp_path: Path) -> None:
    pair, known = pair_in(tmp_path), [issuance() for _ in range(4)]
    pairs.install(pair, *known[0], Permissions())
    whole = {content for made in known for content in made}
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.extend((pair.certificate.read_bytes(), pair.key.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 30):
        pairs.install(pair, *known[number % 4], Permissions())
    done.set()
    reader.join()
    assert len(seen) > 100
    assert set(seen) <= whole


def test_a_new_certificate_for_the_same_key_replaces_one_file(tmp_path: Path) -> None:
    pair, (certificate, key) = pair_in(tmp_path), issuance()
    pairs.install(pair, certificate, key, Permissions())
    inode = pair.key.stat().st_ino
    pairs.install_certificate(pair, certificate_for(key), Permissions())
    assert pairs.belong_together(pair.certificate, pair.key)
    assert pair.certificate.read_bytes() != certificate
    assert pair.key.stat().st_ino == inode
    assert len(list(tmp_path.iterdir())) == 2


def test_a_certificate_is_not_installed_if_its_key_was_replaced_meanwhile(tmp_path: Path) -> None:
    pair, (_, key), other = pair_in(tmp_path), issuance(), issuance()
    pairs.install(pair, *other, Permissions())
    with pytest.raises(ClientError, match="another key meanwhile"):
        pairs.install_certificate(pair, certificate_for(key), Permissions())
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == other
    assert len(list(tmp_path.iterdir())) == 2


def test_a_renewal_that_asks_for_a_mode_gives_it_to_the_key_as_well(tmp_path: Path) -> None:
    pair, (certificate, key) = pair_in(tmp_path), issuance()
    pairs.install(pair, certificate, key, Permissions())
    pairs.install_certificate(pair, certificate_for(key), Permissions(0o644))
    assert _modes(pair) == [0o644, 0o640]


def test_an_installation_that_never_touched_the_pair_is_undone(tmp_path: Path) -> None:
    pair, old, new = pair_in(tmp_path), issuance(), issuance()
    pairs.install(pair, *old, Permissions())
    (tmp_path / ".foo.key.acme-iid-new").write_bytes(new[1])
    (tmp_path / ".foo.crt.acme-iid-new").write_bytes(new[0][:-40])
    pairs.recover(pair)
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert len(list(tmp_path.iterdir())) == 2


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "foo.crt").symlink_to(tmp_path / "bar.crt")
    (tmp_path / "bar.crt").symlink_to(tmp_path / "foo.crt")
    with pytest.raises(ClientError, match="leads nowhere"):
        pair_in(tmp_path)


def test_a_bundle_is_never_made_of_two_pairs(tmp_path: Path) -> None:
    pair = pair_in(tmp_path)
    pairs.install(pair, *issuance(), Permissions())
    pair.key.write_bytes(issuance()[1])
    with pytest.raises(ClientError, match="is not the key of"):
        Bundles(bundle=tmp_path / "all.pem").refresh(pair, Permissions())
    assert not (tmp_path / "all.pem").exists()


@pytest.mark.parametrize(
    ("subject", "names", "alias"),
    [("foo.local", ["bar.local"], b"foo.local"), (" ", ["bar.local"], b"bar.local"), ("", ["10.0.0.1"], b"10.0.0.1")],
)
def test_a_pkcs12_file_always_has_an_alias(tmp_path: Path, subject: str, names: list[str], alias: bytes) -> None:
    pair, (_, key) = pair_in(tmp_path), issuance()
    private = keys.load(key, "the key")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    pairs.install(pair, issue(None, subject, private, names).public_bytes(Encoding.PEM), key, Permissions())
    Bundles(p12=tmp_path / "foo.p12").refresh(pair, Permissions())
    held = pkcs12.load_pkcs12((tmp_path / "foo.p12").read_bytes(), None).cert
    assert held is not None
    assert held.friendly_name == alias


def test_directories_whose_links_go_round_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with pytest.raises(ClientError, match="leads nowhere"):
        pairs.target_of(tmp_path / "one/foo.crt")


def test_a_directory_behind_a_great_many_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for number in range(1, 60):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    assert pairs.target_of(tmp_path / "20/foo.crt") == tmp_path / "0/foo.crt"
    with pytest.raises(ClientError, match="leads nowhere"):
        pairs.target_of(tmp_path / "59/foo.crt")


def test_a_file_on_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        pairs.target_of(tmp_path / "file/foo/foo.crt")
    assert caught.value.filename == str(tmp_path / "file")


def test_a_file_larger_than_any_certificate_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.crt"
    large.write_bytes(b"x" * (4 << 20))
    with pytest.raises(OSError, match="Larger than any certificate"):
        pairs.read(large)
