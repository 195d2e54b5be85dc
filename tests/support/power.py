"""What a disk without power holds of a program's files: strace writes down what the program wrote, and when it synced.

All that a file was synced with is there. Of what was written to it since, any part may be: nothing, all of it, a write
that is torn at a sector's border, some sectors of each. A name that was made or removed is so when its folder was
synced, or earlier. What a process has mapped into its memory is in no such trace; SQLite makes its -shm file anew.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
CALLS = "openat,pwrite64,write,sendto,fsync,fdatasync,ftruncate,unlink"
_LINE = re.compile(r"\d+ +(?P<at>[\d.]+) (?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")
_FILE = re.compile(r"\d+<(?P<path>(?:\\x[0-9a-f]{2})+)>")
_SOCKET = re.compile(r"\d+<TCP(?:v6)?:\[[^>]*->(?P<peer>[\d.]+):\d+\]>")
_PIPE = re.compile(r"1<")
_AT_THEIR_END = ("fsync", "fdatasync", "openat", "unlink")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def tracer(output: Path, *, detached: bool) -> tuple[str, ...]:
    """What to run a program with, so that ``output`` says what it wrote.

    :param detached: whether the process that is started is the program, and strace one that it does not know.
    """
    options = ("-f", "-q", "-ttt", "-yy", "-xx", "-s", "1048576", "-e", "signal=none", "-e", f"trace={CALLS}")
    return ("strace", *(("-D",) if detached else ()), *options, "-o", str(output))


class Call(NamedTuple):
    """Something that the program did, which matters here.

    :ivar what: ``write``, ``truncate``, ``sync``, ``make``, ``remove``; ``say`` is an answer that it gave.
    :ivar name: the file's name in the folder, "" for the folder itself; of an answer, the address that it went to, or
        "" for the standard output.
    """

    at: float
    what: str
    name: str
    offset: int = 0
    data: bytes = b""


def calls(trace: Path, database: Path) -> Iterator[Call]:
    """What a trace says of a database, the files beside it whose names begin with its own, and of answers, in order.

    A sync counts from its end; a write, and an answer, from its beginning.
    """
    waiting: dict[str, tuple[str, str]] = {}
    for line in trace.read_text().splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        thread, at, rest = line.split()[0], float(match["at"]), match["rest"]
        if match["resumed"] is not None:
            name, arguments = waiting.pop(thread)
            if name in _AT_THEIR_END:
                yield from _call(at, name, f"{arguments}{rest}", database)
        elif rest.endswith("<unfinished ...>"):
            name, arguments = match["name"], rest.removesuffix("<unfinished ...>").rstrip()
            waiting[thread] = name, arguments
            if name not in _AT_THEIR_END:
                yield from _call(at, name, f"{arguments}) = 0", database)
        else:
            yield from _call(at, match["name"], rest, database)


def _call(at: float, name: str, rest: str, database: Path) -> Iterator[Call]:
    arguments, _, outcome = rest.rpartition(") = ")
    if outcome.startswith("-1"):
        return
    if name in ("sendto", "write"):
        if peer := _SOCKET.match(arguments):
            yield Call(at, "say", peer["peer"])
        elif _PIPE.match(arguments):
            yield Call(at, "say", "")
    elif name == "unlink" or (name == "openat" and "O_CREAT" in arguments):
        file = _inside(_text(arguments)[0], database)
        if file is not None:
            yield Call(at, "make" if name == "openat" else "remove", file)
    elif (match := _FILE.match(arguments)) and not arguments.startswith("(deleted)", match.end()):
        file = _inside(_decoded(match["path"]), database)
        if file is not None and name != "openat":
            yield _of_file(at, name, file, arguments[match.end() :].removeprefix(", "))


def _of_file(at: float, name: str, file: str, arguments: str) -> Call:
    if name == "pwrite64":
        data, after = _text(arguments)
        return Call(at, "write", file, int(after.rpartition(", ")[2]), data)
    if name == "ftruncate":
        return Call(at, "truncate", file, int(arguments))
    return Call(at, "sync", file)


def _text(arguments: str) -> tuple[bytes, str]:
    """The first text among arguments, and what follows it."""
    match = _TEXT.search(arguments)
    assert match is not None, arguments
    return _decoded(match[1]), arguments[match.end() :]


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _inside(path: bytes, database: Path) -> str | None:
    """The name of one of a database's files, "" for its folder; None if it is another file."""
    found = Path(path.decode())
    if found == database.parent:
        return ""
    return found.name if found.parent == database.parent and found.name.startswith(database.name) else None


