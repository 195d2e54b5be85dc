"""What 'acme-iid trust bundle' prints, run by a shell, is what Java, NSS and RHEL take."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from machine import Machine
from own_store import OwnStore
from programs import system
from running import CA

FETCH = """
import java.net.URI;
import javax.net.ssl.HttpsURLConnection;

class Fetch {
    public static void main(String[] arguments) throws Exception {
        var connection = (HttpsURLConnection) URI.create(arguments[0]).toURL().openConnection();
        System.out.write(connection.getInputStream().readAllBytes());
        System.out.flush();
    }
}
"""


def sh(text: str, folder: Path, *before: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Have a shell run what was printed."""
    file = folder / "printed.sh"
    file.write_text(text)
    return system(*before, "sh", file, env={"HOME": str(folder), **env}, cwd=folder)


def printed(vm: Machine, name: str) -> str:
    return vm.run("trust", "bundle", "--format", name).stdout


def fetched(ca: CA, folder: Path, *before: str, options: tuple[str, ...] = ()) -> str:
    """What Java's own client gets from the CA's server."""
    (folder / "Fetch.java").write_text(FETCH)
    done = system(*before, "java", "-XX:TieredStopAtLevel=1", *options, folder / "Fetch.java", f"{ca.url}/health")
    return done.stdout if done.returncode == 0 else "refused" if "SSLHandshakeException" in done.stderr else done.stderr


def test_pem_holds_the_roots(vm: Machine, shared_ca: CA) -> None:
    assert vm.run("trust", "bundle").stdout == shared_ca.root.read_text()


def test_java_takes_it_in_its_own_keystore(vm: Machine, store: OwnStore, shared_ca: CA, tmp_path: Path) -> None:
    assert fetched(shared_ca, tmp_path, *store.inside) == "refused"
    # A second time changes nothing, and is no fault.
    for _ in range(2):
        done = sh(printed(vm, "java"), tmp_path, *store.inside)
        assert done.returncode == 0, done.stdout + done.stderr
    assert fetched(shared_ca, tmp_path, *store.inside) == "ok\n"


def test_java_takes_it_as_a_pkcs12_file(vm: Machine, shared_ca: CA, tmp_path: Path) -> None:
    done = sh(printed(vm, "pkcs12"), tmp_path, KEYSTORE=str(tmp_path / "own.p12"))
    assert done.returncode == 0, done.stdout + done.stderr
    options = (f"-Djavax.net.ssl.trustStore={tmp_path}/own.p12", "-Djavax.net.ssl.trustStorePassword=changeit")
    assert fetched(shared_ca, tmp_path, options=options) == "ok\n"


def test_nss_takes_it_in_the_users_database(vm: Machine, shared_ca: CA, tmp_path: Path) -> None:
    vm.order()
    for _ in range(2):
        done = sh(printed(vm, "nss"), tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    database = f"sql:{tmp_path}/.pki/nssdb"
    files = ("-a", vm.crt, "-a", shared_ca.intermediate)
    done = system("vfychain", "-d", database, "-pp", "-u", "1", *files)
    assert "Chain is good!" in done.stdout + done.stderr, done
    nickname = f"acme-iid-{shared_ca.fingerprint[:16]}"
    assert system("certutil", "-D", "-d", database, "-n", nickname).returncode == 0
    assert "Chain is good!" not in system("vfychain", "-d", database, "-pp", "-u", "1", *files).stdout


def test_rhel_takes_a_file_and_is_told(vm: Machine, shared_ca: CA, tmp_path: Path) -> None:
    anchors, programs = tmp_path / "anchors", tmp_path / "bin"
    for folder in (anchors, programs):
        folder.mkdir()
    # No Debian has the program: it is seen that it is called, behind the files.
    (programs / "update-ca-trust").write_text(f'#!/bin/sh\necho "$@" $(ls {anchors}) > {tmp_path}/called\n')
    (programs / "update-ca-trust").chmod(0o755)
    text = printed(vm, "rhel")
    assert text.count("/etc/pki/ca-trust/source/anchors/") == 1
    text = text.replace("/etc/pki/ca-trust/source/anchors", str(anchors))
    done = sh(text, tmp_path, PATH=f"{programs}:{os.defpath}")
    assert done.returncode == 0, done.stderr
    (file,) = anchors.iterdir()
    assert (tmp_path / "called").read_text() == f"extract {file.name}\n"
    assert file.read_text() == shared_ca.root.read_text()
