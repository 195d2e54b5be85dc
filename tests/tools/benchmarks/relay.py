"""A TCP relay with a settable delay: what it gets it hands on half a round trip later, in order, in both directions.

So a server and a database on one machine are as far apart as if they stood in two places. It counts round trips: how
often a connection's client sent something after the server had. Run by itself (``python
tests/tools/benchmarks/relay.py``), it says on stdout at which port it listens, answers each line on stdin with the
number of round trips so far, and ends with its stdin.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_AT_ONCE = 65536
_WAITING = 256
"""Pieces that wait in one direction of a connection at most; then no more is read."""


@dataclass
class Relay:
    """Connections to one server.

    :ivar port: the server's, on this machine.
    :ivar seconds: of a round trip.
    :ivar round_trips: counted so far, over all connections.
    """

    port: int
    seconds: float
    round_trips: int = 0

    async def serve(self) -> asyncio.Server:
        """Listen at a free port of loopback."""
        return await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=256)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()
            return
        connection = _Connection(self)
        try:
            async with asyncio.TaskGroup() as group:
                for source, target, is_client in ((reader, server_writer, True), (server_reader, writer, False)):
                    underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)
                    group.create_task(connection.take(source, underway, is_client))
                    group.create_task(connection.deliver(underway, target))
        except* OSError:
            pass  # One side has gone without a word; the other one sees that its connection ends.
        finally:
            for end in (writer, server_writer):
                end.close()


class _Connection:
    """One connection of a client, and whether it was the client that sent last."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._client_sent = False

    async def take(
        self, reader: asyncio.StreamReader, underway: asyncio.Queue[tuple[float, bytes]], is_client: bool
    ) -> None:
        """Take what one side sends, and at last that it sends no more."""
        loop = asyncio.get_running_loop()
        data = b" "
        while data:
            data = await reader.read(_AT_ONCE)
            if data:
                self._relay.round_trips += is_client and not self._client_sent
                self._client_sent = is_client
            await underway.put((loop.time() + self._relay.seconds / 2, data))

    async def deliver(self, underway: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        """Hand it on to the other side when it is time."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await underway.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()


@dataclass
class Running:
    """A relay in a process of its own."""

    port: int
    _process: subprocess.Popen[str]

    def round_trips(self) -> int:
        """How many there were so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def running(port: int, milliseconds: float) -> Iterator[Running]:
    """Run a relay to a port of this machine.

    :param milliseconds: of a round trip.
    """
    with subprocess.Popen(
        [sys.executable, __file__, "--to", str(port), "--delay-ms", str(milliseconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Running(int(process.stdout.readline()), process)


async def _serve(relay: Relay) -> None:
    server = await relay.serve()
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer() -> None:
        for _ in sys.stdin:
            print(relay.round_trips, flush=True)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=answer, daemon=True).start()
    await ended.wait()


def main() -> None:
    """Relay until stdin ends."""
    parser = argparse.ArgumentParser(description="A TCP relay with a delay.")
    parser.add_argument("--to", type=int, required=True, help="the server's port on this machine")
    parser.add_argument("--delay-ms", type=float, required=True, help="of a round trip, milliseconds")
    options = parser.parse_args()
    # What is measured is the distance and not who else uses the machine; this takes root.
    with contextlib.suppress(PermissionError):
        os.nice(-15)
    # select() waits to the microsecond, where epoll rounds up to a millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_serve(Relay(options.to, options.delay_ms / 1000)))


if __name__ == "__main__":
    main()
