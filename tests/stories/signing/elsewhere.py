"""A CA whose issuer's key is behind a program, and orders that wait for its signature."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certificate_status_requests
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from running import CA
from signing import programs
from signing.programs import Program
from stories import Story
from wire import b64, csr

from acme_iid.issuance import keys

SOON = 1.0
"""The longest that an answer takes that waits for nothing, in seconds: half of a signer's time."""
SECONDS = 120
"""The longest that anything takes on a machine that has much else to do."""


@dataclass
class Elsewhere:
    """The CA, and the program that has its issuer's key."""

    ca: CA
    program: Program

    def ready(self) -> Story:
        """An order that only lacks its certificate."""
        story = Story(self.ca)
        for step in (Story.new_account, Story.new_order, Story.read_authorization, Story.answer):
            step(story)
        assert status(story) == "ready"
        return story

    def go_away(self) -> None:
        """Have the program end, and not start again."""
        self.program.file.chmod(0o600)
        self.program.fail_always("dies")

    def come_back(self) -> None:
        """Have the program start again, and answer."""
        self.program.recover()
        self.program.file.chmod(0o700)


def move_key(ca: CA, issuer: str, folder: Path) -> Program:
    """Put the key of an issuer, by the beginning of its id, behind a program: no file in the home has it any more."""
    file = ca.home / "secrets" / f"issuer_{issuer}_key"
    key = keys.load(file, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    program = programs.make(folder, key)
    file.unlink()
    (ca.home / "issuers" / issuer / "issuer.toml").write_text(f"key = {json.dumps(str(program.place))}\n")
    return program


@contextmanager
def made(folder: Path) -> Iterator[Elsewhere]:
    """A CA that shows its certificates' status and has not started; it is ended here."""
    ca = CA(folder / "ca")
    ca.init()
    certificate_status_requests.turn_on(ca)
    elsewhere = Elsewhere(ca, move_key(ca, ca.issuer_id, folder / "program"))
    yield elsewhere
    elsewhere.come_back()
    if ca.process is not None:
        ca.kill()
    assert "Traceback" not in "".join(ca.log)
    elsewhere.program.close()


def finalize(story: Story) -> requests.Response:
    """Ask for the certificate."""
    return story.account().post(story.facts["ordered"]["finalize"], {"csr": b64(csr("foo.local")[1])})


def status(story: Story) -> str:
    """The order's status."""
    return str(story.account().post(story.facts["order"]).json()["status"])


def finalized(story: Story) -> str:
    """Ask until the certificate is there; its chain."""
    deadline = time.monotonic() + SECONDS
    while (done := finalize(story)).status_code != 200:
        must_be_unsigned(done)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    order = story.account().post(story.facts["order"]).json()
    return story.account().post(order["certificate"]).text


def must_be_unsigned(refused: requests.Response) -> None:
    """Check the answer to a request that got no signature: it says when to come again, and names no place."""
    assert refused.status_code == 503, refused.text
    assert 0 < int(refused.headers["Retry-After"]) < 60
    assert refused.headers["Replay-Nonce"]
    assert refused.json()["type"] == "urn:ietf:params:acme:error:serverInternal"
    assert "exec" not in refused.text
    assert "/" not in refused.json()["detail"]


def until(succeeds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not succeeds():
        assert time.monotonic() < deadline, f"not in {SECONDS} seconds"
        time.sleep(0.2)


def seconds_of(act: Callable[[], requests.Response], expected: int = 200) -> float:
    """The seconds that an answer takes."""
    began = time.monotonic()
    answer = act()
    assert answer.status_code == expected, answer.text
    return time.monotonic() - began


def request_of(story: Story) -> Callable[[], requests.Response]:
    """Make a request for the certificate on a connection of its own, which only has to be sent."""
    account = story.account()
    url = story.facts["ordered"]["finalize"]
    body = account.wire.body(url, {"csr": b64(csr("foo.local")[1])}, account.key, account.url)
    return lambda: account.wire.send(url, body)
