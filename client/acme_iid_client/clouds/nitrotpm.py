"""A NitroTPM's attestation document, which AWS's own program makes over the TPM's device.

Source: Amazon EC2 User Guide, "Get the NitroTPM Attestation Document": ``nitro-tpm-attest`` takes nonce and public
key as files, and writes the document to its standard output.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from acme_iid.binding import Binding
from acme_iid_client.clouds.metadata import FormatUnavailableError
from acme_iid_client.errors import ClientError

COMMAND = "nitro-tpm-attest"
VARIABLE = "ACME_IID_NITRO_TPM_ATTEST"
SECONDS = 20.0
"""The longest time for the program, which takes about one second."""
MAX_BYTES = 32 * 1024
"""The largest document that is read; they have some 5,000 octets."""


def attest(env: Mapping[str, str], binding: Binding, seconds: float = SECONDS) -> bytes:
    """A document bound to a challenge: its nonce is the digest, its public key the account key.

    :param env: the environment; ``ACME_IID_NITRO_TPM_ATTEST`` may name another program, with arguments.
    :param seconds: the seconds that the program may take.
    :raises FormatUnavailableError: if there is no such program, or it makes no document.
    """
    command = _command(env)
    with tempfile.TemporaryDirectory(prefix="acme-iid-") as directory:
        nonce, key, messages = (Path(directory, name) for name in ("nonce", "public_key", "messages"))
        nonce.write_bytes(binding.digest)
        arguments = [*command, "--nonce", str(nonce)]
        if binding.public_key:
            key.write_bytes(binding.public_key)
            arguments += ["--public-key", str(key)]
        try:
            with messages.open("wb") as errors:
                status, output = _run(arguments, errors.fileno(), seconds)
        except OSError as error:
            raise FormatUnavailableError(f"{command[0]} cannot be run: {error.strerror}.") from error
        if status != 0 or not output or len(output) > MAX_BYTES:
            raise FormatUnavailableError(_why(command[0], status, len(output), messages))
    return output


def _command(env: Mapping[str, str]) -> list[str]:
    configured = env.get(VARIABLE)
    if configured:
        try:
            return shlex.split(configured)
        except ValueError as error:
            raise ClientError(f"{VARIABLE} is {configured!r}, which is not a command: {error}.") from error
    program = shutil.which(COMMAND, path=env.get("PATH"))
    if program is None:
        raise FormatUnavailableError(
            f"This machine has no {COMMAND}, which makes the NitroTPM's documents; it comes with the package "
            f"aws-nitro-tpm-tools, and {VARIABLE} names one elsewhere."
        )
    return [program]


def _run(arguments: list[str], errors: int, seconds: float) -> tuple[int, bytes]:
    """Run a program, without a shell, for a bounded time and a bounded output."""
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    ) as process:

        def end() -> None:
            # With all that it may have started, which would hold the pipe open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            assert process.stdout is not None
            output = process.stdout.read(MAX_BYTES + 1)
            if len(output) > MAX_BYTES:
                end()
            status = process.wait()
        finally:
            timer.cancel()
    return status, output


def _why(program: str, status: int, size: int, messages: Path) -> str:
    if size > MAX_BYTES:
        return f"{program} wrote more than {MAX_BYTES} octets, more than any attestation document has."
    if status == -signal.SIGKILL:
        return f"{program} took too long and was ended."
    with messages.open("rb") as file:
        lines = file.read(2048).decode("utf-8", "replace").split("\n")
    reason = next((line.strip() for line in lines if line.strip()), "it says nothing")
    return f"{program} made no attestation document (status {status}): {reason[:200]}."
