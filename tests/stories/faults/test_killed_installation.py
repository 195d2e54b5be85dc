"""Installing a pair while the process is killed, the file system refuses, or the disk is full."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from pairs import contents, issuance, pair_in

from acme_iid_client.storage import pairs
from acme_iid_client.storage.pairs import Permissions

# In the working directory, a process for each line of stdin: "install N" puts the pair in new/ in place and dies
# before the N-th change that it makes to the file system (every such call of Python's raises an audit event),
# "recover N" carries on likewise, and "refuse E" installs where replacing the certificate raises E. With "linkless-"
# before it, there are neither symbolic nor hard links.
_PROCESSES = """
import builtins, errno, os, signal, sys
from pathlib import Path
from acme_iid_client.storage import pairs
from acme_iid_client.storage.pairs import Permissions
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.chmod", "fcntl.flock")
def act(what, limit):
    linkless, what = what.startswith("linkless-"), what.removeprefix("linkless-")
    left = int(limit) if limit.isdigit() else 999
    certificate, key = Path("new/foo.crt").read_bytes(), Path("new/foo.key").read_bytes()
    def hook(event, arguments):
        nonlocal left
        if event in EVENTS and not (event == "open" and not arguments[2] & (os.O_WRONLY | os.O_CREAT)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        if linkless and event in ("os.symlink", "os.link"):
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        if what == "refuse" and event == "os.rename" and str(arguments[1]).endswith("foo.crt"):
            raise getattr(builtins, limit)("immutable")
    pair = pairs.pair(Path("foo.crt"), Path("foo.key"))
    sys.addaudithook(hook)
    if what == "recover":
        pairs.recover(pair)
    else:
        pairs.install(pair, certificate, key, Permissions())
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


@pytest.mark.parametrize("before", ["a pair", "nothing"])
def test_a_kill_at_any_step_leaves_the_old_pair_in_use_or_the_new_one(
    tmp_path: Path, processes: _Processes, before: str
) -> None:
    old, new = (issuance() if before == "a pair" else None), issuance()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    outcomes = []
    for step in range(120):
        pair = pair_in(tmp_path)
        if old is None:
            for path in pair.existing:
                path.unlink()
        else:
            pairs.install(pair, *old, Permissions())
        code = processes.run("install", step)
        # What a program finds that opens the files right after the kill, with nothing of ours having run since.
        found = contents(tmp_path)
        assert found in (old, new)
        pair = pair_in(tmp_path)
        pairs.recover(pair)
        assert contents(tmp_path) == found, "carrying on changes nothing that can be seen"
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
    old, new = issuance(), issuance()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    kills = 0
    for step in range(120):
        pairs.install(pair_in(tmp_path), *old, Permissions())
        if processes.run("install", step) == 0:
            break
        found = contents(tmp_path)
        assert found in (old, new)
        for later in range(40):
            code = processes.run("recover", later)
            assert contents(tmp_path) == found
            if code == 0:
                break
            kills += 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key", "new"]
    assert kills > 100


@pytest.mark.parametrize("before", ["a pair", "nothing"])
def test_without_links_the_next_start_makes_a_kill_good(tmp_path: Path, processes: _Processes, before: str) -> None:
    old, new = (issuance() if before == "a pair" else None), issuance()
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    outcomes, torn = [], 0
    for step in range(80):
        pair = pair_in(tmp_path)
        if old is None:
            for path in pair.existing:
                path.unlink()
        else:
            pairs.install(pair, *old, Permissions())
        code = processes.run("linkless-install", step)
        torn += _files_in(tmp_path) not in (old, new, (None, None))
        # Killed again while it carries on, at one step and another.
        processes.run("linkless-recover", step % 7)
        assert processes.run("linkless-recover", "-") == 0
        assert contents(tmp_path) in (old, new)
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
        outcomes.append(contents(tmp_path) == new)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert outcomes[-1], "the last round was not killed"
    assert outcomes.count(False) > 5
    assert outcomes.count(True) > 3
    assert outcomes == sorted(outcomes), "once the note is written, it goes forward"
    assert torn == 1, "the one instant between the two renames"


def _files_in(folder: Path) -> tuple[bytes | None, bytes | None]:
    certificate, key = (
        path.read_bytes() if path.exists() else None for path in (folder / "foo.crt", folder / "foo.key")
    )
    return certificate, key


@pytest.mark.parametrize("before", ["a pair", "nothing"])
@pytest.mark.parametrize("trouble", ["PermissionError", "KeyboardInterrupt"])
def test_without_links_a_second_rename_that_fails_takes_the_first_back(
    tmp_path: Path, processes: _Processes, trouble: str, before: str
) -> None:
    old, new = (issuance() if before == "a pair" else None), issuance()
    if old is not None:
        pairs.install(pair_in(tmp_path), *old, Permissions())
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    assert processes.run("linkless-refuse", trouble) == 1
    assert contents(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        ["new"] if old is None else ["foo.crt", "foo.key", "new"]
    )


@pytest.mark.parametrize("trouble", ["PermissionError", "KeyboardInterrupt"])
def test_a_certificate_that_cannot_be_replaced_leaves_the_old_pair(
    tmp_path: Path, processes: _Processes, trouble: str
) -> None:
    # As the kernel does where the certificate is immutable (chattr +i), or a person with Control-C.
    pair, old, new = pair_in(tmp_path), issuance(), issuance()
    pairs.install(pair, *old, Permissions())
    (tmp_path / "new/foo.crt").write_bytes(new[0])
    (tmp_path / "new/foo.key").write_bytes(new[1])
    assert processes.run("refuse", trouble) == 1
    assert contents(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foo.crt", "foo.key", "new"]


def test_a_full_disk_leaves_the_old_pair_in_use(tmp_path: Path) -> None:
    pair, old = pair_in(tmp_path), issuance()
    pairs.install(pair, *old, Permissions())
    # A limit on the size of files is what a full disk is to one process: the write fails half way.
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom acme_iid_client.storage import pairs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n pairs.install(pairs.pair(Path('foo.crt'), Path('foo.key')), b'x' * 999, b'', pairs.Permissions())\n"
        "except OSError as error:\n sys.exit(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert (pair.certificate.read_bytes(), pair.key.read_bytes()) == old
    assert len(list(tmp_path.iterdir())) == 2