@dataclass
class _Pending:
    """A change that is not on the disk for sure: to a file's octets, or to the folder's names."""

    call: Call
    file: int


@dataclass
class Disk:
    """Some files of one folder: what is on the disk for sure, and what else may be.

    :ivar names: the files by their names, as they are for sure.
    """

    names: dict[str, int]
    files: dict[int, bytes]
    _present: dict[str, int] = field(init=False)
    _data: list[_Pending] = field(default_factory=list)
    _folder: list[_Pending] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._present = dict(self.names)

    @classmethod
    def of(cls, content: Mapping[str, bytes]) -> Disk:
        """A disk that holds these files for sure."""
        return cls({name: number for number, name in enumerate(content)}, dict(enumerate(content.values())))

    def do(self, call: Call) -> None:
        """Have the program do something."""
        if call.what == "sync":
            self._sync(call.name)
        elif call.what == "make":
            if call.name not in self._present:
                number = len(self.files)
                self.files[number] = b""
                self._present[call.name] = number
                self._folder.append(_Pending(call, number))
        elif call.what == "remove":
            self._folder.append(_Pending(call, self._present.pop(call.name)))
        elif call.what in ("write", "truncate"):
            self._data.append(_Pending(call, self._present[call.name]))

    def _sync(self, name: str) -> None:
        if not name:
            self.names = self._with_names(self._folder)
            self._folder = []
            return
        number = self._present[name]
        mine = [change for change in self._data if change.file == number]
        self._data = [change for change in self._data if change.file != number]
        self.files[number] = _changed(self.files[number], [change.call for change in mine])

    def _with_names(self, changes: Iterable[_Pending]) -> dict[str, int]:
        names = dict(self.names)
        for change in changes:
            if change.call.what == "make":
                names[change.call.name] = change.file
            else:
                names.pop(change.call.name, None)
        return names

    def _state(self, changes: Sequence[_Pending], folder: Sequence[_Pending]) -> dict[str, bytes]:
        names = self._with_names(folder)
        return {
            name: _changed(self.files[number], [change.call for change in changes if change.file == number])
            for name, number in names.items()
        }

    def states(self, chance: random.Random, some: int) -> Iterator[tuple[str, dict[str, bytes]]]:
        """What the disk may hold if the power goes now, each with what it is called.

        :param some: how many there are of each sort of which there are very many.
        """
        yield "nothing since the last sync", self._state((), ())
        if not self._data and not self._folder:
            return
        yield "all", self._state(self._data, self._folder)
        for _ in range(some if self._data else 0):
            count = chance.randrange(len(self._data))
            last = self._data[count]
            cut = chance.randrange(1, max(2, len(last.call.data) // SECTOR + 1)) * SECTOR
            torn = _Pending(last.call._replace(data=last.call.data[:cut]), last.file)
            yield f"all up to write {count}, which is torn", self._state([*self._data[:count], torn], self._folder)
            kept = [change for change in self._data if chance.random() < 0.5]
            yield "some writes", self._state(kept, self._folder[: chance.randint(0, len(self._folder))])
            sectors = [piece for change in self._data for piece in _sectors(change) if chance.random() < 0.8]
            yield "most sectors", self._state(sectors, self._folder[: chance.randint(0, len(self._folder))])


def _sectors(change: _Pending) -> Iterator[_Pending]:
    """A change, sector by sector."""
    call = change.call
    if call.what != "write":
        yield change
        return
    at, end = call.offset, call.offset + len(call.data)
    while at < end:
        border = min(end, (at // SECTOR + 1) * SECTOR)
        piece = call.data[at - call.offset : border - call.offset]
        yield _Pending(call._replace(offset=at, data=piece), change.file)
        at = border


def _changed(content: bytes, changes: Sequence[Call]) -> bytes:
    """A file's octets with some changes."""
    if not changes:
        return content
    made = bytearray(content)
    for change in changes:
        if change.what == "truncate":
            made = made[: change.offset].ljust(change.offset, b"\0")
            continue
        if len(made) < change.offset:
            made.extend(bytes(change.offset - len(made)))
        made[change.offset : change.offset + len(change.data)] = change.data
    return bytes(made)
