"""Who may see the pages: the browser that followed the link first."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable

LINK_SECONDS = 600
"""The seconds for which the link is good."""
SESSION_SECONDS = 12 * 3600
"""The seconds after which the browser takes another link."""

_OCTETS = 32


class Session:
    """The one session of a console's process.

    Cookies know no ports: a browser sends those of this machine to whatever else listens on it. So the cookie is for
    URLs below a folder of a random name, which no other server's pages are in.

    :param clock: gives seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = f"/{secrets.token_hex(16)}"
        """The beginning of every page's path."""
        self.token = secrets.token_urlsafe(_OCTETS)
        """The link's secret."""
        self._clock = clock
        self._lock = threading.Lock()
        self._unused_until: float | None = clock() + LINK_SECONDS
        self._cookie: str | None = None
        self._ends = 0.0

    def enter(self, token: str) -> str | None:
        """The value of the cookie for whoever has the link's token; None if it is another one, used, or too old."""
        with self._lock:
            if self._unused_until is None or self._clock() >= self._unused_until or not _same(token, self.token):
                return None
            self._unused_until = None
            self._cookie = secrets.token_urlsafe(_OCTETS)
            self._ends = self._clock() + SESSION_SECONDS
            return self._cookie

    def admits(self, cookie: str | None) -> bool:
        """Whether a cookie is that of the session, and the session has not ended."""
        with self._lock:
            if cookie is None or self._cookie is None or self._clock() >= self._ends:
                return False
            return _same(cookie, self._cookie)


def _same(given: str, secret: str) -> bool:
    """Whether two texts are the same, in a time that does not tell how much of them is."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())
