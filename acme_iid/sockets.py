"""The sockets that the server listens on, which its processes share."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from acme_iid.errors import ServerError
from acme_iid.values import Listen

BACKLOG = 1024
"""Connections that wait for a process to accept them."""

_UNACKNOWLEDGED = 30  # seconds that what was sent may go unacknowledged, or unsent because the client takes no more
_TCP = (socket.AF_INET, socket.AF_INET6)


def listeners(listen: Listen, workers: int) -> list[socket.socket]:
    """Listening sockets that accept for ``listen``, one for each worker.

    The kernel queues connections from here on, also while no worker runs, and deals them out by their addresses. On one
    socket for all, whichever worker wakes first takes all that wait, and the others have nothing to do.

    :raises ServerError: if the address cannot be had.
    """
    if workers == 1:
        return [bind(listen, shared=False)]
    # Who may share an address may also share it with a server that runs already, so ask for it alone first.
    with bind(listen, shared=False) as alone:
        port = alone.getsockname()[1]
    return [bind(Listen(listen.host, port), shared=True) for _ in range(workers)]


def bind(listen: Listen, *, shared: bool) -> socket.socket:
    """A listening socket.

    :param shared: whether other sockets may listen at the same address.
    :raises ServerError: if the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Connections inherit it. Without, an answer's body would wait for its header to be acknowledged, which a client
        # that has nothing to send does 40 milliseconds later.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # And this: who is gone without a word, or takes nothing of an answer, is given up.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED * 1000)
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
        raise ServerError(f"cannot listen on {listen}: {_reason(error, listen)}") from error
    listener.setblocking(False)
    return listener


def accept_no_more(port: int) -> None:
    """Let this process accept nothing more on a port, and the others that share its sockets all the more.

    A socket cannot be closed here: who waits for connections on it has it open, and others share it. So each of its
    descriptors becomes one of a socket that nobody connects to.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind("")  # the kernel finds a name
        silent.listen(1)
        silent.setblocking(False)
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                found = socket.socket(fileno=int(entry.name))
                try:
                    listens = found.family in _TCP and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    if listens and found.getsockname()[1] == port:
                        os.dup2(silent.fileno(), found.fileno(), inheritable=False)
                finally:
                    found.detach()


def _reason(error: OSError, listen: Listen) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process is listening there; stop it, or choose another address with --listen"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {listen.port} is for privileged processes; choose one from 1024 on with --listen, or run as root"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or str(error)
