"""What the confined process asks the keeper, which is not confined: names of users and groups, a reload, a check.

Users and groups may come from anywhere that this machine asks for them, so that no rule for files would do.
"""

from __future__ import annotations

import grp
import pwd
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from acme_iid.admin import checking
from acme_iid.admin.channel import Channel
from acme_iid.errors import ConflictError, ServerError

if TYPE_CHECKING:
    from acme_iid.admin.table.configuration import Look

KNOWN_SECONDS = 10.0
"""How long a name is remembered: a user who has left a group keeps the group's role until their next connection, and a
group that was made or renamed is seen after that."""
MOST_KNOWN = 4096
ANSWER_SECONDS = 15.0


class Questions:
    """Asks the keeper; any number of threads may use it.

    :param channel: what the keeper answers on.
    """

    def __init__(self, channel: Channel, clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int | str], tuple[float, Any]] = OrderedDict()

    def user(self, uid: int) -> str | None:
        """The name of a user; None without one."""
        name: str | None = self._ask("user", uid)
        return name

    def group(self, name: str) -> int | None:
        """The number of a group; None if there is no such group."""
        gid: int | None = self._ask("group", name)
        return gid

    def reload(self) -> None:
        """Have the server take ca.toml up again."""
        with self._lock:
            self._answer({"what": "reload"})

    def look(self) -> Look:
        """What is in ca.toml as it is now.

        :raises ConflictError: if somebody else has asked for that just now.
        """
        with self._lock:
            answer, files = self._received({"what": "look"})
        if not answer:
            raise ConflictError("ca.toml is being looked at for somebody else; ask again in a moment")
        return checking.result(*files)

    def _ask(self, what: str, about: int | str) -> Any:
        with self._lock:
            now, key = self._clock(), (what, about)
            known = self._known.get(key)
            if known is not None and now < known[0] + KNOWN_SECONDS:
                return known[1]
            answer = self._answer({"what": what, "about": about})
            self._known[key] = now, answer
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
            return answer

    def _answer(self, question: dict[str, Any]) -> Any:
        return self._received(question)[0]

    def _received(self, question: dict[str, Any]) -> tuple[Any, list[int]]:
        """The keeper's answer, and the files that came with it.

        :raises ServerError: if there is none: nothing was changed.
        """
        try:
            self._channel.send(question)
            received = self._channel.receive(ANSWER_SECONDS)
        except OSError as error:
            # An answer that comes later would be taken for that to the next question.
            self._channel.close()
            raise ServerError(f"the process that keeps this one does not answer: {error}") from error
        if received is None:
            raise ServerError("the process that keeps this one has ended")
        return received[0]["answer"], received[1]


def answer(question: dict[str, Any], reload: Callable[[], None]) -> dict[str, Any]:
    """The keeper's answer to a question.

    :param reload: has the server take ca.toml up again.
    """
    match question:
        case {"what": "user", "about": int(uid)}:
            return {"answer": _user(uid)}
        case {"what": "group", "about": str(name)}:
            return {"answer": _group(name)}
        case {"what": "reload"}:
            reload()
            return {"answer": True}
    return {"answer": None}


def _user(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError, OSError):
        return None


def _group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, OSError):
        return None
