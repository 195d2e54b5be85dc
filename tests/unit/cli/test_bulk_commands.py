"""bulk: counted, confirmed, stopped by ctrl-C after a transaction, and gone on with."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import issued
import postgresql
import pytest
from click.testing import CliRunner, Result
from issued import issue
from serving import wait_until
from writing import key, put

from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.protocol.resources import Instance
from acme_iid.store import instances
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store

OWNER = "123456789042"
KEY = "n" * 43
MANY = 1000
"""Certificates for ten transactions."""


def vm(number: int) -> str:
    return f"aws:aws:{OWNER}:us-west-2:i-{number:017x}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = CliRunner().invoke(main, ["--home", str(tmp_path), "init"])
    assert made.exit_code == 0, made.output
    postgresql.place_store(tmp_path)
    return tmp_path


def fill(home: Path, number: int) -> None:
    now = int(time.time())
    database = opened(home)
    issued.prepare(database, now)
    for place in range(number):
        issue(database, f"n{place}.local", at=now - 3600, instance=vm(place), image="ami-1", provisioner="Web")
    database.close()


def opened(home: Path) -> Database:
    return open_store(ca_toml.load(home).store.url)


def revoked(home: Path) -> int:
    database = opened(home)
    number: int = database.rows("SELECT count(*) AS n FROM certificates WHERE revoked_at IS NOT NULL")[0]["n"]
    database.close()
    return number


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), "bulk", *arguments])


def test_a_dry_run_counts_and_changes_nothing(home: Path) -> None:
    fill(home, 3)
    for by in (["--owner", OWNER], ["--image", "ami-1"], ["--provisioner", "Web"], ["--region", "us-west-2"],
               ["--account", "a"]):  # fmt: skip
        done = run(home, "revoke", *by, "--dry-run")
        assert done.exit_code == 0, done.output
        assert done.stdout == "This would revoke 3 certificates (unspecified).\n"
    assert json.loads(run(home, "revoke", "--name", "n1.local", "--dry-run", "--json").stdout)["count"] == 1
    assert run(home, "revoke", "--name", "no.local", "--yes").stdout == "There is nothing to do.\n"
    assert revoked(home) == 0


def test_everything_is_only_meant_by_all(home: Path) -> None:
    fill(home, 2)
    for act in ("revoke", "renew-now", "block", "release"):
        refused = run(home, act, "--yes")
        assert refused.exit_code == 2, act
        assert "--all is for all of them" in refused.stderr
    assert run(home, "revoke", "--all", "--dry-run").stdout.startswith("This would revoke 2")


@pytest.mark.parametrize("act", ["revoke", "renew-now", "block", "release"])
@pytest.mark.parametrize("given", ["", " "])
def test_a_filter_that_a_script_left_empty_is_refused(home: Path, act: str, given: str) -> None:
    fill(home, 2)
    owner = run(home, act, "--owner", given, "--yes")
    assert (owner.exit_code, f"'{given}' is no AWS account" in owner.stderr) == (2, True), owner.stderr
    for option in ("--image", "--region", "--provisioner"):
        refused = run(home, act, option, given, "--yes")
        assert (refused.exit_code, f"{option} is empty" in refused.stderr) == (2, True), option
    both = run(home, act, "--owner", OWNER, "--all", "--yes")
    assert (both.exit_code, "goes with no filter" in both.stderr) == (2, True)
    assert revoked(home) == 0


def test_without_a_terminal_it_takes_yes(home: Path) -> None:
    fill(home, 2)
    refused = run(home, "revoke", "--owner", OWNER)
    assert refused.exit_code == 2
    assert "this would revoke 2 certificates (unspecified); outside a terminal, --yes confirms it" in refused.stderr
    assert revoked(home) == 0
    done = run(home, "revoke", "--owner", OWNER, "--yes", "--ticket", "INC-7", "--note", "leaked", "--json")
    fields = json.loads(done.stdout)
    assert (fields["count"], fields["done"], fields["left_out"], fields["stopped"]) == (2, 2, 0, False)
    listed = CliRunner().invoke(main, ["--home", str(home), "events", "--bulk", fields["bulk"], "--json"])
    events = json.loads(listed.stdout)
    assert [event["kind"] for event in events] == ["certificate.revoked"] * 2
    assert {(event["ticket"], event["actor"]["reason"]) for event in events} == {("INC-7", "leaked")}
    shown = CliRunner().invoke(main, ["--home", str(home), "certificate", "list", "--bulk", fields["bulk"]])
    assert shown.exit_code == 2


def typed(home: Path, answer: str) -> tuple[int, str]:
    """What the command says to a person at a terminal who types an answer, and its exit status."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "acme_iid.cli", "--home", str(home), "bulk", "revoke", "--owner", OWNER]
    process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.close(child)
    os.write(parent, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=120)
    os.close(parent)
    return process.returncode, said.decode()


def test_at_a_terminal_the_number_is_typed(home: Path) -> None:
    fill(home, 2)
    for wrong in ("y", "3", ""):
        status, said = typed(home, wrong)
        assert status == 1, said
        assert "nothing was done" in said
    assert revoked(home) == 0
    status, said = typed(home, "2")
    assert status == 0, said
    assert "This will revoke 2 certificates" in said
    assert "Done for 2 of 2 certificates." in said
    assert revoked(home) == 2


_ACTS = ("certificate.revoked", "certificate.renewal_asked")


