"""Debian's store of trusted roots: a file for each root of ours, and the program by which all others take them up."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.x509.certificates import fingerprint, load_certificates, to_pem

STORE = Path("/usr/local/share/ca-certificates")
"""The directory of the roots that this system's administrator trusts."""
_UPDATE = Path("/usr/sbin/update-ca-certificates")
_CHOICE = Path("/etc/ca-certificates.conf")
"""The file of Debian's own roots: a ``!`` before a name has it removed."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 300.0
"""The longest that the update may take: Java's keystore is written by it, too."""


def require() -> None:
    """See that this process may change the store, and that there is one.

    :raises ClientError: if not.
    """
    if os.geteuid() != 0:
        raise ClientError("Only root may change what this system trusts. Run the command as root, for one with sudo.")
    if not (_UPDATE.exists() and STORE.is_dir()):
        raise ClientError(
            f"This system has no {_UPDATE} with {STORE}: on Debian, install ca-certificates. What other systems take "
            "is printed by: acme-iid trust bundle"
        )


def name_of(root: x509.Certificate) -> str:
    """The name that a root has wherever others keep it; it follows from the root alone."""
    return f"acme-iid-{fingerprint(root)[:16]}"


def file_of(root: x509.Certificate) -> str:
    """The name of a root's file. A file holds one root: OpenSSL finds no second one by its subject."""
    return f"{name_of(root)}.crt"


def is_there(root: x509.Certificate) -> bool:
    """Whether a root stands in the store.

    :raises ClientError: if something else has its file's name.
    """
    content = _read(file_of(root))
    if content not in (None, to_pem(root)):
        raise ClientError(f"{STORE / file_of(root)} is not what 'acme-iid trust install' writes. Move it away first.")
    return content is not None


def put(root: x509.Certificate) -> None:
    """Put a root into the store, for the next update."""
    directories.write_file(STORE / file_of(root), to_pem(root), public=True)


def take_out(name: str) -> bool:
    """Take a file out of the store, for the next update; without one, nothing happens.

    :param name: that of the file.
    :returns: False if it is not of our making, and still there.
    """
    content = _read(name)
    if content is not None and not _is_ours(name, content):
        return False
    directories.remove_file(STORE / name)
    return True


def update(removed: Iterable[str]) -> None:
    """Have all programs of the system take up what the store holds now.

    :param removed: the names of the files that were taken out.
    :raises ClientError: if that fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [str(_UPDATE)]
        if lines := "".join(f"\n!{name}" for name in removed):
            # What is only gone from the store leaves a link in /etc/ssl/certs behind, and stays in Java's keystore.
            choice = Path(folder, _CHOICE.name)
            choice.write_bytes((_CHOICE.read_bytes() if _CHOICE.exists() else b"") + lines.encode() + b"\n")
            command += ["--certsconf", str(choice)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                env={**os.environ, "PATH": _PATH},
                # What it writes is for all to read.
                umask=0o022,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClientError(f"{_UPDATE} did not end within {_SECONDS:g} seconds.") from None
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ClientError(
            f"{_UPDATE} ended with status {done.returncode}: {output[-1] if output else 'it said nothing'}"
        )


def _read(name: str) -> bytes | None:
    try:
        with open_directory(STORE) as directory:
            return directory.entry(name).read()
    except FileNotFoundError:
        return None


def _is_ours(name: str, content: bytes) -> bool:
    try:
        return any(content == to_pem(root) and file_of(root) == name for root in load_certificates(content))
    except ClientError:
        return False
