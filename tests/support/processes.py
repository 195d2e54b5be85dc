"""What Linux tells of running processes (proc(5)): whatever ends while it is looked at is left out."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def runs(pid: int) -> bool:
    """Whether a process has not ended yet; one that nobody has waited for has."""
    return _state(Path(f"/proc/{pid}/stat")) not in ("", "Z")


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that have not been waited for.

    :raises ProcessLookupError: if it has ended.
    """
    while True:
        # What an ended thread has started is then another thread's, so that the list begins anew.
        with suppress(FileNotFoundError, ProcessLookupError):
            return [int(child) for task in _tasks(pid) for child in (task / "children").read_text().split()]
        if not runs(pid):
            raise ProcessLookupError(f"the process {pid} has ended")


def arguments(pid: int) -> list[bytes]:
    """The words that a process was started with; there are none once it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return []


def thread_states(pid: int) -> list[str]:
    """The letters of the states that a process's threads are in, one for each thread."""
    return [state for task in _tasks(pid) if (state := _state(task / "stat"))]


def open_files(pid: int) -> list[str]:
    """What a process's descriptors lead to: a path, or ``socket:[NUMBER]`` and its like."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(str(entry.readlink()))
    return found


def sockets(pid: int) -> list[str]:
    """The sockets of a process, as ``socket:[NUMBER]``."""
    return [name for name in open_files(pid) if name.startswith("socket:")]


def tracers(pid: int) -> set[int]:
    """The processes that trace the threads of a process; 0 stands for a thread that nobody traces."""
    found = set()
    for task in _tasks(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = (task / "status").read_text().splitlines()
            found.add(next(int(line.split()[1]) for line in lines if line.startswith("TracerPid:")))
    return found


def _tasks(pid: int) -> Iterator[Path]:
    return Path(f"/proc/{pid}/task").iterdir()


def _state(stat: Path) -> str:
    """A process's or a thread's state; empty once it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return stat.read_text().rpartition(")")[2].split()[0]
    return ""
