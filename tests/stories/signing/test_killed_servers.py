"""A server that is killed takes its signers along, also those that hang."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from signing.programs import Program, has_ended
from signing.softhsm import Shim, SoftHSM, signer_processes

from acme_iid.signing import signers
from acme_iid.signing.keys import ForeignKey

SERVER = """
import base64, sys
from cryptography.hazmat.primitives.serialization import load_der_public_key
from acme_iid.signing import places, signers
key = signers.open_key(places.parse(sys.argv[1]), load_der_public_key(base64.b64decode(sys.argv[2])))
while True:
    signers.answers(key)
    print("answered", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def server(key: ForeignKey) -> Iterator[subprocess.Popen[str]]:
    """A process that asks the key once, and once more for each line that it is given."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    command = [sys.executable, "-c", SERVER, str(key.place), base64.b64encode(spki).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_taken(fault: Path) -> None:
    deadline = time.monotonic() + 30
    while fault.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_that_stays_when_its_input_ends_is_killed(program: Program) -> None:
    program.fail("stays when its input ends")
    with server(program.key) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        (signer,) = program.processes()
        assert not has_ended(signer, 0.1)
        process.kill()
        assert has_ended(signer)


def test_a_program_that_ends_with_its_input_ends(program: Program) -> None:
    with server(program.key) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        (signer,) = program.processes()
        process.kill()
        assert has_ended(signer)


def test_a_token_whose_login_hangs_is_killed(token: SoftHSM, shim: Shim) -> None:
    """It has ten seconds until its server itself would kill it."""
    place = token.place(module=shim.module)
    key = signers.open_key(place, signers.generate(token.place(), "P-256").public_key)
    shim.fail("hang-login")
    with server(key) as process:
        wait_until_taken(shim.control)
        (signer,) = signer_processes(token)
        process.kill()
        assert has_ended(signer)
