from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import issue

from acme_iid_client import files, keys
from acme_iid_client.errors import ClientError
from acme_iid_client.files import Permissions

# In the working directory, a process for each line of stdin: "install N" puts the pair in new/ in place and dies
# before the N-th thing that it does to the file system (every such call of Python's raises an audit event),
# "recover N" carries on likewise, and "refuse E" installs where replacing the certificate raises E.
_PROCESSES = """
import builtins, os, signal, sys
from pathlib import Path
from acme_iid_client import files
from acme_iid_client.files import Permissions
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod", "fcntl.flock")
def act(what, limit):
    left = int(limit) if limit.isdigit() else 999
    certificate, key = Path("new/foo.crt").read_bytes(), Path("new/foo.key").read_bytes()
    def hook(event, arguments):
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        if what == "refuse" and event == "os.rename" and str(arguments[1]).endswith("foo.crt"):
            raise getattr(builtins, limit)("immutable")
    pair = files.pair(Path("foo.crt"), Path("foo.key"))
    sys.addaudithook(hook)
    if what == "recover":
        files.recover(pair)
    else:
        files.install(pair, certificate, key, Permissions())
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            act(*line.split())
        except BaseException as error:
            os._exit(1 if "immutable" in str(error) else 2)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class _Processes:
    """Runs :data:`_PROCESSES` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._script = subprocess.Popen(
            [sys.executable, "-c", _PROCESSES], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._script.communicate(timeout=30)

    def run(self, what: str, limit: int | str) -> int:
        """The status that the process ended with; negative for a signal."""
        assert self._script.stdin is not None
        assert self._script.stdout is not None
        self._script.stdin.write(f"{what} {limit}\n")
        self._script.stdin.flush()
        return int(self._script.stdout.readline())


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[_Processes]:
    (tmp_path / "new").mkdir()
    with _Processes(tmp_path) as running:
        yield running


def _issuance() -> tuple[bytes, bytes]:
    """A certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return issue(None, "foo.local", key, ["foo.local"]).public_bytes(Encoding.PEM), keys.to_pem(key)


def _for(key: bytes) -> bytes:
    """Another certificate for a key."""
    private = keys.load(key, "the key")
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return issue(None, "foo.local", private, ["foo.local"]).public_bytes(Encoding.PEM)


def _contents(folder: Path) -> tuple[bytes, bytes] | None:
    """What is found under the names; None if nothing is under either."""
    certificate, key = folder / "foo.crt", folder / "foo.key"
    if not certificate.exists() and not key.exists():
        return None
    return certificate.read_bytes(), key.read_bytes()


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


@pytest.mark.parametrize("before", ["a pair", "nothing"])
def test_a_kill_at_any_step_leaves_the_old_pair_in_use_or_the_new_one(
    tmp_path: Path, processes: _Processes, before: str
) -> None:
    old, new = (_issuance() if before == "a pair" else None), _issuance()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    outcomes = []
    for step in range(120):
        pair = _pair(tmp_path)
        if old is None:
            for path in pair.existing:
                path.unlink()
        else:
            files.install(pair, *old, Permissions())
        code = processes.run("install", step)
        # What a program finds that opens the files right after the kill, with nothing of ours having run since.
        found = _contents(tmp_path)
        assert found in (old, new)
        pair = _pair(tmp_path)
        files.recover(pair)
        assert _contents(tmp_path) == found, "carrying on changes nothing that can be seen"
        left = ["new"] if found is None else ["foo.crt", "foo.key", "new"]
        assert sorted(path.name for path in tmp_path.iterdir()) == left
        assert not any(path.is_symlink() for path in tmp_path.iterdir())
        outcomes.append(found == new)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert outcomes[-1], "the last round was not killed"
    assert outcomes.count(False) > 15
    assert outcomes.count(True) > 5
    assert outcomes == sorted(outcomes), "once the new pair is in use, it stays"


def test_a_kill_while_carrying_on_after_a_kill_changes_nothing_either(tmp_path: Path, processes: _Processes) -> None:
    old, new = _issuance(), _issuance()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    kills = 0
    for step in range(120):
        files.install(_pair(tmp_path), *old, Permissions())
        if processes.run("install", step) == 0:
            break
        found = _contents(tmp_path)
        assert found in (old, new)
        for later in range(40):
            code = processes.run("recover", later)
            assert _contents(tmp_path) == found
            if code == 0:
                break
            kills += 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key", "new"]
    assert kills > 100


def test_the_files_may_be_in_different_directories(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "private").mkdir(0o700)
    pair = files.pair(tmp_path / "certs/foo.crt", tmp_path / "private/foo.key")
    for issuance in (_issuance(), _issuance()):
        files.install(pair, *issuance, Permissions())
        assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == issuance
        assert sorted(path.name for path in tmp_path.glob("*/*")) == ["foo.crt", "foo.key"]


def test_whoever_reads_all_the_time_never_finds_a_file_missing_or_cut_off(tmp_path: Path) -> None:
    pair, known = _pair(tmp_path), [_issuance() for _ in range(4)]
    files.install(pair, *known[0], Permissions())
    whole = {content for issuance in known for content in issuance}
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.extend((pair.certificate.read_bytes(), pair.key.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 30):
        files.install(pair, *known[number % 4], Permissions())
    done.set()
    reader.join()
    assert len(seen) > 100
    assert set(seen) <= whole


def test_a_new_certificate_for_the_same_key_replaces_one_file(tmp_path: Path) -> None:
    pair, (certificate, key) = _pair(tmp_path), _issuance()
    files.install(pair, certificate, key, Permissions())
    inode = pair.key.stat().st_ino
    files.install_certificate(pair, _for(key), Permissions())
    assert files.belong_together(pair.certificate, pair.key)
    assert pair.certificate.read_bytes() != certificate
    assert pair.key.stat().st_ino == inode
    assert len(list(tmp_path.iterdir())) == 2


def test_a_certificate_whose_key_was_replaced_meanwhile_is_not_put_in_place(tmp_path: Path) -> None:
    pair, (_, key), other = _pair(tmp_path), _issuance(), _issuance()
    files.install(pair, *other, Permissions())
    with pytest.raises(ClientError, match="another key meanwhile"):
        files.install_certificate(pair, _for(key), Permissions())
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == other
    assert len(list(tmp_path.iterdir())) == 2


def test_a_renewal_that_asks_for_a_mode_gives_it_to_the_key_as_well(tmp_path: Path) -> None:
    pair, (certificate, key) = _pair(tmp_path), _issuance()
    files.install(pair, certificate, key, Permissions())
    files.install_certificate(pair, _for(key), Permissions(0o644))
    assert _modes(pair) == [0o644, 0o640]


def test_an_installation_that_never_touched_the_pair_is_undone(tmp_path: Path) -> None:
    pair, old, new = _pair(tmp_path), _issuance(), _issuance()
    files.install(pair, *old, Permissions())
    (tmp_path / ".foo.key.acme-iid-new").write_bytes(new[1])
    (tmp_path / ".foo.crt.acme-iid-new").write_bytes(new[0][:-40])
    files.recover(pair)
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert len(list(tmp_path.iterdir())) == 2


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "foo.crt").symlink_to(tmp_path / "bar.crt")
    (tmp_path / "bar.crt").symlink_to(tmp_path / "foo.crt")
    with pytest.raises(ClientError, match="leads nowhere"):
        _pair(tmp_path)


@pytest.mark.parametrize("trouble", ["PermissionError", "KeyboardInterrupt"])
def test_a_certificate_that_cannot_be_replaced_leaves_the_old_pair(
    tmp_path: Path, processes: _Processes, trouble: str
) -> None:
    # As the kernel does where the certificate is immutable (chattr +i), or a person with Control-C.
    pair, old, new = _pair(tmp_path), _issuance(), _issuance()
    files.install(pair, *old, Permissions())
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    assert processes.run("refuse", trouble) == 1
    assert _contents(tmp_path) == old
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
