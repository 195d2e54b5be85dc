"""Two files replaced in one step, or in two with a note between them.

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

A kill or a power failure at any point leaves the old pair in use or the new one, whole. :func:`finish_replacement`
carries on from there: forward if the switch has been made, back if not. What remains is beyond files: a program that
reads the one file before the switch and the other after it has one of each, and has to read again, which is what
``--exec`` and ``--signal`` are for.

SMB shares and the file systems over object stores have no links (:func:`has_links`). There,
:func:`replace_pair_in_two_steps` writes a note (``.foo.crt.acme-iid-journal``) that the new files are whole, then
renames the one and the other, then removes the note. Between the two renames the names give one new file and one old; a
kill in that instant leaves it so until :func:`finish_replacement` is called next, which goes forward. An error of the
second rename takes the first one back.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from acme_iid_client.storage.entries import Entry

_LINK = ".acme-iid-link"
_DIRECTORY = ".acme-iid-switch"
_JOURNAL = ".acme-iid-journal"
_TRIAL = ".acme-iid-trial"
_IN_USE = "in-use"
_NAMES = ("certificate", "key")
_FORWARD, _BACK = b"forward", b"back "
_SOMETHING, _NOTHING = b"file", b"nothing"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def new(target: Entry) -> Entry:
    """The new file, while it waits."""
    return target.beside(".acme-iid-new")


def old(target: Entry) -> Entry:
    """The copy of the old file."""
    return target.beside(".acme-iid-old")


def trial(target: Entry) -> Entry:
    """A file that tries, before anything is ordered, what an installation will do."""
    return target.beside(_TRIAL)


def is_link(text: str) -> bool:
    """Whether what a symbolic link says makes it one of ours."""
    return any(text.endswith(f"{_DIRECTORY}/{_IN_USE}/{name}") for name in _NAMES)


def has_links(certificate: Entry, key: Entry) -> bool:
    """Whether there are symbolic and hard links beside both targets, and a directory of ours for those of a switch.

    :raises OSError: if nothing at all can be written there.
    """
    folder = certificate.beside(_DIRECTORY)
    try:
        for target in (certificate, key):
            first, second = trial(target), target.beside(_LINK)
            first.symlink(target.name)
            first.link(second)
            second.unlink()
            first.unlink()
        folder.make_directory()
        folder.remove_directory()
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        for target in (certificate, key):
            trial(target).unlink()
            target.beside(_LINK).unlink()
        return False
    else:
        return True


def replace_pair(certificate: Entry, key: Entry) -> None:
    """Put both new files in use. :func:`finish_replacement` and :func:`clear` then tidy up.

    :param certificate: the target, whose :func:`new` file is there; so is its :func:`old` one if the target is.
    :param key: the same.
    :raises OSError: if that is impossible; whether the switch was made, :func:`finish_replacement` finds out.
    """
    targets, folder = (certificate, key), certificate.beside(_DIRECTORY)
    # All users that may read the certificate have to get through. There are only links in it.
    folder.make_directory()
    with folder.as_directory() as directory:
        for generation, file in (("old", old), ("new", new)):
            part = directory.entry(generation)
            part.make_directory()
            with part.as_directory() as links:
                for name, target in zip(_NAMES, targets, strict=True):
                    _link(links.entry(name), file(target).path)
                links.sync()
        _link(directory.entry(_IN_USE), directory.path / "old")
        directory.sync()
        _sync(targets)
        for name, target in zip(_NAMES, targets, strict=True):
            link = target.beside(_LINK)
            _link(link, directory.path / _IN_USE / name)
            link.rename(target)
        _sync(targets)
        _link(directory.entry(_LINK), directory.path / "new")
        directory.entry(_LINK).rename(directory.entry(_IN_USE))
        directory.sync()


def replace_pair_in_two_steps(certificate: Entry, key: Entry) -> None:
    """Put both new files in use where there are no links; else as :func:`replace_pair`.

    :raises OSError: if that is impossible; the old pair is in use then, unless it cannot be put back either.
    """
    # The key first: a program that is started in between reads the certificate that it knows, and says so.
    targets, journal = (key, certificate), certificate.beside(_JOURNAL)
    journal.create(_FORWARD, 0o600)
    _sync(targets)
    try:
        for target in targets:
            new(target).rename(target)
        _sync(targets)
    except BaseException:
        # The note also has the former state: after a kill from here on, the way goes on back.
        back = journal.beside(_LINK)
        back.unlink()
        back.create(_BACK + b" ".join(_had(target) for target in targets), 0o600)
        back.rename(journal)
        raise


def is_left(certificate: Entry, key: Entry) -> bool:
    """Whether there is anything of an installation that was cut off."""
    left = [*_files(certificate, key), certificate.beside(_DIRECTORY), certificate.beside(_JOURNAL)]
    return any(entry.status() is not None for entry in left)


def finish_replacement(certificate: Entry, key: Entry) -> None:
    """Make files of the links again: the new ones if the switch was made, the old ones if not; or follow a note."""
    kept = new if _in_use(certificate) == "new" else old
    for target in (certificate, key):
        if is_link(target.link_text() or ""):
            if kept(target).status() is not None:
                # By a second name: a reader on the way through the links still finds the file under its first one.
                link = target.beside(_LINK)
                link.unlink()
                kept(target).link(link)
                link.rename(target)
            else:
                # There was none before.
                target.unlink()
    _follow_note(certificate, key)


def _follow_note(certificate: Entry, key: Entry) -> None:
    """Carry on with what :func:`replace_pair_in_two_steps` has begun: forward, or back if it failed."""
    note = _note(certificate.beside(_JOURNAL))
    if note == _FORWARD:
        for target in (key, certificate):
            if new(target).status() is not None:
                new(target).rename(target)
    elif note.startswith(_BACK):
        for target, had in zip((key, certificate), note.removeprefix(_BACK).split(), strict=False):
            if new(target).status() is not None:
                # It was not renamed, so that there is nothing to take back.
                continue
            if had == _NOTHING:
                target.unlink()
            elif old(target).status() is not None:
                old(target).rename(target)


def clear(certificate: Entry, key: Entry) -> None:
    """Remove what an installation needed. Only after :func:`finish_replacement` has become durable."""
    folder = certificate.beside(_DIRECTORY)
    # Only what :func:`replace_pair` puts there: in a directory of somebody else's, another one may have this name.
    if folder.status() is not None:
        with folder.as_directory() as directory:
            for generation in ("old", "new"):
                part = directory.entry(generation)
                if part.status() is not None:
                    with part.as_directory() as links:
                        _remove_links(*(links.entry(name) for name in _NAMES))
                    part.remove_directory()
            _remove_links(directory.entry(_IN_USE), directory.entry(_LINK))
        folder.remove_directory()
    for entry in _files(certificate, key):
        entry.unlink()
    journal = certificate.beside(_JOURNAL)
    journal.beside(_LINK).unlink()
    journal.unlink()


def _in_use(certificate: Entry) -> str | None:
    folder = certificate.beside(_DIRECTORY)
    if folder.status() is None:
        return None
    with folder.as_directory() as directory:
        return directory.entry(_IN_USE).link_text()


def _note(journal: Entry) -> bytes:
    try:
        return journal.read()
    except FileNotFoundError:
        return b""


def _had(target: Entry) -> bytes:
    """The word in a note for a target: whether there was a file before."""
    return _SOMETHING if old(target).status() is not None else _NOTHING


def _remove_links(*entries: Entry) -> None:
    for entry in entries:
        if entry.link_text() is not None:
            entry.unlink()


def _files(certificate: Entry, key: Entry) -> list[Entry]:
    return [
        file
        for target in (certificate, key)
        for file in (new(target), old(target), trial(target), target.beside(_LINK))
    ]


def _sync(targets: tuple[Entry, Entry]) -> None:
    for directory in {target.directory for target in targets}:
        directory.sync()


def _link(entry: Entry, target: Path) -> None:
    entry.symlink(os.path.relpath(target, entry.directory.path))
