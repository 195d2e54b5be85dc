"""Messages to systemd, for both sides: readiness, a status line, and that the program is alive (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Variables for this process, and not for commands that it starts."""


class Notifier:
    """Talks to the service manager, if there is one.

    :param env: the environment.
    :ivar interval: seconds after which :meth:`alive` has to be called at the latest; None if nobody watches.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._status = ""
        self.interval: float | None = None
        period, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
        if self._address and period.isdigit() and int(period) and pid in ("", str(os.getpid())):
            # Twice in the time that systemd allows, as sd_watchdog_enabled(3) advises.
            self.interval = int(period) / 2e6
        self._alive_at = 0.0

    def ready(self) -> None:
        """The program does what it is for; also after :meth:`reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """It is about to do what SIGHUP asks for."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Called as long as all is well; says so as often as is asked for."""
        now = time.monotonic()
        if self.interval is not None and now - self._alive_at >= self.interval / 2:
            self._alive_at = now
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        # An abstract address begins with a zero octet.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A service manager that does not listen is no reason not to go on.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.settimeout(1)
            out.sendto(message.encode(), address)