@contextmanager
def held(home: Path) -> Iterator[int]:
    """Let nobody commit an event until the block ends; yields how many events of acts there are."""
    database = opened(home)
    try:
        with database.transaction() as transaction:
            if postgresql.is_wanted():
                transaction.run("LOCK TABLE event_inbox IN SHARE ROW EXCLUSIVE MODE")
            (row,) = transaction.rows(
                """SELECT (SELECT count(*) FROM events WHERE kind IN (:one, :other)) +
                   (SELECT count(*) FROM event_inbox WHERE entry LIKE '%' || :one || '%' OR
                    entry LIKE '%' || :other || '%') AS n""",
                one=_ACTS[0],
                other=_ACTS[1],
            )
            yield row["n"]
    finally:
        database.close()


def stopped(home: Path, number: signal.Signals, *arguments: str) -> tuple[int, str, str]:
    """Run an act in a process that gets a signal in its midst; its status, and what it said."""
    command = [sys.executable, "-m", "acme_iid.cli", "--home", str(home), "bulk", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    begun = False
    while not begun:
        assert process.poll() is None, process.communicate()
        # While it is looked at and gets its signal, it comes no further.
        with held(home) as done:
            if begun := done > 0:
                process.send_signal(number)
                if number == signal.SIGKILL:
                    process.wait(timeout=60)
    out, err = process.communicate(timeout=120)
    if postgresql.is_wanted():
        # What the killed one had sent is done before its session ends.
        database = opened(home)
        wait_until(
            lambda: database.rows(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND "
                "pid <> pg_backend_pid() AND state <> 'idle'"
            )[0]["n"] == 0
        )  # fmt: skip
        database.close()
    return process.returncode, out, err


def done_by_acts(home: Path) -> Counter[str]:
    """How many events acts on many have left for each certificate, by its serial number."""
    database = opened(home)
    database.seal()
    rows = database.rows("SELECT detail FROM events WHERE kind IN (:one, :other)", one=_ACTS[0], other=_ACTS[1])
    database.close()
    return Counter(str(json.loads(row["detail"])["serial"]) for row in rows)


@pytest.mark.parametrize("act", ["revoke", "renew-now"])
def test_an_act_that_was_killed_goes_on_and_does_nothing_twice(home: Path, act: str) -> None:
    fill(home, MANY)
    arguments = (act, "--owner", OWNER, "--yes", "--ticket", "INC-7")
    _, _, err = stopped(home, signal.SIGKILL, *arguments)
    done = done_by_acts(home)
    assert 0 < len(done) < MANY
    assert len(done) % 100 == 0
    (said,) = re.findall(r"The id of this act is (b-\w+)\.", err)
    count = json.loads(run(home, *arguments[:3], "--go-on", said, "--dry-run", "--json").stdout)["count"]
    rest = json.loads(run(home, *arguments[:4], "--json", "--go-on", said).stdout)
    assert count == rest["count"] == rest["done"] == MANY - len(done)
    assert set(done_by_acts(home).values()) == {1}
    database = opened(home)
    tickets = {json.loads(row["detail"]).get("ticket") for row in database.rows("SELECT detail FROM events")}
    database.close()
    assert "INC-7" in tickets
    unknown = run(home, *arguments, "--go-on", "b-0")
    assert (unknown.exit_code, "the record has no act 'b-0'" in unknown.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_a_transaction_and_the_same_command_goes_on(home: Path, number: signal.Signals) -> None:
    fill(home, MANY)
    arguments = ["--owner", OWNER, "--yes", "--json"]
    status, out, err = stopped(home, number, "revoke", *arguments)
    assert status == 1, err
    fields = json.loads(out)
    assert fields["stopped"]
    assert 0 < fields["done"] < MANY
    assert fields["done"] % 100 == 0
    assert revoked(home) == fields["done"]
    assert f"goes on with: --go-on {fields['bulk']}" in err
    rest = json.loads(run(home, "revoke", *arguments, "--go-on", fields["bulk"]).stdout)
    assert (rest["bulk"], rest["done"]) == (fields["bulk"], MANY - fields["done"])
    assert revoked(home) == MANY


def test_rebuilt_machines_are_listed_with_their_keys_first(home: Path) -> None:
    fill(home, 2)
    now = int(time.time())
    database = opened(home)
    for number in range(2):
        word = vm(number).rpartition(":")[2]
        used = Instance(vm(number), "aws", OWNER, word, "a", "o" * 43, None, now - 7200, now - 7200)
        detail = {"step": "first use", "reason": OF_ANOTHER_KEY, "proven": True, "thumbprint": KEY}
        detail |= {"binding": "nonce" if number else "first use"}
        event = Event("challenge.refused", now - 60, account_id="b", instance=key(vm(number)), detail=detail)
        put(database, instances.use(used), events=[event])
    database.close()
    listed = run(home, "release", "--owner", OWNER, "--dry-run").stdout
    assert f"{vm(1)}  {KEY}  -" in listed
    assert "its evidence is not bound to the key (--also-unbound takes it)" in listed
    assert "This would release 1 instances" in listed
    done = run(home, "release", "--owner", OWNER, "--yes")
    assert done.exit_code == 0, done.output
    assert "Done for 1 of 1 instances." in done.stdout
    assert vm(0) in done.stdout
    database = opened(home)
    assert [row["id"] for row in database.rows("SELECT id FROM instances WHERE release_to IS NOT NULL")] == [vm(1)]
    database.close()


def test_blocked_instances_and_asked_certificates_are_counted(home: Path) -> None:
    fill(home, 2)
    assert "Done for 2 of 2 certificates." in run(home, "renew-now", "--image", "ami-1", "--yes").stdout
    assert run(home, "block", "--image", "ami-1", "--yes").stdout == "There is nothing to do.\n"
