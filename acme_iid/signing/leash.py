"""Becomes a program that ends with its server: ``python leash.py SERVER PROGRAM [ARGUMENT...]``.

It is run as a file without the package, so that it takes little time. The kernel is asked before the program is there,
and not in a fork of the server, since the server has threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(server: int, program: list[str]) -> None:
    """Become the program, killed when the thread that started this process ends; a message says so if that fails.

    It does not hold for what the program starts, and not for a program that runs as another user (prctl(2)).

    :param server: the process that the thread is of.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    # It may have ended before the kernel was asked.
    if os.getppid() != server:
        return
    # Python ignores both, and a program that is started by it would go on to.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stdout.write(json.dumps({"fatal": f"{program[0]} cannot be started: {error.strerror}"}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
