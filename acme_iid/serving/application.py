"""What the server asks of an application: it knows none."""

from __future__ import annotations

from typing import Protocol

from acme_iid.errors import AcmeError
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.serving.messages import Answer, Request


class Answering(Protocol):
    """What answers requests on sockets."""

    async def answer(self, request: Request) -> Answer:
        """Answer a request that has come whole."""

    def refusal(self, request: Request, error: AcmeError) -> Answer:
        """The answer to a request that is refused before it has come whole."""

    def failure(self, error: Exception) -> Answer:
        """The answer to a request that cannot be read, or that a fault of the server's ended."""

    def takes_connection(self) -> bool:
        """Whether a connection is accepted now; if so, it counts as accepted."""


class Application(Answering, Protocol):
    """An application, which answers requests as long as a process of the server runs.

    :ivar ca: the CA whose certificate the server shows.
    """

    ca: CertificateAuthority

    @property
    def status(self) -> Application | None:
        """What answers by plain HTTP on sockets of its own; None for an application without it."""

    @property
    def metrics(self) -> Application | None:
        """What tells the server's numbers, likewise."""

    def leaving(self) -> None:
        """Say from now on, where it is asked for, that the process is about to end; at once."""

    def stopped(self) -> None:
        """Say to others that the process ends, when it answers no more requests; soon."""

    def close(self) -> None:
        """End its threads and close its files, once it answers no more requests; waits for that."""
