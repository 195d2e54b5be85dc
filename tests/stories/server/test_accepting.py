"""The server's loop accepts a connection when its application takes one, and not before."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from serving import DEADLINE

from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.serving.http import HTTPServer
from acme_iid.serving.messages import Answer, Request
from acme_iid.serving.sockets import end_accepting


class Host:
    """An application that takes no connection until it was asked so often.

    :ivar ca: not there, because nothing is encrypted here.
    """

    ca: CertificateAuthority
    status = None
    metrics = None

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.asked = 0

    def takes_connection(self) -> bool:
        self.asked += 1
        return self.asked > self.refusals

    async def answer(self, _request: Request) -> Answer:
        return Answer(f"asked {self.asked >= self.refusals}")

    def refusal(self, _request: Request, _error: AcmeError) -> Answer:
        return Answer("refused", 400)

    def failure(self, _error: Exception) -> Answer:
        return Answer("failed", 500)

    def leaving(self) -> None:
        pass

    def stopped(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_connection_waits_until_the_application_takes_it() -> None:
    async def run() -> str:
        host = Host(20)
        server = HTTPServer(host, None, 75)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = asyncio.create_task(server.accept(listener))
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(b"GET / HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n\r\n")
                answer = (await reader.read()).decode()
                writer.close()
            accepting.cancel()
            await server.stop(1)
        return answer

    assert asyncio.run(run()).endswith("asked True")


def test_what_comes_while_a_server_stops_waits_for_the_next_one() -> None:
    async def run(listener: socket.socket, client: socket.socket) -> list[str]:
        faults: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(repr(context)))
        server = HTTPServer(Host(0), None, 75)
        copy = listener.dup()
        copy.setblocking(False)
        accepting = asyncio.create_task(server.accept(copy))
        await asyncio.sleep(0)  # it waits for a connection now
        client.connect(listener.getsockname())
        # In the turn in which the loop sees the connection and has not taken it.
        await asyncio.sleep(0)
        end_accepting([accepting], [copy])
        with suppress(asyncio.CancelledError):
            await accepting
        await server.stop(1)
        return faults

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        assert asyncio.run(run(listener, client)) == []
        listener.settimeout(DEADLINE)
        accepted, address = listener.accept()
        with accepted:
            assert address == client.getsockname()
