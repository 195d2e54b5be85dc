"""The processes that answer operators, as the server sees them: begun before it reads a key, ended with it."""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from socket import socket

from acme_iid.admin import confinement, keeper
from acme_iid.admin.channel import Channel
from acme_iid.admin.sockets import Listeners
from acme_iid.config.settings import Config
from acme_iid.errors import ServerError
from acme_iid.telemetry import counter_files

ENDING_SECONDS = keeper.ENDING_SECONDS + 5

_log = logging.getLogger("acme_iid.admin")


@contextmanager
def begun(config: Config, *, plain_http: bool, log_format: str, log_level: str) -> Iterator[AdminProcess | None]:
    """The keeper while the block runs; None without ``[admin]``.

    :param config: the settings that the server begins with; no key has been read.
    :param plain_http: whether the server has no certificate.
    :raises ServerError: if the kernel cannot confine a process, or there would be no certificate to show.
    """
    if not config.admin.is_on:
        yield None
        return
    confinement.version()
    if plain_http and config.admin.listen is not None:
        raise ServerError(
            "with --plain-http the server has no certificate of its own, which listen in [admin] shows; leave listen "
            "out and use the socket"
        )
    here, there = Channel.pair()
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        keeper.run(server, there, log_format, log_level)
    there.close()
    process = AdminProcess(pid, here)
    try:
        yield process
    finally:
        process.end()


class AdminProcess:
    """See :class:`~acme_iid.serving.companion.Companion`.

    :param pid: the keeper's process.
    :param channel: what the keeper is told on.
    """

    def __init__(self, pid: int, channel: Channel) -> None:
        self._pid: int | None = pid
        self._channel = channel
        self._ended = os.pidfd_open(pid)
        self._stack = ExitStack()
        self._config: Config | None = None

    def begin(self, config: Config, opened: Sequence[socket]) -> list[str]:
        """See :meth:`Companion.begin`."""
        listeners = Listeners(config.admin, opened)
        self._stack.callback(listeners.remove)
        base = Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or config.home) / "admin"
        try:
            temporary = self._stack.enter_context(counter_files.fresh(base))
            lines = listeners.lines()
            self._send({"what": "begin", "unix": len(listeners.unix), "temporary": str(temporary),
                        "home": str(config.home), "file": str(config.file)}, config,
                       [one.fileno() for one in (*listeners.unix, *listeners.tls)])  # fmt: skip
        except OSError as error:
            raise ServerError(f"the process that answers operators cannot begin: {error}") from error
        finally:
            listeners.close()
        return lines

    def take_up(self, config: Config) -> None:
        """See :meth:`Companion.take_up`."""
        if config == self._config:
            return
        if not config.admin.is_on:
            _log.warning("[admin] is gone from ca.toml; operators are answered until the server is started again, and "
                         "nobody but root and the server's user has a role.")  # fmt: skip
        try:
            self._send({"what": "settings"}, config, [])
        except OSError as error:
            _log.error("Operators are answered with the former settings: %s", error)

    def show(self, certificate: Path) -> None:
        """See :meth:`Companion.show`."""
        try:
            with certificate.open("rb") as stream:
                self._channel.send({"what": "certificate"}, [stream.fileno()])
        except OSError as error:
            _log.error("Operators are not shown the server's new certificate: %s", error)

    def fileno(self) -> int:
        """See :meth:`Companion.fileno`."""
        return self._ended

    def hear(self) -> None:
        """See :meth:`Companion.hear`."""
        if self._pid is None or not select.select([self._ended], [], [], 0)[0]:
            return
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        _log.error("The process that keeps the one for operators has ended (%s), and that one with it. ACME goes on; "
                   "operators are answered again once the server was restarted.",
                   keeper.described(os.waitstatus_to_exitcode(status)))  # fmt: skip

    def end(self) -> None:
        """End it, and what it keeps; waits for that."""
        self._channel.close()
        if self._pid is not None:
            if not select.select([self._ended], [], [], ENDING_SECONDS)[0]:
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None
        os.close(self._ended)
        self._stack.close()

    def _send(self, message: dict[str, object], config: Config, files: Sequence[int]) -> None:
        """Send settings, in a file in memory: they may be long."""
        # What others share with the CA is none of its business.
        sinks = tuple(replace(sink, secret=b"") for sink in config.sinks)
        descriptor = os.memfd_create("settings", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as stream:
            pickle.dump(replace(config, sinks=sinks), stream)
            stream.flush()
            self._channel.send(message, [descriptor, *files])
        self._config = config
