"""A backup: the CA's home as one tar file, written while the server runs (rfc-notes/decisions/0013-backups.md).

It begins with a manifest, which has the size and the SHA-256 of each file behind it, and a sum of its own. In it
is what the CA is: ca.toml, certs/, secrets/, files that ca.toml names inside the home, and the database as it
was at one moment, a SQLite file whatever engine it is in. Spent nonces and the server's own TLS certificate are made
anew wherever the CA runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acme_iid.config.locations import FILE_NAME
from acme_iid.config.settings import Config
from acme_iid.durable import sync_names
from acme_iid.errors import RequestError
from acme_iid.issuance import home
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import envelopes, waiting_acts
from acme_iid.store import copies, events, jobs
from acme_iid.store.chain import Event
from acme_iid.store.database import SQLite
from acme_iid.store.migration import migrate
from acme_iid.store.writes import Committing, Reader, Write, perform

MANIFEST = "manifest.json"
DATABASE = "store.db"
"""The database's name in a backup, wherever it is in a home."""
LATE_SECONDS = 25 * 3600
"""The age from which on the latest backup is late: they are made daily, and one takes its time."""
OLD_SECONDS = 2 * 86400
"""The age from which on it is an alarm; the alert rule in docs/monitoring/alerts.yml has the same."""
MAX_FILE_BYTES = 16 * 1024 * 1024
"""Of any file but the database."""
_FORMAT = 1
_JOB = "backup"
_FOLDERS = ("certs", "secrets", "issuers", str(waiting_acts.FOLDER))


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written, or that is there to be restored.

    :ivar made_at: seconds.
    :ivar head: the latest event that is in it, NUMBER:HASH.
    :ivar home: where the CA was.
    :ivar files: size, SHA-256 and mode by name.
    :ivar outside: files that ca.toml or an issuer names and that are outside the home, so not in the backup.
    :ivar left_out: private keys in the home that are not in the backup, since they are a root's.
    :ivar elsewhere: where the issuers' keys are that are in no file, and so not in the backup, by the beginnings of
        the issuers' ids.
    """

    made_at: int
    head: str
    home: str
    files: Mapping[str, tuple[int, str, int]]
    outside: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def manifest(self) -> bytes:
        """The manifest, with its own sum."""
        content = {
            "format": _FORMAT,
            "made_at": self.made_at,
            "head": self.head,
            "home": self.home,
            "files": {name: list(facts) for name, facts in self.files.items()},
            "outside": list(self.outside),
            "left_out": list(self.left_out),
            "elsewhere": dict(self.elsewhere),
        }
        return json.dumps({"sha256": _sum_of(content), "content": content}, indent=1).encode()


def read_manifest(data: bytes) -> Backup:
    """Read a manifest.

    :raises RequestError: if ``data`` is not a manifest, or not as it was written.
    """
    try:
        whole = json.loads(data)
        content = whole["content"]
        if whole["sha256"] != _sum_of(content):
            raise RequestError("the backup was changed or damaged: its manifest does not have its own sum")
        if content["format"] != _FORMAT:
            raise RequestError(f"this is a backup of format {content['format']}, which a newer acme-iid-ca reads")
        files = {str(name): (int(size), str(sum_), int(mode)) for name, (size, sum_, mode) in content["files"].items()}
        outside, left_out = tuple(content["outside"]), tuple(content.get("left_out", ()))
        elsewhere = {str(name): str(place) for name, place in content.get("elsewhere", {}).items()}
        return Backup(content["made_at"], content["head"], content["home"], files, outside, left_out, elsewhere)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError("the backup was changed or damaged: its manifest cannot be read") from error


def _sum_of(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(
    config: Config,
    target: Path,
    now: int,
    *,
    force: bool,
    root_keys: bool = False,
    recipient: x509.Certificate | None = None,
) -> Backup:
    """Write a backup of the CA to the file ``target``, which has its name when it is whole and on the disk.

    :param force: replace a file that exists.
    :param root_keys: whether private keys of roots are in it.
    :param recipient: whose key alone decrypts it; None for a backup that is not encrypted.
    :raises RequestError: if ``target`` exists, or a file of the CA's could not be restored.
    :raises CAFileError: if the issuers cannot be listed.
    :raises StoreUnavailableError: if the store cannot be copied.
    :raises OSError: if a file cannot be read or written.
    """
    if not force and os.path.lexists(target):
        raise RequestError(f"{target} exists; choose another name, or give --force to replace it")
    small, outside = _files(config)
    left_out = () if root_keys else _root_keys(config, small)
    for name in left_out:
        del small[name]
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        copy = folder / DATABASE
        _copy_store(config, copy)
        head = _head(copy)
        facts = {name: (len(data), hashlib.sha256(data).hexdigest(), mode) for name, (data, mode) in small.items()}
        with copy.open("rb") as stream:
            sum_ = hashlib.file_digest(stream, "sha256").hexdigest()
        facts[DATABASE] = (copy.stat().st_size, sum_, 0o600)
        elsewhere = {name: str(place) for name, place in home.places_elsewhere(config.home).items()}
        backup = Backup(now, head, str(config.home), facts, outside, left_out, elsewhere)
        partial = folder / "backup"
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            if recipient is None:
                _pack(out, backup, small, folder)
            else:
                # What is not encrypted is nowhere but in memory.
                plain = io.BytesIO()
                _pack(plain, backup, small, folder)
                out.write(envelopes.encrypt(plain.getvalue(), recipient))
            out.flush()
            os.fsync(out.fileno())
        _give_name(partial, target, force=force)
    finally:
        shutil.rmtree(folder)
    return backup


def last(reader: Reader) -> int | None:
    """When the latest backup was made, seconds; None if there was none."""
    return jobs.due_at(reader, _JOB)


def record(database: Committing, backup: Backup, size: int, *, encrypted: bool) -> None:
    """Leave an event in the store that a backup was made of it, which that backup does not have, and its time.

    The backup is whole without that: its age is then shown as that of the one before.

    :param size: that of the file, in octets.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    detail = {
        "made_at": backup.made_at,
        "head": backup.head,
        "manifest_sha256": hashlib.sha256(backup.manifest()).hexdigest(),
        "octets": size,
        "encrypted": encrypted,
        "left_out": list(backup.left_out),
    }
    event = Event("backup.written", backup.made_at, detail=detail)
    perform(database, lambda _reader: Write([jobs.mark(_JOB, backup.made_at)], lambda _rows: None, [event]))


