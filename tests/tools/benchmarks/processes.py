"""What a server's processes have used: CPU time and memory of a process and all that descend from it, from /proc."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and its descendants that have not ended."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found.extend(map(int, (task / "children").read_text().split()))
    return found


def named(pid: int, text: str) -> list[int]:
    """Those of them that have a text in their command lines."""
    return [found for found in tree(pid) if text.encode() in Path(f"/proc/{found}/cmdline").read_bytes()]


class Times(NamedTuple):
    """CPU time, seconds."""

    user: float
    system: float

    def since(self, before: Times) -> Times:
        return Times(self.user - before.user, self.system - before.system)


def cpu(pid: int) -> Times:
    """What the tree has used so far, with what processes of it used that ended and were waited for."""
    while True:
        # A process that has just ended is asked for no more: its time is its parent's once it was waited for.
        with suppress(FileNotFoundError, ProcessLookupError):
            return _cpu(pid)
        assert Path(f"/proc/{pid}").exists(), "the process has ended"


def _cpu(pid: int) -> Times:
    user = system = 0
    for process in tree(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        # utime, stime, cutime and cstime are fields 14 to 17 (proc(5)); these begin with the third.
        mine, kernel, childrens, childrens_kernel = map(int, fields[11:15])
        user, system = user + mine + childrens, system + kernel + childrens_kernel
    return Times(user / _TICK, system / _TICK)


def memory_bytes(pid: int) -> int:
    """The tree's proportional set size: what is shared counts once."""
    kilobytes = 0
    for process in tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes * 1024
