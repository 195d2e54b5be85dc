"""Looking after the CA's roots: the CA is asked once a day for its list, and others get the roots as a file."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from acme_iid_client.acme import root_rotation
from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError, sentence
from acme_iid_client.renewal.hooks import Hooks
from acme_iid_client.storage import directories
from acme_iid_client.storage.directories import Directories
from acme_iid_client.x509.certificates import to_pem

LOOK_SECONDS = 24 * 3600.0
"""Seconds between two looks at the CA's list of roots."""
AGAIN_SECONDS = 600.0
"""Seconds between two looks at least, where a chain does not verify or the CA was away."""
_ANSWER_SECONDS = 10.0
"""The longest wait for an answer."""
_PAUSE = 60.0
"""Seconds until it is found out again whether it is time to look."""
_SPREAD = 0.1
"""The share by which a look comes earlier, so that machines that were made together do not ask together."""

_chance = random.SystemRandom()


class _Looks(NamedTuple):
    """The latest looks, seconds: the one that went well, and the one that was tried."""

    succeeded_at: float
    tried_at: float


class RootWatch:
    """Looks at the list of roots of one CA after another, and remembers on the disk when it did.

    :param say: called with a sentence about what has changed, or why it could not be found out.
    """

    def __init__(self, where: Directories, say: Callable[[str], None]) -> None:
        self._where = where
        self._say = say
        self._share = 1 - _chance.uniform(0, _SPREAD)
        self._one_at_a_time = threading.Lock()
        self._here: dict[str, _Looks] = {}

    def look(self, ca: KnownCA, deadline: Deadline, within: float = LOOK_SECONDS) -> bool:
        """Look, unless there was a look just now. A CA that cannot be asked keeps nothing from going on.

        :param within: the seconds for which an earlier look counts.
        :returns: whether other roots are trusted now, or other issuers known as revoked.
        """
        with self._one_at_a_time:
            now, before = time.time(), self._looks(ca)
            # One in the time to come was made before the clock was set back.
            if 0 <= now - before.succeeded_at < within * self._share:
                return False
            if 0 <= now - before.tried_at < min(within, AGAIN_SECONDS):
                return False
            limit = Deadline(min(_ANSWER_SECONDS, deadline.remaining))
            try:
                changed = root_rotation.follow(self._where, ca, limit, self._say)
            except (ClientError, OSError) as error:
                self._say(f"The CA's list of roots was not taken up: {sentence(error)}")
                self._remember(ca, _Looks(before.succeeded_at, now))
                return False
            self._remember(ca, _Looks(now, now))
            return changed

    def _file(self, ca: KnownCA) -> Path:
        return self._where.state / "roots" / f"{ca.identity}.json"

    def _looks(self, ca: KnownCA) -> _Looks:
        try:
            content = json.loads(self._file(ca).read_bytes())
            return _Looks(float(content["succeeded_at"]), float(content["tried_at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return self._here.get(ca.identity, _Looks(0.0, 0.0))

    def _remember(self, ca: KnownCA, looks: _Looks) -> None:
        self._here[ca.identity] = looks
        # A disk that takes nothing costs one look more when the program starts again.
        with suppress(ClientError, OSError):
            directories.make_directory(self._file(ca).parent)
            directories.write_file(self._file(ca), json.dumps(looks._asdict()).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class RootsFile:
    """A file with the CA's roots for other programs, which are told when it changes.

    :ivar path: PEM; None for none.
    :ivar after: the notifications after a change.
    """

    path: Path | None
    after: Hooks

    def refresh(self, ca: KnownCA, env: Mapping[str, str]) -> bool:
        """Write the file where the roots are others, whole or not at all, and have others know.

        A mark beside the file stays until all notifications succeeded, so that those that failed are tried again.

        :param env: the environment for the command.
        :returns: whether the file was written, or others were told.
        :raises ClientError: if a notification fails, or somebody else may have put a link in the file's place.
        :raises OSError: if it cannot be written.
        """
        if self.path is None:
            return False
        content, pending = to_pem(*ca.roots), self.path.with_name(f".{self.path.name}.pending")
        changed = not self.path.exists() or self.path.read_bytes() != content
        if not changed and not pending.exists():
            return False
        directories.write_file(pending, b"")
        if changed:
            directories.write_file(self.path, content, public=True)
        self.after.run({**env, "ACME_IID_ROOTS": str(self.path.absolute()), "ACME_IID_CA_URL": ca.ca_url})
        directories.remove_file(pending)
        return True


class Looking:
    """A thread of the daemon that looks once a day, and at once when it is told to.

    :param look: looks, unless there was a look within so many seconds.
    :param complain: called with a sentence about what went wrong.
    """

    def __init__(self, look: Callable[[float], None], complain: Callable[[str], None]) -> None:
        self._look = look
        self._complain = complain
        self._bell = threading.Event()
        threading.Thread(target=self._run, name="roots", daemon=True).start()

    def ring(self) -> None:
        """Look now."""
        self._bell.set()

    def _run(self) -> None:
        within = LOOK_SECONDS
        while True:
            try:
                self._look(within)
            except Exception as error:  # noqa: BLE001 - a fault of ours ends one look, never the looking
                self._complain(sentence(error))
            within = 0.0 if self._bell.wait(_PAUSE) else LOOK_SECONDS
            self._bell.clear()
