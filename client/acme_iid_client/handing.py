"""Giving an external account key to another user of the machine, by a process that is that user.

Run as a module, this is that process: it reads what is given from its standard input.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from acme_iid_client import authority as authorities
from acme_iid_client import places
from acme_iid_client.authority import Authority
from acme_iid_client.clouds import enrolled
from acme_iid_client.clouds.enrolled import Given
from acme_iid_client.errors import ClientError


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
    content = {"root": authority.root.read_text(), "azure_resource": authority.azure_resource, "given": asdict(given)}
    root = os.getuid() == 0
    done = subprocess.run(
        [sys.executable, "-m", "acme_iid_client.handing"],
        input=json.dumps(content),
        env={"HOME": user.pw_dir, "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
        user=user.pw_uid if root else None,
        group=user.pw_gid if root else None,
        extra_groups=os.getgrouplist(name, user.pw_gid) if root else None,
    )
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise ClientError(f"The key could not be written for {name} below {user.pw_dir}: {why}")
    return Path(done.stdout.strip())


def _receive() -> None:
    """Write what stands on standard input, as the user that this process is; prints the file."""
    content = json.load(sys.stdin)
    given = enrolled.of_json(content["given"])
    where = places.find({"HOME": os.environ["HOME"]}, os.getuid())
    authorities.save(where, given.ca_url, content["root"].encode(), content["azure_resource"])
    print(enrolled.save(where.state, given))  # noqa: T201 - the answer to the process that started this one


if __name__ == "__main__":
    _receive()
