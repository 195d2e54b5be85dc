"""Root's client in a directory of another user, who puts links there: before, and at every moment in between."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pairs import certificate_for, issuance
from strangers import NOBODY, Ground, as_nobody, ground, link

from acme_iid_client.errors import ClientError
from acme_iid_client.renewal import hooks
from acme_iid_client.storage import account_keys, directories, pairs, records
from acme_iid_client.storage.bundles import Bundles
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.storage.pairs import Permissions


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


def _order(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acme_iid_client", "order", "foo.local", *map(str, arguments), "--force"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("planted", ["tls.crt", "tls.key", "all.pem", "tls.p12"])
def test_a_link_of_the_directorys_owner_is_refused_by_name(place: Ground, planted: str) -> None:
    link(place.own / "evil", place.app / planted)
    crt, key, bundle, p12 = (place.app / name for name in ("tls.crt", "tls.key", "all.pem", "tls.p12"))
    refused = _order(crt, key, "--bundle", bundle, "--p12", p12, "--owner", "nobody")
    assert refused.returncode != 0
    assert f"{place.app / planted} is a symbolic link that another user" in refused.stderr
    assert list(place.own.iterdir()) == []
    assert [path.name for path in place.app.iterdir()] == [planted]


@pytest.mark.parametrize("arguments", [("tls.crt", "tls.key"), ("../ok.crt", "tls.key"), ("tls.crt", "../ok.key")])
def test_a_directory_that_is_a_link_of_another_user_is_refused(place: Ground, arguments: tuple[str, str]) -> None:
    link(place.own, place.app / "certs")
    (place.app.parent / "certs").symlink_to(place.app / "certs")
    refused = _order(*(place.app / "certs" / argument for argument in arguments))
    assert refused.returncode != 0
    assert f"{place.app / 'certs'} is a symbolic link that another user" in refused.stderr
    assert list(place.own.iterdir()) == []


def test_links_that_only_root_can_have_put_there_are_followed(place: Ground) -> None:
    (place.own / "real").mkdir()
    (place.own / "certs").symlink_to("real")
    (place.own / "real/tls.crt").symlink_to(place.own / "there.crt")
    pair = pairs.pair(place.own / "certs/tls.crt", place.own / "certs/../certs/tls.key")
    assert pair == pairs.Pair(place.own / "there.crt", place.own / "real/tls.key")
    made = issuance()
    pairs.install(pair, *made, Permissions())
    assert (place.own / "there.crt").read_bytes() == made[0]


def test_a_link_of_roots_that_others_can_have_moved_is_refused(place: Ground) -> None:
    shared = place.app / "roots"
    shared.mkdir()
    (shared / "tls.crt").symlink_to(place.own / "other.crt")
    with pytest.raises(ClientError, match="another user of this machine"):
        pairs.target_of(shared / "tls.crt")
    writable = place.own / "writable"
    writable.mkdir()
    writable.chmod(0o1777)
    (writable / "tls.crt").symlink_to(place.own / "other.crt")
    with pytest.raises(ClientError, match="another user of this machine"):
        pairs.target_of(writable / "tls.crt")


def test_a_link_of_another_user_in_roots_directory_is_refused(place: Ground) -> None:
    (place.own / "tls.crt").symlink_to(place.own / "other.crt")
    os.chown(place.own / "tls.crt", NOBODY, -1, follow_symlinks=False)
    with pytest.raises(ClientError, match="another user of this machine"):
        pairs.target_of(place.own / "tls.crt")


def test_a_key_under_a_second_name_keeps_its_owner(place: Ground) -> None:
    certificate, key = issuance()
    pair = pairs.pair(place.app / "tls.crt", place.app / "tls.key")
    pairs.install(pair, certificate, key, Permissions())
    (place.own / "mine.key").hardlink_to(pair.key)
    with pytest.raises(ClientError, match="several names"):
        pairs.install_certificate(pair, certificate_for(key), Permissions(0o644, NOBODY, NOBODY))
    assert (place.own / "mine.key").stat().st_uid == 0


def test_a_key_of_roots_under_a_second_name_gets_into_no_bundle(place: Ground) -> None:
    # As another user can do it where the kernel does not protect hard links.
    certificate, key = issuance()
    (place.own / "tls.key").write_bytes(key)
    (place.app / "tls.key").hardlink_to(place.own / "tls.key")
    (place.app / "tls.crt").write_bytes(certificate)
    pair = pairs.pair(place.app / "tls.crt", place.app / "tls.key")
    with pytest.raises(ClientError, match="several names"):
        Bundles(bundle=place.app / "all.pem").refresh(pair, Permissions(0o644, NOBODY, NOBODY))
    assert not (place.app / "all.pem").exists()


def test_a_directory_of_roots_in_the_place_of_a_switch_stays_as_it_is(place: Ground) -> None:
    private = place.app / ".tls.crt.acme-iid-switch"
    private.mkdir(0o700)
    (private / "new").mkdir(0o700)
    (private / "new/key").write_text("root's")
    pair = pairs.pair(place.app / "tls.crt", place.app / "tls.key")
    with pytest.raises(OSError, match="acme-iid-switch"):
        pairs.install(pair, *issuance(), Permissions())
    assert (private / "new/key").read_text() == "root's"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_directory_that_was_put_in_the_place_of_a_new_one_stays(place: Ground) -> None:
    # As if it had been moved there between the making of a directory and its opening.
    (place.app / "private").mkdir(0o700)
    (place.app / "private/precious").write_text("root's")
    with open_directory(place.app) as directory, pytest.raises(OSError, match="Somebody else has put something"):
        directory.entry("private").pass_through()
    assert stat.S_IMODE((place.app / "private").stat().st_mode) == 0o700


def test_what_is_roots_in_a_directory_for_all_is_not_ordered_for(place: Ground) -> None:
    shared = place.own / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for name in ("tls.crt", "tls.key"):
        (shared / name).write_text("")
    program = (
        "import sys; from pathlib import Path; from acme_iid_client.storage import pairs\n"
        "pairs.rehearse(pairs.pair(*map(Path, sys.argv[1:])), pairs.Permissions())"
    )
    # The environment of the tests may be in a folder that is root's alone.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = ["setpriv", "--reuid", "nobody", "--regid", str(NOBODY), "--clear-groups", *reading]
    command: list[str | Path] = [*user, sys.executable, "-B", "-c", program, shared / "tls.crt", shared / "tls.key"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "belongs to another user, in a directory where users can replace their own files only" in done.stderr
    assert sorted(path.name for path in shared.iterdir()) == ["tls.crt", "tls.key"]


def test_an_empty_directory_of_another_user_is_not_ours(place: Ground) -> None:
    subprocess.run(as_nobody("mkdir", "-m", "0700", place.app / "theirs"), check=True)
    with open_directory(place.app) as directory, pytest.raises(OSError, match="Somebody else has put something"):
        directory.entry("theirs").pass_through()
    assert stat.S_IMODE((place.app / "theirs").stat().st_mode) == 0o700


def test_a_new_file_is_made_by_nobody_else(place: Ground) -> None:
    subprocess.run(as_nobody("touch", place.app / "new"), check=True)
    link(place.own / "evil", place.app / "link")
    with open_directory(place.app) as directory:
        for name in ("new", "link"):
            with pytest.raises(FileExistsError, match=name):
                directory.entry(name).create(b"secret", 0o600)
    assert (place.app / "new").read_bytes() == b""
    assert list(place.own.iterdir()) == []


def test_the_clients_own_directories_are_reached_through_no_link_either(place: Ground) -> None:
    link(place.own, place.app / "state")
    with pytest.raises(ClientError, match="another user of this machine"):
        directories.make_directory(place.app / "state/accounts")
    with pytest.raises(ClientError, match="another user of this machine"):
        directories.write_file(place.app / "state/record.json", b"{}")
    with pytest.raises(ClientError, match="another user of this machine"):
        directories.remove_file(place.app / "state/record.json")
    assert list(place.own.iterdir()) == []


def test_a_pipe_in_the_place_of_a_certificate_is_not_waited_for(place: Ground) -> None:
    subprocess.run(as_nobody("mkfifo", place.app / "tls.crt"), check=True)
    with pytest.raises(OSError, match="Not a regular file"):
        pairs.read(place.app / "tls.crt")
    state = place.own / "state"
    records.save(state, records.Record(place.app / "tls.crt", place.app / "tls.key"))
    seen = subprocess.run(
        [sys.executable, "-m", "acme_iid_client", "--state-dir", state, "list"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "unreadable" in seen.stdout


def test_a_pid_file_of_another_user_is_good_for_that_users_processes(place: Ground) -> None:
    theirs = subprocess.Popen(as_nobody("sleep", "60"))
    mine = subprocess.Popen(["sleep", "60"])
    try:
        file = place.app / "pid"
        for process, outcome in ((mine, None), (theirs, -signal.SIGTERM)):
            subprocess.run(as_nobody("sh", "-c", f"echo {process.pid} >{file}"), check=True)
            after = hooks.parse(None, 1.0, "TERM", None, file)
            if outcome is None:
                with pytest.raises(ClientError, match="does not belong to user"):
                    after.run(os.environ)
                assert process.poll() is None
            else:
                after.run(os.environ)
                assert process.wait(timeout=30) == outcome
        link(place.own / "pid", place.app / "linked")
        (place.own / "pid").write_text(str(mine.pid))
        with pytest.raises(ClientError, match="symbolic link that another user"):
            hooks.parse(None, 1.0, "TERM", None, place.app / "linked").run(os.environ)
        hooks.parse(None, 1.0, "TERM", None, place.own / "pid").run(os.environ)
        assert mine.wait(timeout=30) == -signal.SIGTERM
    finally:
        for process in (theirs, mine):
            process.kill()
            process.wait()


def test_a_pid_file_of_roots_that_all_can_write_is_refused(place: Ground) -> None:
    (place.own / "pid").write_text("1")
    (place.own / "pid").chmod(0o666)
    with pytest.raises(ClientError, match="chmod go-w"):
        hooks.parse(None, 1.0, None, None, place.own / "pid").run(os.environ)


def test_root_runs_no_program_that_another_user_could_write(place: Ground) -> None:
    program = place.app / "hook"
    subprocess.run(as_nobody("sh", "-c", f"printf '#!/bin/sh\\n' >{program}; chmod 755 {program}"), check=True)
    with pytest.raises(ClientError, match="another user of this machine can write"):
        hooks.parse(str(program), 1.0, None, None, None)
    mine = shutil.copy(program, place.own / "hook")
    hooks.parse(str(mine), 10.0, None, None, None).run(os.environ)
    Path(mine).chmod(0o777)
    with pytest.raises(ClientError, match="another user of this machine can write"):
        hooks.parse(str(mine), 1.0, None, None, None)


@pytest.mark.parametrize(("owner", "mode", "good"), [(0, 0o440, True), (0, 0o444, False), (NOBODY, 0o440, False)])
def test_a_secret_that_root_gave_a_group_is_read(place: Ground, owner: int, mode: int, good: bool) -> None:
    # As in a pod: the directory is for all to write to, and its links are the kubelet's.
    volume = place.own / "secrets"
    (volume / "..2026").mkdir(parents=True)
    volume.chmod(0o1777)
    (volume / "..data").symlink_to("..2026")
    (volume / "account.pem").symlink_to("..data/account.pem")
    file = volume / "..2026/account.pem"
    file.write_bytes(issuance()[1])
    file.chmod(mode)
    os.chown(file, owner, -1)
    if good:
        assert account_keys.from_file(volume / "account.pem").instance == ""
    else:
        with pytest.raises(ClientError, match="others can use it"):
            account_keys.from_file(volume / "account.pem")
