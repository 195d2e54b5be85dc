"""Backups that were changed, and homes that are in use: nothing is restored, and nothing replaced."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from running import CA

from acme_iid.config.locations import Location
from acme_iid.errors import RequestError
from acme_iid.operations import restore
from acme_iid.operations.backup import MAX_FILE_BYTES, Backup


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a CA that has never served."""
    folder = tmp_path_factory.mktemp("backed-up")
    ca = CA(folder / "ca")
    ca.init()
    (ca.home / "nonces").write_bytes(b"x")
    told = json.loads(ca.cli("backup", folder / "backup.tar", "--json").stdout)
    assert told["private_keys"] is True
    issuer = [str(path.relative_to(ca.home)) for path in (*ca.issuer_folder.iterdir(), ca.intermediate_key)]
    assert {"ca.toml", *issuer, "test-roots.pem", "store.db"} <= set(told["files"])
    assert len(issuer) == 4
    assert "nonces" not in told["files"]
    return folder / "backup.tar"


def refused(archive: Path, home: Path) -> str:
    """What is said about an archive that must not be restored, and of which nothing is left."""
    with pytest.raises(RequestError) as caught:
        restore.restore(archive, Location(home, home / "ca.toml"), 0)
    assert not home.exists()
    assert [path for path in home.parent.iterdir() if path.name.startswith(f".{home.name}.")] == []
    return str(caught.value)


def test_a_backup_is_its_owners_alone_and_replaces_nothing(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init()
    target = tmp_path / "backup.tar"
    assert "private keys" in ca.cli("backup", target).stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    first = target.read_bytes()
    outcome = ca.try_cli("backup", target)
    assert (outcome.code, target.read_bytes()) == (1, first)
    assert "--force" in outcome.stderr
    ca.cli("backup", target, "--force")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "ca"]
    full = ca.try_cli("restore", target)
    assert full.code == 1
    assert "is not empty" in full.stderr


def test_a_flipped_byte_anywhere_in_a_file_is_found(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    with tarfile.open(whole) as tar:
        places = [(member.name, member.offset_data + member.size // 2) for member in tar]
        places += [(member.name, member.offset + 3) for member in tar]
    places.append(("the manifest's time", data.index(b'"made_at": ') + 14))
    for name, place in places:
        changed = tmp_path / "changed.tar"
        changed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert "backup" in refused(changed, tmp_path / "new"), name


def test_a_backup_that_was_cut_off_is_refused(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    cut = tmp_path / "cut.tar"
    with tarfile.open(whole) as tar:
        last = tar.getmembers()[-1].offset
    for size in (0, 512, last, len(data) // 3, len(data) - 20_000):
        cut.write_bytes(data[:size])
        assert "backup" in refused(cut, tmp_path / "new")


def outside(member: tarfile.TarInfo) -> None:
    member.name = "../x"


def absolute(member: tarfile.TarInfo) -> None:
    member.name = "/certs/acme-iid-x"


def link(member: tarfile.TarInfo) -> None:
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


def hard_link(member: tarfile.TarInfo) -> None:
    member.type, member.linkname, member.size = tarfile.LNKTYPE, "manifest.json", 0


def device(member: tarfile.TarInfo) -> None:
    member.type, member.size = tarfile.FIFOTYPE, 0


@pytest.mark.parametrize("made", [outside, absolute, link, hard_link, device])
def test_what_leads_out_of_a_backup_or_is_no_file_is_refused(
    tmp_path: Path, made: Callable[[tarfile.TarInfo], None]
) -> None:
    content = b"x"
    member = tarfile.TarInfo("certs/x")
    member.size = 1
    made(member)
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    manifest = Backup(0, "", "/x", {member.name: (member.size, digest, 0o600)}, ()).manifest()
    archive = tmp_path / "forged.tar"
    with tarfile.open(archive, "w") as tar:
        first = tarfile.TarInfo("manifest.json")
        first.size = len(manifest)
        tar.addfile(first, io.BytesIO(manifest))
        tar.addfile(member, io.BytesIO(content))
    told = refused(archive, tmp_path / "deep" / "new")
    assert "leads out" in told or "no plain file" in told
    assert not (tmp_path / "deep" / "x").exists()


def forged(path: Path, name: str, content: bytes, listed: int, manifest_filler: int = 0) -> Path:
    """An archive whose manifest gives a file another size than it has; its sum is right."""
    digest = hashlib.sha256(content).hexdigest()
    manifest = Backup(0, "", "/x" + "x" * manifest_filler, {name: (listed, digest, 0o600)}, ()).manifest()
    with tarfile.open(path, "w") as tar:
        for member_name, data in (("manifest.json", manifest), (name, content)):
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "size", "listed"),
    [
        ("certs/x", 2, 1),
        ("store.db", 2, 1),
        ("certs/x", MAX_FILE_BYTES + 1, MAX_FILE_BYTES + 1),
    ],
    ids=["than the manifest says", "than the manifest says of the database", "than any file of a CA"],
)
def test_a_file_that_is_larger_is_refused(tmp_path: Path, name: str, size: int, listed: int) -> None:
    archive = forged(tmp_path / "forged.tar", name, bytes(size), listed)
    assert refused(archive, tmp_path / "new") == f"{name!r} in the backup is too large; nothing of it was restored"


def test_a_manifest_has_a_limit(tmp_path: Path) -> None:
    archive = forged(tmp_path / "forged.tar", "certs/x", b"x", 1, manifest_filler=MAX_FILE_BYTES)
    assert refused(archive, tmp_path / "new").startswith("'manifest.json' in the backup is too large")
