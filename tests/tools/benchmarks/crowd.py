"""Clients that arrive at a server whether it keeps up or not, each with a TLS connection of its own; one loop of them.

Each places an order and fetches its certificate. What a client does when it is refused is its manner: it comes back
when it is told, or it leaves, or it tries again at once. Directory, accounts, keys and evidence are there before it
begins: what is measured is the server, which shares the machine with this.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.generator import Account, Job
from wire import b64

OBEYS, LEAVES, INSISTS = "obeys", "leaves", "insists"
"""The manners of clients."""

_TIMEOUT = 30.0
"""Seconds for which a connection, or one answer, is waited."""
_TRIES = 20
"""How often a client sends a request at most."""
_KEPT_SECONDS = 60.0
"""A connection is kept over a pause that is no longer than this; the server keeps it 75 seconds."""
_REFUSED = 503


@dataclass
class Found:
    """What a crowd saw.

    :ivar arrived: how many clients have come; ``late`` is the longest time that one came late, seconds.
    :ivar done: for each certificate, when it was there, seconds after the beginning, and since its client had come.
    :ivar begun: how many orders the server took; ``left`` those of them that have no certificate at the end.
    :ivar statuses: how many answers had each status; ``refused`` the 503s by what was asked for.
    :ivar told: what Retry-After said with them, in seconds.
    :ivar unanswered: how many requests, or connections, ended without an answer.
    """

    arrived: int = 0
    late: float = 0.0
    done: list[tuple[float, float]] = field(default_factory=list)
    begun: int = 0
    left: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    told: list[float] = field(default_factory=list)
    unanswered: int = 0


class _GoneError(Exception):
    """The client leaves without its certificate."""


@dataclass(frozen=True)
class Crowd:
    """Clients that will come.

    :ivar directory: as the server has it.
    :ivar accounts: whose orders they place, in turn.
    :ivar csrs: certificate requests, each with its name; in turn.
    :ivar proofs: jobs whose answers to challenges are used up one by one, by the clients that come so far.
    :ivar rate: clients a second, at random moments.
    :ivar seconds: for how long they come; after that, ``grace`` seconds are waited for those that have begun.
    :ivar manners: what they do when they are refused; in turn.
    """

    directory: dict[str, str]
    context: ssl.SSLContext
    accounts: Sequence[Account]
    csrs: Sequence[tuple[dict[str, str], str]]
    proofs: deque[Job]
    rate: float
    seconds: float
    grace: float
    manners: Sequence[str]
    seed: int

    def run(self) -> Found:
        """Let them come, and wait for them."""
        return asyncio.run(self._run())

    async def _run(self) -> Found:
        found, chance = Found(), random.Random(self.seed)
        start = time.monotonic()
        moment, clients, placed = 0.0, set[asyncio.Task[None]](), dict[asyncio.Task[None], _Client]()
        while (moment := moment + chance.expovariate(self.rate)) < self.seconds:
            if (wait := start + moment - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            found.late = max(found.late, time.monotonic() - start - moment)
            if time.monotonic() - start > self.seconds:
                break
            made = _Client(self, found, found.arrived, start)
            client = asyncio.create_task(made.come())
            found.arrived += 1
            clients.add(client)
            placed[client] = made
            client.add_done_callback(clients.discard)
        await asyncio.sleep(max(0.0, start + self.seconds - time.monotonic()))
        if clients:
            await asyncio.wait(clients, timeout=self.grace)
        # Who has not begun by now leaves; an order under way is not the load's to cut.
        for client in list(clients):
            if not placed[client].begun:
                client.cancel()
        if clients:
            await asyncio.wait(clients, timeout=_TIMEOUT)
        remaining = list(clients)
        for client in remaining:
            client.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        return found


class _Client:
    """One client, from its arrival to its certificate."""

    def __init__(self, crowd: Crowd, found: Found, number: int, start: float) -> None:
        self._crowd = crowd
        self._found = found
        self._account = crowd.accounts[number % len(crowd.accounts)]
        self._name, self._csr = crowd.csrs[number % len(crowd.csrs)]
        self._manner = crowd.manners[number % len(crowd.manners)]
        self._start = start
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._nonce = ""
        self.begun = False
        parts = urlsplit(crowd.directory["newOrder"])
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port

    async def come(self) -> None:
        """Position the order."""
        arrived, done = time.monotonic(), False
        try:
            order = await self._post("newOrder", self._crowd.directory["newOrder"], {"identifiers": [self._name]})
            self.begun = True
            self._found.begun += 1
            authorization = await self._post("authorization", order["authorizations"][0])
            challenge = next(one for one in authorization["challenges"] if one["type"] == "iid-01")
            if not self._crowd.proofs:
                raise AssertionError("more orders were taken than evidence was prepared for; see --prepared")
            await self._post("challenge", challenge["url"], self._crowd.proofs.popleft().answer)
            order = await self._post("finalize", order["finalize"], {"csr": self._csr})
            await self._post("certificate", order["certificate"])
            done = True
            now = time.monotonic()
            self._found.done.append((now - self._start, now - arrived))
        except _GoneError:
            pass
        finally:
            self._found.left += self.begun and not done
            self._close()

    async def _post(self, what: str, url: str, payload: object = None) -> Any:
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    status, headers, body = await self._signed(url, payload)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                # It has connected and asked in vain; that is a try as well.
                self._found.unanswered += 1
                self._close()
                if self._manner == LEAVES:
                    break
                await asyncio.sleep(1)
                continue
            self._found.statuses[status] += 1
            if status < 400:
                return json.loads(body) if body.startswith(b"{") else None
            if status != _REFUSED:
                raise _GoneError
            self._found.refused[what] += 1
            pause = float(headers.get(b"retry-after", b"0"))
            self._found.told.append(pause)
            if self._manner == LEAVES:
                break
            if self._manner == OBEYS:
                if pause > _KEPT_SECONDS:
                    self._close()
                await asyncio.sleep(pause)
        raise _GoneError

    async def _signed(self, url: str, payload: object) -> tuple[int, dict[bytes, bytes], bytes]:
        if not self._nonce:
            _, headers, _ = await self._ask("HEAD", self._crowd.directory["newNonce"], b"")
            self._nonce = headers[b"replay-nonce"].decode()
        account = self._account
        protected = b64(f'{{"alg":"ES256","kid":"{account.kid}","nonce":"{self._nonce}","url":"{url}"}}'.encode())
        sent = "" if payload is None else b64(json.dumps(payload).encode())
        signature = b64(account.key.sign(f"{protected}.{sent}".encode()))
        body = f'{{"protected":"{protected}","payload":"{sent}","signature":"{signature}"}}'.encode()
        self._nonce = ""
        status, headers, answer = await self._ask("POST", url, body)
        self._nonce = headers.get(b"replay-nonce", b"").decode()
        return status, headers, answer

    async def _ask(self, method: str, url: str, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._crowd.context)
        reader, writer = self._streams
        lines = [f"{method} {url.removeprefix(self._origin)} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        if body:
            lines += ["Content-Type: application/jose+json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        first, *fields = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        headers = {}
        for one in fields:
            name, _, value = one.partition(b":")
            headers[name.lower()] = value.strip()
        length = 0 if method == "HEAD" else int(headers.get(b"content-length", b"0"))
        answer = await reader.readexactly(length)
        if headers.get(b"connection", b"").lower() == b"close":
            self._close()
        return int(first.split(b" ", 2)[1]), headers, answer

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
