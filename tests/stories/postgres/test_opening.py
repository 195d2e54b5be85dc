"""PostgreSQL is opened: its schema is made once, and what cannot be opened is said in a sentence."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import postgresql
import psycopg
import pytest
from ports import free_port
from postgresql import as_somebody

from acme_iid.errors import StoreUnavailableError
from acme_iid.store.database import connect, open_store
from acme_iid.store.migration import migrate

SCHEMA = sum(entry.name.endswith(".sql") for entry in files("acme_iid.store.schema").iterdir())
"""How many files make the schema."""


def test_replicas_that_start_at_once_make_one_schema(url: str) -> None:
    script = (
        "import sys\nfrom acme_iid.store.database import open_store\nimport acme_iid.store.postgresql\n"
        "print(flush=True)\nsys.stdin.readline()\nopen_store(sys.argv[1]).close()"
    )
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", script, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in starting:
        assert process.stdout is not None
        process.stdout.readline()
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in starting]
    assert [process.returncode for process in starting] == [0] * 4, ended
    with closing(open_store(url)) as database:
        assert len(database.rows("SELECT name FROM schema_migrations")) == SCHEMA
        assert database.rows("SELECT id FROM sealing") == [{"id": 1}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": "1"}, "Connection refused"),
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    url: str, changed: dict[str, str], message: str
) -> None:
    wrong = psycopg.conninfo.make_conninfo(url, **changed)
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=message) as caught:
        open_store("postgresql://?" + "&".join(wrong.replace("'", "").split()))
    assert time.monotonic() - began < 60
    assert postgresql.PASSWORD not in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", ["postgresql://u:hidden@[::1/x", "postgresql://u:hidden@h/d?hidden=1", "postgresql://u:p%zzhidden@h"]
)
def test_a_url_that_cannot_be_read_is_not_shown(wrong: str) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot read the store's url") as caught:
        connect(wrong)
    assert "hidden" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up_soon() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="timeout"):
            open_store(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d")
        assert time.monotonic() - began < 60


def test_a_database_in_another_encoding_is_refused() -> None:
    cluster = postgresql.cluster()
    with as_somebody(cluster.url("postgres")) as other:
        other.execute("CREATE DATABASE latin ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreUnavailableError, match="SQL_ASCII, not UTF8"):
            open_store(cluster.url("latin"))
    finally:
        cluster.drop("latin")


def test_without_psycopg_the_extra_is_named() -> None:
    script = (
        "import sys\nsys.modules['psycopg'] = None\nfrom acme_iid.store.database import open_store\n"
        "open_store('postgresql://h/d')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "StoreUnavailableError: a store in PostgreSQL takes the extra 'postgresql': pip install" in done.stderr


def test_a_test_process_that_is_killed_leaves_no_cluster_behind() -> None:
    script = (
        "import os, signal, postgresql\ncluster = postgresql.cluster()\n"
        "print(cluster.home, cluster.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = Path(postgresql.__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    home, pid = done.stdout.split()
    deadline = time.monotonic() + 20
    while Path(home).exists() or Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_schema_that_is_there_is_left_alone(url: str) -> None:
    with closing(connect(url)) as database:
        migrate(database)
        before = database.rows("SELECT relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY relname")
        migrate(database)
        after = database.rows("SELECT relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') ORDER BY relname")
    assert before == after
