from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import issue

from acme_iid_client import files, keys
from acme_iid_client.errors import ClientError
from acme_iid_client.files import Permissions

# Installs the pair in new/ over the one in the working directory, and kills itself before the N-th thing that it
# does to the file system. Every such call of Python's raises an audit event.
_KILLED = """
import os, signal, sys
from pathlib import Path
from acme_iid_client import files
from acme_iid_client.files import Permissions
certificate, key, left = Path("new/foo.crt").read_bytes(), Path("new/foo.key").read_bytes(), int(sys.argv[1])
def count(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove", "os.link", "fcntl.flock"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
pair = files.pair(Path("foo.crt"), Path("foo.key"))
sys.addaudithook(count)
files.install(pair, certificate, key, Permissions())
"""

# As the kernel does where the certificate is immutable (chattr +i), or a person with Control-C.
_REFUSED = """
    global left
    if event == "os.rename" and str(arguments[1]).endswith("foo.crt"):
        raise PermissionError("immutable")
"""


def _issuance() -> tuple[bytes, bytes]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return issue(None, "foo.local", key, ["foo.local"]).public_bytes(Encoding.PEM), keys.to_pem(key)


def _pair(folder: Path) -> files.Pair:
    return files.pair(folder / "foo.crt", folder / "foo.key")


def _modes(pair: files.Pair) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in (pair.certificate, pair.key)]


def test_new_files_are_private(tmp_path: Path) -> None:
    files.install(_pair(tmp_path), *_issuance(), Permissions())
    assert _modes(_pair(tmp_path)) == [0o600, 0o600]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key"]


def test_the_mode_is_for_both_files_and_others_never_read_the_key(tmp_path: Path) -> None:
    files.install(_pair(tmp_path), *_issuance(), files.parse_permissions("644", None, None))
    assert _modes(_pair(tmp_path)) == [0o644, 0o640]


def test_a_renewal_keeps_what_the_files_were(tmp_path: Path) -> None:
    files.install(_pair(tmp_path), *_issuance(), Permissions(0o640))
    if os.getuid() == 0:
        os.chown(tmp_path / "foo.key", 12345, 23456)
    files.install(_pair(tmp_path), *_issuance(), Permissions())
    assert _modes(_pair(tmp_path)) == [0o640, 0o640]
    if os.getuid() == 0:
        found = (tmp_path / "foo.key").stat()
        assert (found.st_uid, found.st_gid) == (12345, 23456)


def test_a_link_is_followed_to_where_the_file_really_is(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "foo.key").symlink_to(real / "the.key")
    files.install(_pair(tmp_path), *_issuance(), Permissions())
    assert (tmp_path / "foo.key").is_symlink()
    assert files.belong_together(tmp_path / "foo.crt", real / "the.key")


@pytest.mark.parametrize("mode", ["9", "0", "066", "1777", "rw"])
def test_a_mode_that_makes_no_sense_is_refused(mode: str) -> None:
    with pytest.raises(ClientError, match="is no mode"):
        files.parse_permissions(mode, None, None)


def test_an_owner_that_does_not_exist_is_named() -> None:
    with pytest.raises(ClientError, match="nobody-of-that-name"):
        files.parse_permissions(None, "nobody-of-that-name", None)


def test_places_where_nothing_can_be_put_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for certificate, key, complaint in (
        ("foo.crt", "foo.crt", "a file each"),
        ("folder", "foo.key", "not a regular file"),
        ("nowhere/foo.crt", "foo.key", "does not exist"),
    ):
        with pytest.raises(ClientError, match=complaint):
            files.pair(tmp_path / certificate, tmp_path / key)


def test_a_kill_at_any_step_leaves_a_pair_that_belongs_together(tmp_path: Path) -> None:
    old, new = _issuance(), _issuance()
    (tmp_path / "new").mkdir()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    outcomes = []
    for step in range(40):
        pair = _pair(tmp_path)
        files.install(pair, *old, Permissions())
        done = subprocess.run([sys.executable, "-c", _KILLED, str(step)], cwd=tmp_path, check=False)
        for path, contents in ((pair.certificate, (old[0], new[0])), (pair.key, (old[1], new[1]))):
            assert path.read_bytes() in contents, "a file is never half-written or missing"
        files.recover(pair)
        assert files.belong_together(pair.certificate, pair.key)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key", "new"]
        outcomes.append(pair.certificate.read_bytes() == new[0])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert outcomes[-1], "the last round was not killed"
    assert outcomes[0] is False
    assert outcomes.count(True) > 1, "a kill after the first rename is carried through"
    assert outcomes == sorted(outcomes), "once the new pair is in use, it stays"


def test_an_installation_that_never_touched_the_pair_is_undone(tmp_path: Path) -> None:
    pair, old, new = _pair(tmp_path), _issuance(), _issuance()
    files.install(pair, *old, Permissions())
    (tmp_path / ".foo.key.acme-iid-new").write_bytes(new[1])
    (tmp_path / ".foo.crt.acme-iid-new").write_bytes(new[0][:-40])
    files.recover(pair)
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert len(list(tmp_path.iterdir())) == 2


def test_renames_that_became_durable_in_the_other_order_are_finished(tmp_path: Path) -> None:
    pair, old, new = _pair(tmp_path), _issuance(), _issuance()
    pair.key.write_bytes(old[1])
    pair.certificate.write_bytes(new[0])
    (tmp_path / ".foo.key.acme-iid-new").write_bytes(new[1])
    files.recover(pair)
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == new


@pytest.mark.parametrize("trouble", ["PermissionError", "KeyboardInterrupt"])
def test_a_second_rename_that_does_not_happen_puts_the_old_key_back(tmp_path: Path, trouble: str) -> None:
    pair, old, new = _pair(tmp_path), _issuance(), _issuance()
    files.install(pair, *old, Permissions())
    (tmp_path / "new").mkdir()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    refusing = _KILLED.replace("    global left\n", _REFUSED.replace("PermissionError", trouble))
    done = subprocess.run([sys.executable, "-c", refusing, "999"], cwd=tmp_path, capture_output=True, check=False)
    assert b"immutable" in done.stderr
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key", "new"]


def test_a_full_disk_leaves_the_old_pair_in_use(tmp_path: Path) -> None:
    pair, old = _pair(tmp_path), _issuance()
    files.install(pair, *old, Permissions())
    # A limit on the size of files is what a full disk is to one process: the write fails half way.
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom acme_iid_client import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n files.install(files.pair(Path('foo.crt'), Path('foo.key')), b'x' * 999, b'', files.Permissions())\n"
        "except OSError as error:\n sys.exit(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert len(list(tmp_path.iterdir())) == 2
