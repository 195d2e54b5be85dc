"""The server's loop accepts a connection when its application takes one, and not before."""

from __future__ import annotations

import asyncio
import socket

from serving import DEADLINE

from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.serving.http import HTTPServer
from acme_iid.serving.messages import Answer, Request


class Host:
    """An application that takes no connection until it was asked so often.

    :ivar ca: not there, because nothing is encrypted here.
    """

    ca: CertificateAuthority
    status = None

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
