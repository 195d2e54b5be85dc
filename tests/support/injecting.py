"""Faults of the system under a process that runs: strace makes its calls fail, late, or end it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from processes import tracers

_ATTACHED_WITHIN = 20.0


@contextmanager
def injected(pids: Sequence[int], calls: str, what: str) -> Iterator[None]:
    """Have calls of processes, and of all their threads, do something else; it ends with the block.

    :param calls: names of system calls, with commas between them.
    :param what: as strace's ``--inject`` has it: ``signal=SIGKILL:when=3``, ``error=EROFS``, ``delay_enter=200ms``.
        ``when`` counts each call of each thread by itself.
    """
    attach = [part for pid in pids for part in ("-p", str(pid))]
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}", *attach]
    )
    try:
        deadline = time.monotonic() + _ATTACHED_WITHIN
        while any(tracers(pid) != {tracer.pid} for pid in pids):
            assert tracer.poll() is None, "strace has ended; is it allowed to trace?"
            assert time.monotonic() < deadline, "strace has not come to all threads"
            time.sleep(0.005)
        yield
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(timeout=3)
        except subprocess.TimeoutExpired:
            # It waits for a thread of a process that it has killed; the kernel lets go of what it traces.
            tracer.kill()
            tracer.wait(timeout=30)
