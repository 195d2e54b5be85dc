"""Debian's PostgreSQL, run for the tests: a cluster of their own, with a database for whoever asks.

``tox -e postgresql`` says with ``ACME_IID_TEST_STORE=postgresql`` that stores are to be in it, where plain ``tox``,
which needs no PostgreSQL, has them in SQLite files. It sorts as English does (ICU), which SQLite does not, and it asks
for a password.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg
from ports import free_port
from processes import children

from acme_iid.store.database import open_store

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "correct-horse"
_USER = "acme_iid"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
"""Where a database is made and dropped in a tenth of the time that a disk's file system takes for its 400 files."""
_MOST = 4 << 30
"""The octets that clusters side by side may come to have."""
_WATCH = """
cat
pid=$(head -n 1 "$0/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" && kill -CONT "$pid"
n=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
rm -rf "$0"
"""
"""Ends the cluster in the folder $0 when nobody holds the other end of its input any more, after SIGKILL too."""


def is_wanted() -> bool:
    """Whether stores are to be in PostgreSQL wherever a test does not say otherwise."""
    return os.environ.get("ACME_IID_TEST_STORE") == "postgresql"


class Cluster:
    """A cluster in a folder of its own, on a loopback port; for root it runs as another user.

    It does not wait for a disk: its processes are killed here, which loses nothing, and the machine's power stays.

    :param of: the one that it is a standby of; by default it is one by itself.
    """

    def __init__(self, of: Cluster | None = None) -> None:
        assert (PROGRAMS / "postgres").exists(), f"{PROGRAMS} has no postgres: apt-get install postgresql"
        self.port = free_port()
        memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MOST
        self.home = Path(tempfile.mkdtemp(prefix="acme-iid-postgresql-", dir=_MEMORY if memory else None))
        self._owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self._owner is not None:
            os.chown(self.home, self._owner.pw_uid, self._owner.pw_gid)
        self._data = self.home / "data"
        self._numbers = itertools.count()
        self._watch = subprocess.Popen(["sh", "-c", _WATCH, self.home], stdin=subprocess.PIPE, start_new_session=True)
        self._process: subprocess.Popen[bytes] | None = None
        if of is not None:
            self._run("pg_basebackup", "--dbname", of.url("postgres"), "--pgdata", self._data, "--write-recovery-conf",
                      "--checkpoint=fast")  # fmt: skip
            return
        password = self.home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)  # the folder is the owner's alone; the umask may be another test's
        self._run("initdb", "--pgdata", self._data, "--username", _USER, "--auth=scram-sha-256", "--encoding=UTF8",
                  "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en", "--pwfile", password)  # fmt: skip

    def _options(self) -> dict[str, object]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [PROGRAMS / program, *arguments], capture_output=True, check=False, cwd="/", text=True,
            **self._options(),  # type: ignore[call-overload]
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it; returns when it answers."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "postgres", "-D", self._data, "-p", str(self.port), "-k", self.home,
                 "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "fsync=off"],
                stdout=log, stderr=log, cwd="/", **self._options(),  # type: ignore[call-overload]
            )  # fmt: skip
        assert self._process is not None
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.home / "log").read_text()[-4000:]
                assert time.monotonic() < deadline, (self.home / "log").read_text()[-4000:]
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions in good order, SIGQUIT is a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=60)
        self._process = None

    @property
    def pid(self) -> int:
        """The process that all of its processes descend from."""
        assert self._process is not None
        return self._process.pid

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does: it keeps its connections, takes new ones and answers nothing."""
        # While the first one is stopped, the numbers of those below it stay theirs: nobody else waits for their ends.
        os.kill(self.pid, signal.SIGSTOP)
        for pid in children(self.pid):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in children(self.pid):
            os.kill(pid, signal.SIGCONT)
        os.kill(self.pid, signal.SIGCONT)

    def ensure_started(self) -> None:
        """Start it if a test has left it stopped."""
        if self._process is None:
            self.start()

    def url(self, name: str) -> str:
        """A database's URL, with the password."""
        return f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create(self, template: str = "template0") -> str:
        """Create a database, an empty one by default; returns its URL."""
        name = f"t{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY".encode())
        _MADE.append(name)
        return self.url(name)

    def create_store(self) -> str:
        """Create a store in which nothing has happened yet; returns its URL."""
        return self.create(self._empty_store)

    @functools.cached_property
    def _empty_store(self) -> str:
        """The store that the others are copies of: to make its tables takes longer than to copy them."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE empty_store TEMPLATE template0")
        open_store(self.url("empty_store")).close()
        return "empty_store"

    def create_apart(self) -> str:
        """Create an empty database in a cluster that is the test's own; returns its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE apart TEMPLATE template0")
        return self.url("apart")

    def standby(self) -> Cluster:
        """Start a standby of this cluster, which its commits wait for; one is set to commit locally only by default."""
        made = Cluster(self)
        made.start()
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("ALTER SYSTEM SET synchronous_commit = 'local'")
            connection.execute("SELECT pg_reload_conf()")
            deadline = time.monotonic() + 60
            while connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone() is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        return made

    def promote(self) -> None:
        """Have a standby take over; returns when it takes writes."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def drop(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def remove(self) -> None:
        """Stop it, and remove all that it has."""
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)
        self._watch.communicate(timeout=30)


_MADE: list[str] = []


@functools.cache
def cluster() -> Cluster:
    """The cluster of this test process, started when it is first asked for."""
    made = Cluster()
    atexit.register(made.remove)
    made.start()
    return made


def new_store(folder: Path) -> str:
    """The URL of a new store: in PostgreSQL where that is wanted, else a file in ``folder``."""
    return cluster().create_store() if is_wanted() else f"sqlite:{folder / 'ca.db'}"


def place_store(home: Path, *, always: bool = False) -> None:
    """Have a new CA's store be in PostgreSQL where that is wanted, or in any case."""
    if always or is_wanted():
        file = home / "ca.toml"
        file.write_text(file.read_text().replace('"sqlite:ca.db"', f'"{cluster().create_store()}"', 1))


def made_so_far() -> int:
    """How many databases there are."""
    return len(_MADE)


def drop_all_after(number: int) -> None:
    """Drop the databases that were made since there were ``number``."""
    while len(_MADE) > number:
        cluster().drop(_MADE.pop())


def as_somebody(url: str) -> closing[psycopg.Connection[tuple[object, ...]]]:
    """A connection of somebody else's."""
    return closing(psycopg.connect(url, autocommit=True))
