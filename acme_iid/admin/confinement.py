"""What a process can take from itself for good: files by Landlock, new rights, and its life after its parent's.

Landlock (landlock(7), Linux 5.13 and later) lets a process open only what lies beneath the paths that it names. It may
not trace processes that are not confined as it is, nor read their memory, whoever its user is. What it does not cover:
names and modes of files (a confined process could still change the mode of its user's files), connections to others,
and files that are open already.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from acme_iid.errors import ServerError

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same for all machines
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
_FILE_RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
"""How many rights over files a version of Landlock knows, from that version on."""
_NET_VERSION, _BIND_TCP = 4, 1
_SCOPE_VERSION, _SCOPE_SIGNAL = 6, 2

READ = _READ_FILE | _READ_DIR
"""Read the files beneath, and list the folders."""
LIST = _READ_DIR
"""List the folders beneath."""
CHANGE = READ | _WRITE_FILE | _TRUNCATE
"""Read and write a file that there is."""
USE = CHANGE | _MAKE_REG | _REMOVE_FILE
"""Make files beneath, too, and remove them."""


_WHY = {
    errno.EOPNOTSUPP: "has it turned off (lsm= on its command line)",
    errno.EPERM: "lets its calls not through (the container's filter, or SystemCallFilter= of a unit)",
}


class Rule(NamedTuple):
    """A path, and what may be done to it and beneath it; one that does not exist gives nothing."""

    path: Path
    rights: int


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def version() -> int:
    """The version of this kernel's Landlock.

    :raises ServerError: if it has none.
    """
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError as error:
        why = _WHY.get(error.errno or 0, "has none")
        raise ServerError(
            f"[admin] takes Landlock, which keeps the CA's keys from the process that answers operators; this kernel "
            f"{why}: {error.strerror}. Use Linux 5.13 or later with Landlock (and a container or a unit that lets its "
            "calls through), or take [admin] out of ca.toml"
        ) from error


def confine(rules: Iterable[Rule]) -> None:
    """Take from this process all access to files but what the rules give, and to ports to listen on; for good.

    Files that are open stay so. It cannot trace the processes that are not confined with it, nor send them signals
    where the kernel knows how to keep it from that (Linux 6.12).

    :raises ServerError: if the kernel has no Landlock, or threads run already, which would not be confined.
    :raises OSError: if a rule cannot be made.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise ServerError("the process that answers operators has begun threads before it was confined")
    known = version()
    rights = (1 << max(count for least, count in _FILE_RIGHTS if known >= least)) - 1
    attributes = _Ruleset(rights, _BIND_TCP, _SCOPE_SIGNAL)
    size = 24 if known >= _SCOPE_VERSION else 16 if known >= _NET_VERSION else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for rule in rules:
            _add(ruleset, rule, rights)
        if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _add(ruleset: int, rule: Rule, known: int) -> None:
    try:
        parent = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        rights = rule.rights & known
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_FILES
        if rights:
            beneath = _Beneath(rights, parent)
            _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(beneath),
                  ctypes.c_uint32(0))  # fmt: skip
    finally:
        os.close(parent)


def end_with(parent: int) -> None:
    """Have the kernel end this process, at once, when its parent ends.

    :param parent: the parent's id; this process ends now if that has ended already.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the signal at a parent's end cannot be set")
    if os.getppid() != parent:
        os._exit(1)
