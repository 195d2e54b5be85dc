"""Telling programs that a certificate was renewed: a command, a signal."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import descriptors
from acme_iid_client.storage.entries import is_own
from acme_iid_client.storage.records import COMMAND_SECONDS, Record
from acme_iid_client.x509 import certificates

_GRACE_SECONDS = 2.0
_MAX_PID_FILE = 64


@dataclass(frozen=True, slots=True)
class Hooks:
    """The notifications after a renewal.

    :ivar command: a program and its arguments; empty for none. No shell reads it.
    :ivar seconds: the seconds that the program may take.
    :ivar number: the signal that ``pid`` and the process in ``pid_file`` get.
    """

    command: tuple[str, ...] = ()
    seconds: float = COMMAND_SECONDS
    number: int = signal.SIGHUP
    pid: int | None = None
    pid_file: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody is told."""
        return not self.command and self.pid is None and self.pid_file is None

    def run(self, env: Mapping[str, str]) -> None:
        """Run the command, then send the signal.

        :param env: the environment that the command gets, with :func:`variables`.
        :raises ClientError: if either fails. The other is done nevertheless.
        """
        failures = []
        acts: tuple[Callable[[], None], ...] = (lambda: self._execute(env), self._signal)
        for act in acts:
            try:
                act()
            except ClientError as error:
                failures.append(str(error))
        if failures:
            raise ClientError(" ".join(failures))

    def _execute(self, env: Mapping[str, str]) -> None:
        if not self.command:
            return
        shown = shlex.join(self.command)
        try:
            # Its output goes to stderr: stdout is for what was asked of this program. It leads a group of its own,
            # so that what it started ends with it.
            process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), env=dict(env), process_group=0
            )
        except OSError as error:
            raise ClientError(
                f"The command {shown} cannot be run: {error.strerror}. It is run without a shell; for what a shell "
                "does, give: --exec \"sh -c '...'\"."
            ) from error
        try:
            code = process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ClientError(
                f"The command {shown} did not end within {self.seconds:g} seconds and was ended."
            ) from None
        if code:
            how = f"ended with status {code}" if code > 0 else f"was ended by signal {-code}"
            raise ClientError(f"The command {shown} {how}.")

    def _signal(self) -> None:
        processes = [] if self.pid is None else [(self.pid, None)]
        for pid, user in [*processes, *self._in_file()]:
            try:
                # Held, so that no other process gets the number between a look at it and the signal.
                process = os.pidfd_open(pid)
                try:
                    if user is not None and _users_of(pid) != {user}:
                        raise ClientError(
                            f"Process {pid} got no signal, because it does not belong to user {user}, the owner "
                            f"of {self.pid_file}."
                        )
                    signal.pidfd_send_signal(process, self.number)
                finally:
                    os.close(process)
            except OSError as error:
                raise ClientError(f"Process {pid} could not be sent signal {self.number}: {error.strerror}.") from error

    def _in_file(self) -> list[tuple[int, int | None]]:
        """The process in the file, and the user that it has to belong to, if others than root could write the file."""
        if self.pid_file is None:
            return []
        try:
            with descriptors.open_entry(self.pid_file) as entry, entry.opened() as (descriptor, status):
                text = os.read(descriptor, _MAX_PID_FILE).strip()
                user = status.st_uid if descriptors.may_be_replaced(entry.directory, status) else None
        except OSError as error:
            raise ClientError(
                f"{self.pid_file} cannot be read, so no process got a signal: {error.strerror}."
            ) from error
        if not text.isdigit() or not 0 < int(text) < 2**31:
            raise ClientError(f"{self.pid_file} holds no process id, so no process got a signal.")
        if not is_own(status):
            if status.st_uid in (0, os.geteuid()):
                raise ClientError(
                    f"Others can write to {self.pid_file}, so no process got a signal: chmod go-w {self.pid_file}"
                )
            user = status.st_uid
        return [(int(text), user)]


def _users_of(pid: int) -> set[int]:
    """The real, effective and saved user ids of a process.

    :raises OSError: if there is no such process.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {int(number) for line in lines if line.startswith("Uid:") for number in line.split()[1:4]}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it started: kindly, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    process.wait()


def variables(record: Record, leaf: x509.Certificate, ca_url: str) -> dict[str, str]:
    """The environment variables by which a command sees the certificate that was renewed."""
    return {
        "ACME_IID_CERTIFICATE": str(record.certificate.absolute()),
        "ACME_IID_KEY": str(record.key.absolute()),
        "ACME_IID_NAMES": " ".join(certificates.names_in(leaf)),
        "ACME_IID_SERIAL": str(leaf.serial_number),
        "ACME_IID_NOT_AFTER": certificates.rfc3339(leaf.not_valid_after_utc),
        "ACME_IID_CA_URL": ca_url,
    }


def parse(
    command: str | None,
    seconds: float,
    name: str | None = None,
    pid: int | None = None,
    pid_file: Path | None = None,
) -> Hooks:
    """The notifications that ``--exec``, ``--exec-timeout``, ``--signal``, ``--pid`` and ``--pid-file`` ask for.

    :param command: split as a shell would, and not otherwise read by one.
    :param name: a signal's number, or its name with or without SIG; None is HUP.
    :raises ClientError: if they make no sense.
    """
    try:
        words = () if command is None else tuple(shlex.split(command))
    except ValueError as error:
        raise ClientError(f"--exec {command!r} cannot be split into words: {error}.") from error
    if command is not None and not words:
        raise ClientError("--exec names no program.")
    if words and os.geteuid() == 0:
        _require_own_program(words[0])
    if name is not None and pid is None and pid_file is None:
        raise ClientError("--signal needs --pid or --pid-file, for the process that gets it.")
    return Hooks(words, seconds, _number(name), pid, pid_file)


def _require_own_program(program: str) -> None:
    """See that what is run as root is not what another user could write.

    :raises ClientError: if one could.
    """
    path = shutil.which(program)
    if path is None:
        # It may be there later; if not, running it says so.
        return
    try:
        with descriptors.open_entry(Path(path)) as entry, entry.opened() as (_, status):
            if is_own(status) and not descriptors.may_be_replaced(entry.directory, status):
                return
            where = entry.path
    except OSError as error:
        raise ClientError(f"--exec {program} cannot be read: {error.strerror}.") from error
    raise ClientError(
        f"--exec would run {where} as root, and another user of this machine can write to it or to a directory on its "
        "way. Keep it where only root can write, or let it run as its user: --exec 'runuser -u USER -- PROGRAM'"
    )


def _number(name: str | None) -> int:
    if name is None:
        return signal.SIGHUP
    try:
        if name.isascii() and name.isdigit():
            return signal.Signals(int(name))
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")]
    except (KeyError, ValueError) as error:
        raise ClientError(f"--signal {name} is not a signal; HUP, USR1 and TERM are signals.") from error
