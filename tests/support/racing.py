"""Two account keys race for one instance, from several processes, against a server that runs.

Run as a program, this is one racer: it registers or finds its key's account, and in every round has a challenge
pending before it says so, then answers when it is told to, all racers at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from running import ACCOUNT, CA, answer
from wire import JOSE, Account, Key, Wire

from acme_iid.simulator import aws

RACERS = 8


def race(ca: CA, folder: Path, rounds: int) -> list[list[str]]:
    """Race in fresh instances; each round's outcomes, the even racers being one account and the odd ones the other.

    :param folder: an empty folder for the two account keys.
    """
    keys = []
    for name in ("even.pem", "odd.pem"):
        key = Key()
        Account.new(ca.wire(), key)
        (folder / name).write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        keys.append(folder / name)
    racers = [
        subprocess.Popen(
            [sys.executable, __file__, ca.directory, ca.root, keys[number % 2], str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for number in range(RACERS)
    ]
    outcomes = []
    try:
        for _ in range(rounds):
            assert [_line(racer) for racer in racers] == ["ready"] * RACERS
            given = json.dumps(answer(aws.Instance(account=ACCOUNT)))
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(given + "\n")
            outcomes.append([_line(racer) for racer in racers])
        assert [racer.wait(30) for racer in racers] == [0] * RACERS
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    return outcomes


def _line(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


def check(outcomes: list[list[str]]) -> tuple[int, int]:
    """In each round all answers of one account, and none of the other's, were good; how often each account won."""
    won = [0, 0]
    for outcome in outcomes:
        sides = (outcome[0::2], outcome[1::2])
        assert sorted(map(set, sides), key=str) == [{"invalid"}, {"valid"}], outcome
        won[0 if "valid" in sides[0] else 1] += 1
    return won[0], won[1]


class _Thrifty(Wire):
    """A client that goes on with the nonce of the last response, as clients do."""

    def nonce(self) -> str:
        return self.nonces.pop() if self.nonces else super().nonce()

    def send(self, url: str, body: object, content_type: str = JOSE) -> requests.Response:
        response = super().send(url, body, content_type)
        self.nonces = [response.headers["Replay-Nonce"]]
        return response


def _run(directory: str, root: str, key_file: str, rounds: str) -> None:
    private = load_pem_private_key(Path(key_file).read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    account = Account.new(_Thrifty(directory, Path(root)), Key(private))
    for _ in range(int(rounds)):
        url = account.challenge(account.order("foo.local").json())["url"]
        print("ready", flush=True)
        given = json.loads(sys.stdin.readline())
        response = account.post(url, given)
        assert response.status_code == 200, response.text
        print(response.json()["status"], flush=True)


if __name__ == "__main__":
    _run(*sys.argv[1:])
