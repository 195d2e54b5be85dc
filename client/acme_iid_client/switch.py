"""Two files replaced in one step.

No call to a file system changes two names at once, but two names can lead through a third, and that one can
be changed at once. So for the time of an installation, and no longer, both names are symbolic links:

1. The new files stand beside their targets (``.foo.crt.acme-iid-new``), durable, and copies of the old ones
   (``.foo.crt.acme-iid-old``). A directory beside the certificate has two more, ``old`` and ``new``, whose
   links ``certificate`` and ``key`` lead to the one and the other; its link ``in-use`` leads to ``old``.
2. ``foo.crt`` becomes a link to ``in-use/certificate`` and ``foo.key`` one to ``in-use/key``. What they give is
   the old pair, before, between and after the two renames.
3. ``in-use`` is replaced by a link to ``new``. This one rename is the switch.
4. The new files get second names, which are renamed onto ``foo.crt`` and ``foo.key``. What they give is the new pair,
   throughout. Once that is durable, the rest is removed.

A kill or a power failure at any point leaves the old pair in use or the new one, whole. :func:`settle` carries on
from there: forward if the switch has been made, back if not. What remains is beyond files: a program that
reads the one file before the switch and the other after it has one of each, and has to read again, which is what
``--exec`` and ``--signal`` are for.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from acme_iid_client.places import sync_directory

_LINK = ".acme-iid-link"
_DIRECTORY = ".acme-iid-switch"
_IN_USE = "in-use"
_NAMES = ("certificate", "key")


def new(target: Path) -> Path:
    """Where the new file waits."""
    return _beside(target, ".acme-iid-new")


def old(target: Path) -> Path:
    """Where the copy of the old file is."""
    return _beside(target, ".acme-iid-old")


def is_link(path: Path) -> bool:
    """Whether a symbolic link is one of ours."""
    text = str(path.readlink()) if path.is_symlink() else ""
    return any(text.endswith(f"{_DIRECTORY}/{_IN_USE}/{name}") for name in _NAMES)


def make(certificate: Path, key: Path) -> None:
    """Put both new files in use. :func:`settle` and :func:`clear` then tidy up.

    :param certificate: the target, whose :func:`new` file is there; so is its :func:`old` one if the target is.
    :param key: the same.
    :raises OSError: if that is impossible; whether the switch was made, :func:`settle` finds out.
    """
    directory, targets = _beside(certificate, _DIRECTORY), (certificate, key)
    directory.mkdir()
    # Whoever may read the certificate has to get through, whatever the umask is. There are only links in it.
    directory.chmod(0o755)
    for generation, file in (("old", old), ("new", new)):
        part = directory / generation
        part.mkdir()
        part.chmod(0o755)
        for name, target in zip(_NAMES, targets, strict=True):
            _link(part / name, file(target))
        sync_directory(part)
    _link(directory / _IN_USE, directory / "old")
    sync_directory(directory)
    parents = {certificate.parent, key.parent}
    for parent in parents:
        sync_directory(parent)
    for name, target in zip(_NAMES, targets, strict=True):
        link = _beside(target, _LINK)
        _link(link, directory / _IN_USE / name)
        link.replace(target)
    for parent in parents:
        sync_directory(parent)
    _link(directory / _LINK, directory / "new")
    (directory / _LINK).replace(directory / _IN_USE)
    sync_directory(directory)


def is_left(certificate: Path, key: Path) -> bool:
    """Whether there is anything of an installation that was cut off."""
    return any(os.path.lexists(path) for path in _files(certificate, key)) or _beside(certificate, _DIRECTORY).exists()


def settle(certificate: Path, key: Path) -> None:
    """Make files of the links again: the new ones if the switch was made, the old ones if not."""
    in_use = _beside(certificate, _DIRECTORY) / _IN_USE
    kept = new if in_use.is_symlink() and in_use.readlink() == Path("new") else old
    for target in (certificate, key):
        if is_link(target):
            if kept(target).exists():
                # By a second name: who is on the way through the links still finds the file under its first one.
                link = _beside(target, _LINK)
                link.unlink(missing_ok=True)
                link.hardlink_to(kept(target))
                link.replace(target)
            else:
                # There was none before.
                target.unlink()


def clear(certificate: Path, key: Path) -> None:
    """Remove what an installation needed. Only after :func:`settle` has become durable."""
    directory = _beside(certificate, _DIRECTORY)
    if directory.exists():
        shutil.rmtree(directory)
    for path in _files(certificate, key):
        path.unlink(missing_ok=True)


def _files(certificate: Path, key: Path) -> list[Path]:
    return [file for target in (certificate, key) for file in (new(target), old(target), _beside(target, _LINK))]


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}{suffix}")


def _link(path: Path, target: Path) -> None:
    path.symlink_to(os.path.relpath(target, path.parent))
