"""A look at ca.toml as it is now, by a process of its own: the one that answers operators cannot open what it names.

The keeper starts it for an operator's ``check``, and tells it nothing. It opens no key.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acme_iid.config.locations import Location
from acme_iid.errors import ServerError

if TYPE_CHECKING:
    from acme_iid.admin.table.configuration import Look

SECONDS = 60.0
"""How long it may take."""
MAX_BYTES = 1024 * 1024
_PROGRAM = (
    "import json, sys; places = json.loads(sys.argv[1]); sys.path[:] = places['path']; "
    "from acme_iid.admin import checking; checking.run(places)"
)


def started(home: str, file: str, path: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    """Start such a process.

    :param home: the CA's home.
    :param file: its ca.toml.
    :param path: where its modules are.
    :param output: a descriptor that it writes to.
    """
    places = json.dumps({"home": home, "file": file, "path": path})
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, places], stdin=subprocess.DEVNULL, stdout=output
    )  # fmt: skip


def run(places: Mapping[str, Any]) -> None:
    """Be the process."""
    # Not above: the keeper, which is small, imports this module.
    from acme_iid.admin.table import configuration  # noqa: PLC0415

    json.dump(configuration.look(Location(Path(places["home"]), Path(places["file"])), int(time.time())), sys.stdout)


def result(output: int) -> Look:
    """What such a process has found.

    :param output: what it writes to, to be read; it is closed.
    :raises ServerError: if the process came to nothing.
    """
    with os.fdopen(output, "rb") as stream:
        text = stream.read(MAX_BYTES + 1)
    try:
        found: Look = json.loads(text)
    except ValueError:
        raise ServerError("the process that looks at ca.toml has come to nothing; try again later") from None
    return found
