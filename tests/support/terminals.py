"""What acme-iid-ca shows on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path


def on_a_terminal(home: Path, columns: int, *arguments: str) -> str:
    """What acme-iid-ca shows on a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "acme_iid.cli", "--home", home, *arguments],
        env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        # Reading from a terminal whose last user is gone ends with EIO.
        while True:
            try:
                shown += os.read(master, 4096)
            except OSError:
                break
        os.close(master)
        assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")
