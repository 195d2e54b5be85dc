"""Serves the pages on loopback, for one browser."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import flask

from acme_iid.console.app import HEADERS, create
from acme_iid.console.session import Session
from acme_iid.console.source import Source
from acme_iid.errors import AcmeError
from acme_iid.serving.http import HTTPServer
from acme_iid.serving.messages import Answer, Request

ADDRESS = "127.0.0.1"
MOST_CONNECTIONS = 64
"""A browser opens six."""

_KEEP_ALIVE = 30.0
_THREADS = 4
_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Running:
    """A console that is served.

    :ivar url: where it listens.
    :ivar link: where a browser enters, once.
    """

    url: str
    link: str


class _Console:
    """What the server asks for answers."""

    def __init__(self, app: flask.Flask) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(_THREADS, "page")

    async def answer(self, request: Request) -> Answer:
        """Answer a request."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._page, request)

    def _page(self, request: Request) -> Answer:
        return Answer.of_wsgi(self._app.wsgi_app, {**request.environ(), "wsgi.url_scheme": "http"})

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        """The answer to a request that is too long, or comes too slowly."""
        del request
        return Answer(f"{error.detail}\n", error.status, "text/plain", HEADERS)

    def failure(self, error: Exception) -> Answer:
        """The answer to what cannot be read."""
        status = error.status if isinstance(error, AcmeError) else HTTPStatus.INTERNAL_SERVER_ERROR.value
        return Answer("The request could not be answered.\n", status, "text/plain", HEADERS)

    def takes_connection(self) -> bool:
        """Whether a connection is accepted now; there are few."""
        return True

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


@contextmanager
def listening(source: Source, port: int = 0) -> Iterator[Running]:
    """Serve the pages on a thread of their own until the context ends.

    :param port: 0 takes a free one.
    :raises OSError: if it cannot be listened on.
    """
    with socket.create_server((ADDRESS, port)) as listener:
        listener.setblocking(False)
        session, host = Session(), f"{ADDRESS}:{listener.getsockname()[1]}"
        console = _Console(create(source, session, host))
        loop, ending = asyncio.new_event_loop(), asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(_serve(console, listener, ending),))
        thread.start()
        try:
            yield Running(f"http://{host}/", f"http://{host}/?token={session.token}")
        finally:
            loop.call_soon_threadsafe(ending.set)
            thread.join()
            loop.close()
            console.close()


async def _serve(console: _Console, listener: socket.socket, ending: asyncio.Event) -> None:
    """Answer until the end."""
    server = HTTPServer(console, None, _KEEP_ALIVE, MOST_CONNECTIONS)
    accepting = asyncio.create_task(server.accept(listener))
    await ending.wait()
    accepting.cancel()
    await server.stop(_STOP_SECONDS)
