"""The sockets that the server listens on, which its processes share."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Iterable, MutableMapping, Sequence
from typing import NamedTuple

from acme_iid.errors import ServerError
from acme_iid.protocol.addresses import Listen

BACKLOG = 1024
"""Connections that wait for a process to accept them."""

_UNACKNOWLEDGED = 30  # seconds that what was sent may go unacknowledged, or unsent because the client takes no more
_TCP = (socket.AF_INET, socket.AF_INET6)
_NO_FILES_SECONDS = 1.0
_FIRST_HANDED_OVER = 3  # sd_listen_fds(3)
STATUS, METRICS, ADMIN = "status", "metrics", "admin"
"""The names of sockets that are handed over for other things than ACME (FileDescriptorName= in a systemd unit)."""


class Sockets(NamedTuple):
    """The listening sockets of a process by what they are for.

    :ivar acme: those of the ACME server.
    :ivar status: those for revocation lists and OCSP by plain HTTP.
    :ivar metrics: those for the server's numbers by plain HTTP.
    :ivar place: the number of the process among those of the server, from 0.
    :ivar admin: those of the process beside it, by which operators are answered: unix sockets may be among them.
    """

    acme: list[socket.socket]
    status: list[socket.socket]
    metrics: list[socket.socket]
    place: int = 0
    admin: Sequence[socket.socket] = ()

    def every(self) -> list[socket.socket]:
        """All of them."""
        return [*self.acme, *self.status, *self.metrics]


def listeners(listen: Listen, workers: int, setting: str = "--listen") -> list[socket.socket]:
    """Listening sockets that accept for ``listen``, one for each worker.

    The kernel queues connections from here on, also while no worker runs, and deals them out by their addresses. On one
    socket for all, whichever worker wakes first takes all that wait, and the others have nothing to do.

    :raises ServerError: if the address cannot be had.
    """
    if workers == 1:
        return [bind(listen, shared=False, setting=setting)]
    # A socket that shares its address may share it with a server that runs already, too, so ask for it alone first.
    with bind(listen, shared=False, setting=setting) as alone:
        port = alone.getsockname()[1]
    return [bind(Listen(listen.host, port), shared=True, setting=setting) for _ in range(workers)]


def bind(listen: Listen, *, shared: bool, setting: str = "--listen") -> socket.socket:
    """A listening socket.

    :param shared: whether other sockets may listen at the same address.
    :param setting: where another address can be given, for errors.
    :raises ServerError: if the address cannot be had.
    """
    try:
        family, type_, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, type_, protocol)
    except OSError as error:
        raise ServerError(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        prepare(listener)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # A worker whose parent was killed needs a moment to see it and to let go of the address.
        for attempt in range(10):
            try:
                listener.bind(address)
                listener.listen(BACKLOG)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == 9:
                    raise
                time.sleep(0.1)
    except OSError as error:
        listener.close()
        raise ServerError(f"cannot listen on {listen}: {_reason(error, listen, setting)}") from error
    return listener


def handed_over(environment: MutableMapping[str, str]) -> Sockets:
    """The listening sockets that the starter of this process has opened for it (sd_listen_fds(3)); empty without any.

    Those with the names "status", "metrics" and "admin" are for these; all others are for ACME.

    :param environment: the process's; what says so is taken out, as it is for this process only.
    :raises ServerError: if one of them is no socket that listens, for TCP connections or for operators on this machine.
    """
    count, pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return Sockets([], [], [])
    admin: list[socket.socket] = []
    found = Sockets([], [], [], admin=admin)
    for place in range(int(count)):
        descriptor = _FIRST_HANDED_OVER + place
        name = names[place] if place < len(names) else ""
        try:
            listener = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ServerError(f"file descriptor {descriptor}, which was handed over, is no socket") from error
        families = (*_TCP, socket.AF_UNIX) if name == ADMIN else _TCP
        if listener.family not in families or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ServerError(
                f"the socket that was handed over as file descriptor {descriptor} does not listen for TCP connections; "
                "a systemd unit has ListenStream=443 and Accept=no"
            )
        listener.set_inheritable(False)
        prepare(listener)
        {STATUS: found.status, METRICS: found.metrics, ADMIN: admin}.get(name, found.acme).append(listener)
    return found


def end_accepting(tasks: Iterable[asyncio.Task[None]], listeners: Sequence[socket.socket]) -> None:
    """End tasks that accept connections, and close their sockets here: who opened them may have them still.

    What comes meanwhile stays in the backlog: asyncio would accept it for a task that was cancelled, and lose it.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        loop.remove_reader(listener)
    for task in tasks:
        task.cancel()
    for listener in listeners:
        listener.close()


def prepare(listener: socket.socket) -> None:
    """Set what the connections inherit."""
    listener.setblocking(False)
    if listener.family not in _TCP:
        return
    # Without it, an answer's body would wait for its header to be acknowledged, which a client that has nothing to
    # send does 40 milliseconds later.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # And this: a client that is gone without a word, or takes nothing of an answer, is given up.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED * 1000)


def _reason(error: OSError, listen: Listen, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another process is listening there; stop it, or choose another address with {setting}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {listen.port} is for privileged processes; choose one from 1024 on with {setting}, or run as root"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)


async def turn_away(listener: socket.socket) -> None:
    """End the connections that come on a socket, until it is cancelled: whoever connects is told at once."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            stream, _ = await loop.sock_accept(listener)
            stream.close()
        except OSError:
            # No file for it now, or the client has left.
            await asyncio.sleep(_NO_FILES_SECONDS)
