"""A look at ca.toml as it is now, by a process of its own: the one that answers operators cannot open what it names.

The keeper starts it for an operator's ``check``, and tells it nothing. It says what ``acme-iid-ca check`` says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acme_iid.admin.acts import Looked
from acme_iid.admin.table import configuration
from acme_iid.errors import RequestError, StoreUnavailableError

SECONDS = 60.0
MAX_BYTES = 1024 * 1024
_PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from acme_iid.admin import checking; checking.run(given)"
)


def started(home: str, path: Sequence[str], output: int) -> subprocess.Popen[bytes]:
    """Start such a process.

    :param home: the CA's home.
    :param path: where its modules are.
    :param output: a descriptor that it writes to.
    """
    given = json.dumps({"home": home, "path": path})
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, given], stdin=subprocess.DEVNULL, stdout=output,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def run(given: Mapping[str, Any]) -> None:
    """Be the process."""
    json.dump(_looked(Path(given["home"])), sys.stdout)


def _looked(home: Path) -> Looked | dict[str, str]:
    try:
        return configuration.look(home, int(time.time()))
    except (RequestError, StoreUnavailableError) as error:
        return {"refusal": str(error)}


def result(output: int) -> Looked:
    """What such a process has found: ``findings`` and ``outlook``.

    :param output: what it writes to, to be read; it is closed.
    :raises RequestError: if ca.toml, or a file that it names, cannot be used.
    :raises StoreUnavailableError: if the process came to nothing.
    """
    with os.fdopen(output, "rb") as stream:
        text = stream.read(MAX_BYTES + 1)
    try:
        found = json.loads(text)
    except ValueError:
        raise StoreUnavailableError("the process that looks at ca.toml has come to nothing; try again later") from None
    if "refusal" in found:
        raise RequestError(found["refusal"])
    looked: Looked = found
    return looked
