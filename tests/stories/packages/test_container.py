"""The CA's image: what it says of itself, and a CA that runs in it without a network and without a place to write."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from packages import building

USER = 10001
HOME = "/var/lib/acme-iid-ca"
# The process that the shell has begun last is the server.
WALK = """
export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:8169
export ACME_IID_CONFIG_DIR=$HOME/config ACME_IID_STATE_DIR=$HOME/state
test "$(id -u)" = USER
! touch /usr/x /etc/acme-iid-ca/x 2>"$HOME/refused"
test "$(ls /sys/class/net)" = lo
! HEALTH 2>"$HOME/before"
acme-iid-ca init --url https://127.0.0.1:8443 --listen 0.0.0.0:8443
acme-iid-ca metadata --listen 127.0.0.1:8169 --iid-roots-out simulator.pem >metadata.log &
until test -s simulator.pem; do sleep 0.2; done
acme-iid-ca provisioner add AWS --type AWS --aws-account 123456789042 --iid-roots simulator.pem
! HEALTH 2>"$HOME/away"
acme-iid-ca serve 2>serve.log &
until HEALTH 2>not-yet; do kill -0 $!; sleep 0.2; done
acme-iid bootstrap --ca-url https://127.0.0.1:8443 --fingerprint "$(acme-iid-ca fingerprint)"
acme-iid order foo.local foo.crt foo.key
kill $! && wait $!
! HEALTH 2>"$HOME/after"
"""


@pytest.fixture(scope="session")
def archive(built: Path) -> Path:
    """The image, as packaging/build makes it."""
    found = built / f"acme-iid-ca-0.1.0-container-{os.uname().machine}.tar"
    with (built.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            building.build(built.parent / "clone", built, "container")
    return found


@pytest.fixture(scope="session")
def config(archive: Path) -> Any:
    """What the image says of itself."""
    with tarfile.open(archive) as image:
        return json.loads(_read(image, json.loads(_read(image, "manifest.json"))[0]["Config"]))["config"]


def _read(image: tarfile.TarFile, name: str) -> bytes:
    file = image.extractfile(name)
    assert file is not None
    return file.read()


@pytest.fixture
def root(archive: Path, tmp_path: Path) -> Path:
    """The image's files."""
    unpacked = tmp_path / "root"
    with tarfile.open(archive) as image:
        (layer,) = json.loads(_read(image, "manifest.json"))[0]["Layers"]
    unpacked.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path, layer], check=True)
    subprocess.run(["tar", "-xf", tmp_path / layer, "-C", unpacked, "--numeric-owner"], check=True)
    (tmp_path / layer).unlink()
    return unpacked


def test_the_image_runs_as_a_user_and_asks_the_ca_whether_it_is_ready(config: Any) -> None:
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["/usr/bin/acme-iid-ca"]
    assert config["Cmd"] == ["serve"]
    assert config["Volumes"] == {HOME: {}}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert f"ACME_IID_CA_HOME={HOME}" in config["Env"]


def test_a_ca_works_in_it_read_only_and_without_a_network(config: Any, root: Path, tmp_path: Path) -> None:
    assert [path for path in root.rglob("*") if path.is_file() and path.lstat().st_mode & 0o6000] == []
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, USER, USER)
    script = WALK.replace("HEALTH", " ".join(config["Healthcheck"]["Test"][1:])).replace("USER", str(USER))
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--read-only", "--private-network",
               "--user=acme-iid-ca", f"--bind={home}:{HOME}", f"--chdir={HOME}", f"--directory={root}",
               f"--machine=acme-iid-image-{os.getpid()}", "--console=pipe", "--as-pid2",
               *(f"--setenv={entry}" for entry in (*config["Env"], f"HOME={HOME}")),
               "/bin/sh", "-ec", script]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False)
    said = {file.name: file.read_text(errors="replace") for file in home.iterdir() if file.is_file()}
    assert done.returncode == 0, (done.stdout, done.stderr, said)
    assert said["refused"].count("Read-only file system") == 2, said
    assert "ca.toml does not exist" in said["before"]
    assert "Connection refused" in said["away"]
    assert "Connection refused" in said["after"]
    assert "BEGIN CERTIFICATE" in said["foo.crt"]
    shutil.rmtree(root)
