"""Making a home from a backup: all of it is proven before anything has the home's name."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

import tomlkit

from acme_iid.authority.certificate_status import LIST_LIFETIME
from acme_iid.config.locations import FILE_NAME, Location
from acme_iid.durable import sync_names, write_new
from acme_iid.errors import RequestError
from acme_iid.operations import envelopes
from acme_iid.operations.backup import DATABASE, MANIFEST, MAX_FILE_BYTES, Backup, read_manifest
from acme_iid.operations.envelopes import Recipient
from acme_iid.store import copies, copying, events, migration
from acme_iid.store.actor import Actor
from acme_iid.store.chain import Event
from acme_iid.store.copying import Progress
from acme_iid.store.database import Database, Transaction, connect, open_store
from acme_iid.telemetry import reports

_STORE = "ca.db"
_CHUNK = 1024 * 1024
_MAX_FILES = 10_000

Watch = Callable[[int], AbstractContextManager[Progress]]
"""Given how many rows there will be to copy and compare, what is told of each batch of them."""


def restore(
    archive: Path,
    location: Location,
    now: int,
    server: str | None = None,
    watch: Watch = lambda _rows: nullcontext(lambda _what, _more: None),
    recipient: Recipient | None = None,
    actor: Actor | None = None,
) -> Backup:
    """Make the home of a CA and its ca.toml from a backup.

    :param location: a home that is empty or does not exist, and a ca.toml that does not exist.
    :param server: the URL of a database of PostgreSQL's for the store, which else is a file in the home. It is empty,
        or holds what an interrupted restoration of the same backup has copied so far.
    :param recipient: for a backup that is encrypted.
    :param actor: whoever has it done, for the record.
    :raises CopyError: if the database holds something else, or the copy in it is not the same.
    :raises StoreUnavailableError: if it cannot be used.
    :raises RequestError: if there is something there, or the backup is not whole and as it was written.
    :raises BrokenChainError: if its events were tampered with.
    :raises OSError: if a file cannot be read or written.
    """
    home, file = location.home, location.file
    if os.path.lexists(file) and file.parent != home:
        raise RequestError(f"{file} exists; restore where there is no ca.toml (--config), or move it away")
    if os.path.lexists(home) and (not home.is_dir() or any(home.iterdir())):
        raise RequestError(f"{home} is not empty; restore into a folder that does not exist, or is empty (--home)")
    home.parent.mkdir(parents=True, exist_ok=True)
    # An empty home of the service's user is in a folder that is not theirs.
    is_closed = home.is_dir() and not os.access(home.parent, os.W_OK)
    made = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home if is_closed else home.parent))
    try:
        backup = _unpack(archive, made, recipient)
        _point_to(server or f"sqlite:{_STORE}", made, backup)
        event = Event("store.restored", now, detail={"made_at": backup.made_at, "head": backup.head})
        event = event if actor is None else actor.sign(event)
        _install(made / _STORE, server, backup, partial(_put_to_use, now, event), watch)
        for folder, _, _ in os.walk(made):
            sync_names(Path(folder))
        _give_names(made, location, is_within=is_closed)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    reports.report([event])
    return backup


def _give_names(made: Path, location: Location, *, is_within: bool) -> None:
    """Give all that was made its names; ca.toml is the last, without which there is no CA.

    :param is_within: whether the folder that was made is in the home, and does not become it.
    """
    home, file = location.home, location.file
    partial_file = file.with_name(f"{file.name}.{os.getpid()}.new")
    if is_within or file.parent != home:
        file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_new(partial_file, (made / FILE_NAME).read_bytes(), 0o644)
        (made / FILE_NAME).unlink()
    try:
        if is_within:
            for entry in made.iterdir():
                entry.rename(home / entry.name)
            made.rmdir()
        else:
            made.rename(home)  # over an empty folder, or none
            sync_names(home.parent)
        sync_names(home)
        if partial_file.exists():
            partial_file.rename(file)
            sync_names(file.parent)
    except BaseException:
        partial_file.unlink(missing_ok=True)
        raise


def _unpack(archive: Path, target: Path, recipient: Recipient | None) -> Backup:
    """Write what the manifest names, and nothing else, below ``target``."""
    with archive.open("rb") as file, _decrypted(file, archive, recipient) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                first = tar.next()
                if first is None or first.name != MANIFEST:
                    raise RequestError(f"{archive} is no backup of acme-iid-ca: it does not begin with a manifest")
                backup = read_manifest(_read(tar, first))
                if len(backup.files) > _MAX_FILES:
                    raise RequestError(f"the backup names more than {_MAX_FILES} files, which no CA has")
                left = dict(backup.files)
                while (member := tar.next()) is not None:
                    if member.name not in left:
                        raise RequestError(f"the backup holds {member.name!a}, which its manifest does not name")
                    size, expected, mode = left.pop(member.name)
                    _write(tar, member, target, size, expected, mode)
        except (tarfile.TarError, EOFError) as error:
            raise RequestError(f"{archive} is no backup, or was damaged: {error}") from error
    if DATABASE not in backup.files:
        raise RequestError("the backup holds no database; nothing of it was restored")
    if left:
        raise RequestError(f"the backup was cut off or damaged: {min(left)!a} is not in it")
    return backup


def _decrypted(file: BinaryIO, archive: Path, recipient: Recipient | None) -> BinaryIO:
    beginning = file.read(1)
    file.seek(0)
    if not envelopes.is_encrypted(beginning):
        return file
    if recipient is None:
        raise RequestError(
            f"{archive} is encrypted; give the certificate that it was encrypted for (--recipient) and its key (--key)"
        )
    return io.BytesIO(envelopes.decrypt(file.read(envelopes.MAX_BYTES * 2), recipient))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    with _content(tar, member, MAX_FILE_BYTES) as content:
        return content.read(MAX_FILE_BYTES)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> IO[bytes]:
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        raise RequestError(f"the backup holds {member.name!a}, which is no plain file; nothing of it was restored")
    if member.size > most:
        raise RequestError(f"{member.name!a} in the backup is too large; nothing of it was restored")
    return content


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, size: int, expected: str, mode: int) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name or not name.parts:
        raise RequestError(f"the backup holds {member.name!a}, which leads out of it; nothing of it was restored")
    # The database is as large as the backup has room for; it is stored as it is.
    content = _content(tar, member, size if member.name == DATABASE else min(size, MAX_FILE_BYTES))
    path = target / (_STORE if member.name == DATABASE else name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode & 0o644)
    with content, os.fdopen(descriptor, "wb") as out:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != expected:
        raise RequestError(f"the backup was changed or damaged: {member.name!a} does not have the sum of its manifest")


def _point_to(url: str, made: Path, backup: Backup) -> None:
    """Let ca.toml name what was restored, wherever that is, and not what the backup was made from.

    :param url: the store's.
    """
    file = made / FILE_NAME
    text = file.read_text("utf-8")
    document = tomlkit.parse(text)
    store = document.setdefault("store", tomlkit.table())
    store["url"] = url
    store.pop("url_file", None)
    _make_relative(document, f"{backup.home}/", backup.files)
    if (changed := tomlkit.dumps(document)) != text:
        file.write_text(changed, "utf-8")


def _make_relative(values: Any, home: str, files: Collection[str]) -> None:
    """Shorten the paths of files in the former home, which are read from where ca.toml is."""
    for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        if isinstance(value, str) and value.startswith(home) and value.removeprefix(home) in files:
            values[key] = value.removeprefix(home)
        elif isinstance(value, dict | list):
            _make_relative(value, home, files)


def _install(
    file: Path, server: str | None, backup: Backup, put_to_use: Callable[[Transaction], None], watch: Watch
) -> None:
    """Prove the store, move it into ``server`` if there is one, and let it know that it goes on from a copy.

    :param put_to_use: lets it know, in a transaction.
    """
    store = open_store(f"sqlite:{file}")
    try:
        if migration.is_newer(store):
            raise RequestError(
                "the backup was made by a newer acme-iid, whose database has what this one does not know "
                f"({migration.latest_applied(store)}); restore it with that version or a later one"
            )
        deque(events.check(store), maxlen=0)
        if str(events.head(store)) != backup.head:
            raise RequestError(f"the events in the backup do not end with {backup.head}, as its manifest says")
        if server is None:
            with store.transaction() as transaction:
                put_to_use(transaction)
        else:
            _move(store, server, put_to_use, watch)
    finally:
        store.close()
    if server is not None:
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()


def _put_to_use(now: int, event: Event, transaction: Transaction) -> None:
    copies.put_to_use(transaction, now, now + LIST_LIFETIME // 2)
    events.append(transaction, event)


def _move(store: Database, server: str, put_to_use: Callable[[Transaction], None], watch: Watch) -> None:
    """Copy the store into a database of PostgreSQL's, which opens as one when all was copied and compared."""
    target = connect(server)
    try:
        migration.migrate(target)
        with watch(2 * copying.count(store)) as progress:
            copying.copy(store, target, progress, put_to_use)
    finally:
        target.close()
