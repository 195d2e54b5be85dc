"""One store, open in a server's threads, while other processes come and go."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from writing import put

from acme_iid.protocol.resources import Account
from acme_iid.store import accounts
from acme_iid.store.database import open_store

NOW = 1_800_000_000
OPENS = """
import sys
from pathlib import Path
from acme_iid.store.database import SQLite

print("ready", flush=True)
for name in sys.stdin:
    store = SQLite(Path(name.strip()))
    store.rows("SELECT 1 AS one")
    store.close()
    print("opened", flush=True)
"""


def test_a_short_command_takes_nothing_from_a_server_of_several_threads(store_url: str) -> None:
    # Closing any descriptor of the file ends the locks that the process's other connections hold on it (POSIX), and
    # a command that believes it is alone removes the log that the server goes on writing to.
    server = open_store(store_url)
    command = (
        "import sys; from acme_iid.store.database import open_store\n"
        "database = open_store(sys.argv[1])\n"
        "print(len(database.rows('SELECT id FROM accounts')))\n"
        "database.close()"
    )

    def add(name: str) -> None:
        put(server, accounts.add(Account(name, "{}", name, (), NOW)))

    seen = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(3):
            add(f"here{number}")
            pool.submit(add, f"there{number}").result()
            done = subprocess.run(
                [sys.executable, "-c", command, store_url],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            seen.append(int(done.stdout))
        pool.submit(server.close).result()
    assert seen == [2, 4, 6]
    server.close()


def test_processes_that_open_a_new_store_at_the_same_moment_all_open_it(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    # Each store is opened by all at once: all are asked before the first has answered, and all answer before the next.
    for number in range(200):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{tmp_path / str(number)}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            said.append(process.stdout.readline())
    for process in processes:
        process.communicate(timeout=60)
    assert said == ["ready\n"] * 4 + ["opened\n"] * 800
