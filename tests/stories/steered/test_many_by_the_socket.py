"""Acts on many that an operator has a server do: stopped by ctrl-C there, and gone on with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import issued
import pytest
from issued import issue, vm
from operators import ROOT, Steered, User, role_table
from running import CA, SECONDS
from serving import wait_until
from strangers import Ground
from typed_commands import command, environment, typed

from acme_iid.store.database import open_store

OPERATOR = User("daemon")
VIEWER = User("games")
MANY = 3000
BY = ("bulk", "revoke", "--owner", issued.OWNER)


@pytest.fixture
def steered(tmp_path: Path, open_ground: Ground) -> Iterator[Steered]:
    """A server that has issued many certificates."""
    ca = CA(open_ground.own / tmp_path.name)
    ca.init(in_a_file=True)
    now = int(time.time())
    with issued.prepared(ca.store_url, now) as database:
        for place in range(MANY):
            issue(database, f"n{place}.local", at=now - 3600, instance=vm(place))
    ca.home.chmod(0o755)
    one = Steered(ca, open_ground.own / f"{tmp_path.name[:40]}.sock")
    one.configure(role_table("operator", users=["daemon"]), role_table("viewer", users=["games"]))
    one.start()
    yield one
    ca.stop()


def revoked(steered: Steered) -> int:
    with closing(open_store(steered.ca.store_url)) as database:
        number: int = database.rows("SELECT count(*) AS n FROM certificates WHERE revoked_at IS NOT NULL")[0]["n"]
        return number


@contextmanager
def begun(steered: Steered, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The act, begun by its command. The server comes no further with it before the block ends."""
    process = subprocess.Popen(
        command(*BY, "--yes", *options), env=environment(steered.ca.home), cwd="/", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **OPERATOR.who(),
    )  # fmt: skip
    wait_until(lambda: revoked(steered) > 0)
    with closing(open_store(steered.ca.store_url)) as database, database.transaction():
        yield process


def is_stopping(steered: Steered) -> bool:
    """Whether the server was told to stop the act."""
    (row,) = ROOT.get(steered.socket, "/tasks").json["items"]
    assert row["state"] in ("running", "stopping"), row
    return bool(row["state"] == "stopping")


def test_ctrl_c_stops_the_act_at_the_server_and_it_goes_on(steered: Steered) -> None:
    with begun(steered, "--ticket", "INC-7") as process:
        process.send_signal(signal.SIGINT)
        wait_until(lambda: is_stopping(steered))
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, err
    (said,) = re.findall(r"The id of this act is (b-\w+)\.", err)
    (done,) = map(int, re.findall(rf"Done for (\d+) of {MANY} certificates", out))
    assert 0 < done < MANY
    assert f"Error: it was stopped; the same command goes on with: --go-on {said}" in err
    # Nothing goes on behind the command's back.
    assert revoked(steered) == done
    rest = typed(OPERATOR, *BY, "--yes", "--json", "--go-on", said, home=steered.ca.home)
    assert rest.code == 0, rest.stderr
    assert json.loads(rest.stdout) == {
        "bulk": said, "count": MANY - done, "done": MANY - done, "left_out": 0, "stopped": False
    }  # fmt: skip
    assert revoked(steered) == MANY
    row = json.loads(typed(VIEWER, "events", "--bulk", said, "--limit", "1", "--json", home=steered.ca.home).stdout)[0]
    assert (row["actor"]["user"], row["actor"]["role"], row["ticket"]) == ("daemon", "operator", "INC-7")


def test_a_command_that_is_killed_leaves_the_act_to_the_server(steered: Steered) -> None:
    with begun(steered) as process:
        process.kill()
        process.communicate(timeout=SECONDS)
        assert revoked(steered) < MANY
    wait_until(lambda: revoked(steered) == MANY)


def test_a_server_that_was_killed_has_the_command_say_how_to_go_on(steered: Steered) -> None:
    with begun(steered) as process:
        worker = steered.worker
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: steered.worker != worker)
    # Another process answers, which knows nothing of the act.
    _, err = process.communicate(timeout=SECONDS)
    left = revoked(steered)
    assert 0 < left < MANY
    assert process.returncode == 1, err
    (said,) = re.findall(r"the same command goes on with: --go-on (b-\w+)", err)
    rest = typed(OPERATOR, *BY, "--yes", "--json", "--go-on", said, home=steered.ca.home)
    assert json.loads(rest.stdout)["done"] == MANY - left
