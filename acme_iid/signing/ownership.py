"""Who can change a file that is run or loaded: a module or a program that others can write signs what they like."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from acme_iid.errors import SignerError


def require_private(path: Path) -> None:
    """Refuse a file that users other than root and this one can change or put another one in the place of.

    The file and its folders are looked at behind all links. A folder in which everybody may make files, but only owners
    rename theirs (as ``/tmp``), may be further up, not right above the file.

    :param path: absolute.
    :raises SignerError: if they can, or the file is not there.
    """
    try:
        real = path.resolve(strict=True)
        steps = [(step, step.stat()) for step in (real, *real.parents)]
    except (OSError, RuntimeError) as error:
        raise SignerError(f"{path} cannot be used: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(steps[0][1].st_mode):
        raise SignerError(f"{path} cannot be used: it is no file")
    for number, (step, facts) in enumerate(steps):
        if facts.st_uid not in {0, os.geteuid()}:
            raise SignerError(
                f"{path} is not used: {step} belongs to another user than root and this one; "
                f"change that with: chown root '{step}'"
            )
        sticky = number > 1 and facts.st_mode & stat.S_ISVTX
        writable = facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and facts.st_gid != 0)
        if writable and not sticky:
            raise SignerError(
                f"{path} is not used: other users can write to {step} (mode {stat.S_IMODE(facts.st_mode):04o}); "
                f"change that with: chmod go-w '{step}'"
            )