def _give_name(partial: Path, target: Path, *, force: bool) -> None:
    if force:
        partial.rename(target)
    else:
        try:
            target.hardlink_to(partial)  # a rename would replace what another one has written there meanwhile
        except FileExistsError as error:
            raise RequestError(f"{target} exists by now; choose another name, or give --force to replace it") from error
    sync_names(target.parent)


def _pack(out: BinaryIO, backup: Backup, small: Mapping[str, tuple[bytes, int]], folder: Path) -> None:
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, backup, MANIFEST, io.BytesIO(backup.manifest()), len(backup.manifest()), 0o600)
        for name, (size, _, mode) in backup.files.items():
            if name != DATABASE:
                _add(tar, backup, name, io.BytesIO(small[name][0]), size, mode)
        with (folder / DATABASE).open("rb") as stream:
            _add(tar, backup, DATABASE, stream, backup.files[DATABASE][0], 0o600)


def _add(tar: tarfile.TarFile, backup: Backup, name: str, stream: BinaryIO, size: int, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, mode, backup.made_at
    tar.addfile(member, stream)


def _copy_store(config: Config, copy: Path) -> None:
    """Copy the database as it is now to a new SQLite file."""
    path = config.store.path
    if path is None:
        copies.of_server(config.store.url, copy)
        return
    if not path.exists():
        _make(path)  # a CA that has never served
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    copies.of_file(path, copy)


def _make(database: Path) -> None:
    opened = SQLite(database)
    migrate(opened)
    opened.close()


def _head(database: Path) -> str:
    opened = SQLite(database)
    try:
        return str(events.head(opened))
    finally:
        opened.close()
        # Opening has turned the log on; nothing was written to it.
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)


def _files(config: Config) -> tuple[dict[str, tuple[bytes, int]], tuple[str, ...]]:
    """The small files with their modes, by name; and those that the configuration names outside the home."""
    base = config.home
    paths, outside = set[Path](), []
    for folder in _FOLDERS:
        # What is being written has another name until it is whole.
        paths |= {path for path in (base / folder).rglob("*") if path.is_file() and path.suffix != ".new"}
    for named in _named(config):
        path = Path(os.path.normpath(named))
        if path.is_relative_to(base):
            paths.add(path)
        else:
            outside.append(str(path))
    paths.discard(base / FILE_NAME)
    files = {FILE_NAME: config.file, **{str(path.relative_to(base)): path for path in sorted(paths)}}
    return {name: _read(path) for name, path in files.items()}, tuple(sorted(set(outside)))


def _root_keys(config: Config, files: Mapping[str, tuple[bytes, int]]) -> tuple[str, ...]:
    """The names of files with a root's private key.

    A key that is encrypted does not show whose it is: it counts as a root's unless an issuer or a request has it, or
    there is a certificate beside it.
    """
    roots: list[object] = []
    # A CA that waits for its root has none; one whose file is damaged is backed up nevertheless.
    with suppress(CAFileError):
        roots = [root.public_key() for root in home.load_roots(config.home)]
    known = {path for path in home.issuer_files(config.home, waiting=True) if path.is_relative_to(config.home)}
    issuers = {str(path.relative_to(config.home)) for path in known}
    return tuple(
        name
        for name, (data, _) in files.items()
        if name not in issuers and (name == str(home.ROOT_KEY) or _is_of_root(data, roots))
    )


def _is_of_root(data: bytes, roots: Container[object]) -> bool:
    if b"PRIVATE KEY-----" not in data:
        return False
    try:
        return load_pem_private_key(data, None).public_key() in roots
    except (ValueError, UnsupportedAlgorithm):
        return False
    except TypeError:
        # It takes a password. A certificate beside it, as a responder's file has one, shows whose it is.
        beside = x509.load_pem_x509_certificates(data) if b"-----BEGIN CERTIFICATE-----" in data else []
        return not beside or any(certificate.public_key() in roots for certificate in beside)


def _named(config: Config) -> Iterator[Path]:
    with suppress(CAFileError):
        yield from home.issuer_files(config.home)
    yield from config.ca.alternate_chains
    for provisioner in config.provisioners:
        yield from provisioner.keys.places.values()


def _read(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o644
    if len(data) > MAX_FILE_BYTES:
        raise RequestError(f"{path} is larger than {MAX_FILE_BYTES} bytes, which no file of a CA is; move it away")
    return data, mode
