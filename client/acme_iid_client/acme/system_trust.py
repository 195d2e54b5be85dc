"""The CAs whose roots the whole system trusts because 'acme-iid trust install' was asked for it.

What was asked for is kept, and so are the names of the files that were written for it. So the store can follow when a
CA's roots change, nothing is removed that is somebody else's, and what was cut off is finished the next time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from acme_iid_client.acme import known_ca
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.storage import directories, trust_store
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.storage.directories import Directories

_FILE = Path("trust", "system.json")
"""Below the directory of the state."""

_Files = Mapping[str, tuple[str, ...]]
"""The CAs by their addresses, each with the names of its files in the store."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference that was made to the system's store.

    :ivar installed: the files that stand in it now, of all CAs.
    :ivar added: those of them that did not before.
    :ivar removed: files that did.
    """

    installed: tuple[Path, ...] = ()
    added: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Saved:
    """What is kept.

    :ivar unfinished: the files that are to be removed by a change that has begun; None if the last one was finished.
    """

    files: _Files = field(default_factory=dict)
    unfinished: tuple[str, ...] | None = None

    @property
    def names(self) -> set[str]:
        return {name for names in self.files.values() for name in names} | set(self.unfinished or ())


def install(where: Directories, ca: KnownCA, notice: Callable[[str], None]) -> Changes:
    """Have the system trust a CA from now on, whatever its roots come to be.

    :param notice: called with a sentence about what keeps another CA's files from being looked at.
    :raises ClientError: if this process may not, or there is no store, or it cannot be changed.
    """
    trust_store.require()
    return _settle(where, lambda files: {**files, ca.ca_url: files.get(ca.ca_url, ())}, notice)


def remove(where: Directories, ca_url: str | None, notice: Callable[[str], None]) -> Changes:
    """Have the system trust a CA no more.

    :param ca_url: its address; None for all CAs.
    :raises ClientError: as :func:`install`.
    """
    trust_store.require()
    return _settle(where, lambda files: {url: files[url] for url in files if ca_url not in (None, url)}, notice)


def follow(where: Directories, notice: Callable[[str], None]) -> Changes:
    """Have the store hold what the CAs' roots are now, where that was asked for; else nothing happens.

    :param notice: as for :func:`install`.
    :raises ClientError: as :func:`install`.
    """
    if not (where.state / _FILE).exists():
        return Changes()
    return _settle(where, lambda files: files, notice)


def _settle(where: Directories, choose: Callable[[_Files], _Files], notice: Callable[[str], None]) -> Changes:
    """Choose the CAs, and have the store hold their roots."""
    file = where.state / _FILE
    directories.make_directory(file.parent)
    with open_directory(file.parent) as directory:
        # A daemon may follow while a person installs.
        directory.lock()
        saved = _read(file)
        files, roots = _wanted(where, choose(saved.files), notice)
        after = _Saved(files)
        added = [root for root in roots if not trust_store.is_there(root)]
        leaving = sorted(saved.names - after.names)
        if not added and after == saved:
            return Changes(_paths(after.names))
        trust_store.require()
        _write(file, _Saved(files, tuple(leaving)))
        for root in added:
            trust_store.put(root)
        removed = [name for name in leaving if _take_out(name, notice)]
        trust_store.update(removed)
        _write(file, after)
        return Changes(_paths(after.names), _paths(map(trust_store.file_of, added)), _paths(removed))


def _wanted(where: Directories, chosen: _Files, notice: Callable[[str], None]) -> tuple[_Files, list[x509.Certificate]]:
    """The files that each CA is to have, and the roots of those CAs whose roots are known."""
    files: dict[str, tuple[str, ...]] = {}
    roots: dict[x509.Certificate, None] = {}
    for url, names in chosen.items():
        try:
            ca = known_ca.load(where, url)
        except (ClientError, OSError) as error:
            notice(f"What this system trusts of {url} stays as it is: {sentence(error)}")
            files[url] = names
            continue
        files[ca.ca_url] = tuple(map(trust_store.file_of, ca.roots))
        roots |= dict.fromkeys(ca.roots)
    return files, list(roots)


def _take_out(name: str, notice: Callable[[str], None]) -> bool:
    if trust_store.take_out(name):
        return True
    notice(f"{trust_store.STORE / name} was left: it is not what 'acme-iid trust install' wrote.")
    return False


def _paths(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(trust_store.STORE / name for name in sorted(names))


def _read(file: Path) -> _Saved:
    try:
        content = json.loads(file.read_bytes())
        files = {str(url): tuple(map(str, names)) for url, names in content["cas"].items()}
        unfinished = content.get("unfinished")
        return _Saved(files, None if unfinished is None else tuple(map(str, unfinished)))
    except FileNotFoundError:
        return _Saved()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(f"{file} cannot be read. Remove it, and run 'acme-iid trust install' again.") from error


def _write(file: Path, saved: _Saved) -> None:
    if saved == _Saved():
        directories.remove_file(file)
        return
    content: dict[str, object] = {"cas": {url: list(names) for url, names in saved.files.items()}}
    if saved.unfinished is not None:
        content["unfinished"] = list(saved.unfinished)
    directories.write_file(file, json.dumps(content, indent=2).encode() + b"\n")
