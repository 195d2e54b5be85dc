"""Giving an external account key to another user of the machine, by a process that is that user."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

from acme_iid_client.acme import bootstrapping, known_ca
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.clouds import enrolled
from acme_iid_client.clouds.enrolled import EnrolledKey
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories

_DONE = "done: "
_MAX_ANSWER_BYTES = 4096


def require_user(name: str) -> pwd.struct_passwd:
    """A user of this machine that this process may be.

    :raises ClientError: if there is no such user, or only root could do it.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise ClientError(f"There is no user {name!r} on this machine.") from None
    if os.getuid() not in (0, user.pw_uid):
        raise ClientError(f"Only root can give a file to {name}. Run this command as root.")
    return user


def hand_to(name: str, ca: KnownCA, key: EnrolledKey) -> Path:
    """Put a key, and the CA that gave it, where the user's own program looks for it.

    The directories are the user's, who may have put links anywhere: so a process of that user writes there, and none
    with root's powers.

    :returns: the file, which nobody but the user can read.
    :raises ClientError: if it cannot be written.
    """
    user = require_user(name)
    where = directories.find({"HOME": user.pw_dir}, user.pw_uid)

    def write() -> str:
        bootstrapping.save(where, key.ca_url, ca.roots, ca.token_resource)
        # The user may have known the CA before, by a root that is gone.
        identity = known_ca.load(where, key.ca_url).identity
        enrolled.save(where.state, identity, key)
        return str(enrolled.file_of(where.state, identity))

    written, text = _as_user(user, write)
    if not written:
        raise ClientError(f"The key could not be written for {name}: {text}.")
    return Path(text)


def _as_user(user: pwd.struct_passwd, do: Callable[[], str]) -> tuple[bool, str]:
    """Do something in a process that is a user.

    :returns: whether it was done, and what came of it or what went wrong.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # In no case does this process go on as its parent would.
        try:
            os.write(writing, _try(user, do).encode()[:_MAX_ANSWER_BYTES])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read().decode(errors="replace")
    os.waitpid(child, 0)
    if not text:
        return False, "the process that wrote it ended"
    return text.startswith(_DONE), text.removeprefix(_DONE)


def _try(user: pwd.struct_passwd, do: Callable[[], str]) -> str:
    try:
        if os.getuid() == 0:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        os.umask(0o077)
        return _DONE + do()
    except (OSError, ClientError) as error:
        return str(error)
