"""A signer's process and its three pipes, none of which is ever waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from acme_iid.signing import leash
from acme_iid.signing.messages import MAX_ANSWER_BYTES
from acme_iid.signing.remarks import Remarks

_PIECE = 64 * 1024
_LAST_WORDS = 0.05  # seconds that a process has to be gone after it closed its pipe


class EndedError(Exception):
    """The process has ended, or breaks the rules so that it is to be ended; the text says how."""


class Child:
    """A process that answers on standard output.

    :param name: for the log.
    :param command: the program, from ``/`` on, and its arguments. It ends with the thread that makes this.
    :raises OSError: if no process can be started; a program that cannot be says so by :attr:`stdout`.

    :ivar warm: whether it has said anything that is a message.
    :ivar asked_since: when it was asked for the first time, by the monotonic clock; None before.
    :ivar noise: lines since the last message that are no messages.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        # In a group of its own: a signal for the server's does not reach it, and its own children end with it. With -I
        # and -S the leash takes nothing from the environment, and imports nothing that is installed.
        self.process = subprocess.Popen(
            (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        for pipe in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(pipe.fileno(), False)
        self.remarks = Remarks(name)
        self.warm = False
        self.asked_since: float | None = None
        self.noise = 0
        self._unsent = bytearray()
        self._unread = b""

    def send(self, line: bytes) -> None:
        """Write a line as far as the pipe takes it; the rest waits for :meth:`flush`."""
        self._unsent += line
        self.flush()

    def flush(self) -> bool:
        """Go on writing, and return whether all is written.

        A process that reads no more is noticed by its standard output or by the deadline.
        """
        try:
            while self._unsent:
                del self._unsent[: os.write(self.stdin.fileno(), self._unsent[:_PIECE])]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent.clear()
        return not self._unsent

    def read_lines(self) -> list[bytes]:
        """Return the lines that have come.

        :raises EndedError: if standard output was closed, or a line is too long.
        """
        try:
            piece = os.read(self.stdout.fileno(), _PIECE)
        except BlockingIOError:
            return []
        if not piece:
            raise EndedError(self._how_it_ended())
        *lines, self._unread = (self._unread + piece).split(b"\n")
        if any(len(line) > MAX_ANSWER_BYTES for line in (*lines, self._unread)):
            raise EndedError(f"it wrote a line longer than {MAX_ANSWER_BYTES} bytes")
        return lines

    def read_remarks(self) -> bool:
        """Log a piece of standard error, and return whether more can come."""
        with suppress(BlockingIOError):
            piece = os.read(self.stderr.fileno(), _PIECE)
            self.remarks.feed(piece)
            return bool(piece)
        return True

    def kill(self) -> None:
        """End the process and its children at once, without waiting for that; it is reaped by its ``process``."""
        # The group bears the number as long as the process is not reaped.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.read_remarks()
        self.remarks.end()
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()

    def _how_it_ended(self) -> str:
        try:
            status = self.process.wait(_LAST_WORDS)
        except subprocess.TimeoutExpired:
            return "it closed its standard output"
        return f"it ended by signal {-status}" if status < 0 else f"it ended with status {status}"
