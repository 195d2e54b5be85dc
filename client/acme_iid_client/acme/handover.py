"""Giving an external account key to another user of the machine, by a process that is that user."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

from acme_iid_client.acme import known_ca as authorities
from acme_iid_client.acme.known_ca import Authority
from acme_iid_client.clouds import enrolled
from acme_iid_client.clouds.enrolled import Given
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories


def require_user(name: str) -> pwd.struct_passwd:
    """A user of this machine that this process may be.

    :raises ClientError: if there is none, or only root could do it.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ClientError(f"There is no user {name!r} on this machine.") from None
    if os.getuid() not in (0, user.pw_uid):
        raise ClientError(f"Only root can give a file to {name}. Run this command as root.")
    return user


def hand_to(name: str, authority: Authority, given: Given) -> Path:
    """Put what was given, and whom to trust for it, where the user's own program looks for it.

    The directories are the user's, who may have put links anywhere: so a process of that user writes there, and none
    with root's powers.

    :returns: the file, which nobody but the user can read.
    :raises ClientError: if it cannot be written.
    """
    user = require_user(name)
    root, identity = authority.root.read_bytes(), authority.identity
    where = directories.find({"HOME": user.pw_dir}, user.pw_uid)

    def write() -> None:
        authorities.save(where, given.ca_url, root, authority.token_resource)
        enrolled.save(where.state, identity, given)

    why = _as_user(user, write)
    if why:
        raise ClientError(f"The key could not be written for {name}: {why}.")
    return enrolled.file_of(where.state, identity)


def _as_user(user: pwd.struct_passwd, do: Callable[[], None]) -> str:
    """Do something in a process that is a user; what went wrong, or an empty text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # Whatever happens, this process never goes on as its parent would.
        try:
            why = _try(user, do)
            os.write(writing, why.encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        why = answer.read().decode()
    os.waitpid(child, 0)
    return why.removeprefix("done") if why else "the process that wrote it ended"


def _try(user: pwd.struct_passwd, do: Callable[[], None]) -> str:
    try:
        if os.getuid() == 0:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        os.umask(0o077)
        do()
    except (OSError, ClientError) as error:
        return str(error)
    return "done"
