"""Each command that works on a running CA says the same by the admin socket as in the CA's home."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import issued
import pytest
from issued import issue, vm
from operators import MEMBERS, ROOT, Steered, User, role_table
from running import CA, SECONDS, Outcome
from strangers import Ground
from typed_commands import command, environment, masked, typed
from writing import key, put

from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.protocol.resources import Account, Instance
from acme_iid.store import accounts, instances
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store

ADMINISTRATOR = User("sys")
OPERATOR = User("daemon")
VIEWER = User("games")
STRANGER = User("nobody", groups=())
OWNER = issued.OWNER
KEY = "n" * 43
MANY = 2000
HOUR = 3600


def fill(home: Path) -> None:
    """Fill the store of a CA that is not served yet."""
    now = int(time.time())
    with closing(open_store(CA(home).store_url)) as database:
        issued.prepare(database, now - 9 * 86400)
        put(database, accounts.add(Account("b", "{}", "u" * 43, ("mailto:x@example.org",), now - 86400)))
        for number, account in ((1, "a"), (2, "b"), (3, "b")):
            used = Instance(vm(number), "aws", OWNER, f"i-{number:017x}", account, "o" * 43, now - 60, now, now)
            put(database, instances.use(used))
        for number in range(1, 6):
            issue(database, f"n{number}.local", at=now - number * HOUR, instance=vm(number % 3 + 1), image="ami-1",
                  provisioner="Web", der=issued.leaf())  # fmt: skip
        refused = {"step": "names", "reason": "provisioner 'Web' has disable_custom_sans", "provisioner": "Web"}
        moved = {"step": "first use", "reason": OF_ANOTHER_KEY, "proven": True, "thumbprint": KEY, "binding": "nonce"}
        for number, detail in ((1, refused), (1, refused), (2, moved)):
            event = Event("challenge.refused", now - 90, "b", key(vm(number)), name="n9.local", detail=detail)
            put(database, events=[event])


@pytest.fixture(scope="module")
def home(open_ground: Ground) -> Path:
    """The home of a CA that has issued something. Others may read its ca.toml, and no more."""
    ca = CA(open_ground.own / "ca")
    ca.init(in_a_file=True)
    fill(ca.home)
    ca.home.chmod(0o755)
    assert (ca.home / "ca.db").stat().st_mode & 0o077 == 0
    return ca.home


@pytest.fixture(scope="module")
def served(home: Path, open_ground: Ground) -> Iterator[Steered]:
    """Its server, with a user for some of the roles."""
    ca = CA(home)
    steered = Steered(ca, open_ground.own / "served.sock")
    steered.configure(
        role_table("viewer", users=["games"]), role_table("operator", users=["daemon"]),
        role_table("administrator", users=["sys"]),
    )  # fmt: skip
    steered.ca = replace(ca, port=int(re.findall(r":(\d+)", (home / "ca.toml").read_text())[0]))
    steered.start()
    yield steered
    steered.ca.stop()


def asked_by(user: User, role: str, place: Path) -> str:
    return f"Asked at unix:{place} as {user.name}, with the role {role}.\n"


def serial(home: Path, place: int) -> str:
    rows = json.loads(typed(ROOT, "certificate", "list", "--json", home=home).stdout)
    return str(rows[place]["serial"])


READS = (
    "instance list", "instance list --blocked", "instance list --limit 2", "instance list --name n1.local",
    "instance list --owner nobody!", f"instance show {vm(1)}", "instance show i-00000000000000002",
    "instance show i-nothing", "certificate list", "certificate list --limit 3", "certificate list --overdue",
    "certificate list --expires-before 30h --status valid", "certificate list --overdue --status revoked",
    "certificate list --before 5.x", "certificate show 17", "account list", "account list --limit 1", "account show b",
    "account show nobody", "eab list", "events", "events --limit 3", "events --kind challenge.refused",
    "events --before 9999999999.abc", "events --check", "events --check --from 3", "events --check --from 99999",
    "events --check --follow", f"why {vm(1)}", "why n9.local", "why 192.0.2.99", "why 'not a name'", "policy show",
    "store servers", "store sinks", "check",
)  # fmt: skip


@pytest.mark.parametrize("words", READS)
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_read_says_the_same_by_the_socket(served: Steered, words: str, form: str) -> None:
    home = served.ca.home
    arguments = [*shlex.split(words), *shlex.split(form)]
    there = typed(ADMINISTRATOR, *arguments, home=home)
    here = typed(ROOT, *arguments, home=home)
    assert (there.code, masked(there.stdout)) == (here.code, masked(here.stdout))
    is_asked = here.code != 2 or "Usage" not in here.stderr or "why" in words
    line = asked_by(ADMINISTRATOR, "administrator", served.socket)
    assert there.stderr == (line if line in there.stderr else "") + here.stderr
    assert (line in there.stderr) or not is_asked


def test_one_certificate_is_shown_the_same_also_as_a_file(served: Steered) -> None:
    home = served.ca.home
    number = serial(home, 0)
    for words in (("show", number), ("show", hex(int(number)), "--json"), ("show", number, "--pem")):
        there = typed(VIEWER, "certificate", *words, home=home)
        assert there.stdout == typed(ROOT, "certificate", *words, home=home).stdout, words
        assert there.stdout


@pytest.mark.parametrize("words", ["status", "issuer status"])
def test_the_state_is_the_same_but_for_where_keys_are(served: Steered, words: str) -> None:
    home = served.ca.home

    def facts(done: Outcome) -> object:
        state = json.loads(masked(done.stdout))
        for row in state["ca"] if words == "status" else state:
            row["key"] = None if row["key"] is None else row["key"].partition(":")[0]
            row.pop("answers", None)
        return state

    there, here = (typed(user, *words.split(), "--json", home=home) for user in (VIEWER, ROOT))
    assert (there.code, facts(there)) == (here.code, facts(here))
    assert "secrets/" in here.stdout
    assert "secrets/" not in there.stdout
    if words == "status":
        lines = [typed(user, words, home=home).stdout.splitlines() for user in (VIEWER, ROOT)]
        assert lines[0][0].endswith(f"  {home}")
        assert lines[0][1:] == lines[1][1:]


def test_a_reload_is_tried_by_a_server_without_its_keys(served: Steered) -> None:
    home = served.ca.home
    here, there = (typed(user, "check", "--reload", "--json", home=home) for user in (ROOT, ADMINISTRATOR))
    assert json.loads(there.stdout) | {"untried": None} == json.loads(here.stdout)
    assert there.code == here.code == 0
    people = typed(ADMINISTRATOR, "check", "--reload", home=home)
    assert people.stdout == typed(ROOT, "check", "--reload", home=home).stdout
    password = typed(ADMINISTRATOR, "check", "--password-file", "/etc/hostname", home=home)
    assert (password.code, "a server is not told of passwords" in password.stderr) == (2, True)


ACTS = (
    f"instance release {vm(1)} --to {KEY} --for 2h --reason rebuilt", f"instance release {vm(2)} --to {KEY} --revoke",
    f"instance block {vm(3)} --reason stolen --json", f"instance block {vm(3)}",
    f"instance release {vm(3)} --to {KEY}", f"instance unblock {vm(3)}", f"instance unblock {vm(1)}",
    f"instance reopen {vm(3)} n5.local", "instance reopen i-none n5.local",
    "certificate renew-now --over 2h --name n5.local --reason x", "certificate renew-now --over 2h --json",
    "certificate revoke SERIAL --reason keyCompromise --note leaked", "certificate revoke SERIAL",
    "certificate revoke 17", "certificate revoke", "certificate revoke SERIAL --reason nonsense",
    "account deactivate b --reason gone", "account deactivate b", "account deactivate nobody", "eab revoke none",
    f"bulk renew-now --owner {OWNER} --dry-run", f"bulk renew-now --owner {OWNER} --yes --ticket INC-7",
    "bulk revoke --image ami-1 --dry-run --json", "bulk revoke --image ami-1", "bulk revoke",
    "bulk revoke --image ami-1 --yes --json --reason superseded", "bulk revoke --image ami-1 --yes",
    "bulk release --all --dry-run", "bulk release --all --yes", "bulk block --name n1.local --yes --revoke --reason x",
    "bulk renew-now --all --yes --go-on b-none",
    "events --limit 1000 --json",
)  # fmt: skip


def test_a_row_of_acts_says_and_does_the_same_by_the_socket(open_ground: Ground) -> None:
    ca = CA(open_ground.own / "acts")
    ca.init(in_a_file=True)
    fill(ca.home)
    steered = Steered(ca, open_ground.own / "acts.sock")
    shutil.copytree(ca.home, open_ground.own / "alone")
    alone = open_ground.own / "alone"
    steered.configure(role_table("operator", users=["daemon"]))
    ca.home.chmod(0o755)
    number = serial(alone, 0)
    steered.start()
    try:
        said = [_both(steered, alone, words.replace("SERIAL", number)) for words in ACTS]
        *_, (here, there) = said
        own = [_comparable(row) for row in json.loads(here.stdout)]
        theirs = [_comparable(row) for row in json.loads(there.stdout)]
        # The server has events of its own: that it started, and what it signs.
        assert [row for row in theirs if row in own] == own
        acts = [row for row in json.loads(there.stdout) if row.get("actor", {}).get("user") == "daemon"]
        assert len(acts) >= 15
        assert {(row["actor"]["via"], row["actor"]["role"], row["actor"]["uid"]) for row in acts} == {
            ("socket", "operator", 1)
        }
        assert {"rebuilt", "stolen", "leaked", "gone"} <= {row["actor"].get("reason") for row in acts}
    finally:
        ca.stop()


def _both(steered: Steered, alone: Path, words: str) -> tuple[Outcome, Outcome]:
    """What an act says in one home, and of the server of a copy."""
    arguments = shlex.split(words)
    here = typed(ROOT, *arguments, home=alone)
    there = typed(OPERATOR, *arguments, home=steered.ca.home)
    if arguments[0] != "events":
        assert (there.code, masked(there.stdout)) == (here.code, masked(here.stdout)), words
        line = asked_by(OPERATOR, "operator", steered.socket)
        own = "\n".join(text for text in here.stderr.splitlines() if "operator " not in text)
        assert masked(there.stderr.replace(line, "")).strip() == masked(own).strip(), words
    return here, there


def _comparable(row: dict[str, object]) -> str:
    kept = {name: value for name, value in row.items() if name not in ("seq", "actor", "at")}
    return re.sub(r"\b1[0-9]{9}\b", "0", masked(json.dumps(kept)))


def test_an_external_key_made_by_the_socket_is_shown_once(served: Steered) -> None:
    home = served.ca.home
    made = typed(OPERATOR, "eab", "add", "--label", "for x", "--expires", "7d", "--json", home=home)
    row = json.loads(made.stdout)
    listed = typed(VIEWER, "eab", "list", "--json", home=home).stdout
    assert row["key_id"] in listed
    assert row["hmac_key"] not in listed
    revoked = typed(OPERATOR, "eab", "revoke", row["key_id"], "--reason", "lost", home=home)
    assert revoked.stdout == f"The external account key {row['key_id']} makes no further account.\n"


def test_lists_are_read_page_by_page_up_to_their_limit(open_ground: Ground) -> None:
    ca = CA(open_ground.own / "many")
    ca.init(in_a_file=True)
    now = int(time.time())
    with issued.prepared(ca.store_url, now) as database:
        for number in range(MANY):
            put(database, accounts.add(Account(f"m{number}", "{}", f"{number:043}", (), now - number)))
    steered = Steered(ca, open_ground.own / "many.sock")
    steered.configure(role_table("viewer", users=["games"]))
    ca.home.chmod(0o755)
    steered.start()
    try:
        for limit in (MANY - 1, MANY + 500):
            words = ("account", "list", "--limit", str(limit), "--json")
            here, there = (typed(user, *words, home=ca.home) for user in (ROOT, VIEWER))
            assert there.stdout == here.stdout
            assert len(json.loads(there.stdout)) == min(limit, MANY + 1)
            assert ("There are more" in there.stderr) is ("There are more" in here.stderr) is (limit < MANY)
    finally:
        ca.stop()


def test_a_stranger_is_told_whom_the_socket_is_for(served: Steered) -> None:
    home = served.ca.home
    done = typed(STRANGER, "instance", "list", home=home)
    assert (done.code, done.stdout) == (1, "")
    assert f"you may not open the CA's home {home}, and you may not open the admin socket" in done.stderr
    assert f"members of the group {MEMBERS}" in done.stderr


def test_a_member_without_a_role_is_told_which_it_takes(served: Steered) -> None:
    home = served.ca.home
    done = typed(User("man"), "instance", "list", home=home)
    assert done.code == 1
    assert "takes the role viewer, and you have none" in done.stderr


def test_an_act_beyond_a_role_is_refused_and_changes_nothing(served: Steered) -> None:
    home = served.ca.home
    done = typed(VIEWER, "instance", "block", vm(1), home=home)
    assert done.code == 1
    assert done.stderr.endswith("Error: instance.block takes the role helpdesk, and yours is viewer\n")
    assert json.loads(typed(ROOT, "instance", "show", vm(1), "--json", home=home).stdout)["blocked"] is None


@pytest.mark.parametrize(
    "words",
    [
        "issuer list",
        "prune",
        "backup x",
        "issuer rotate prepare",
        "certificate revoke --cert /etc/hostname",
    ],
)
def test_what_is_no_act_takes_a_user_who_may_open_the_home(served: Steered, words: str) -> None:
    home = served.ca.home
    done = typed(ADMINISTRATOR, *shlex.split(words), home=home)
    assert done.code == 1, done.stderr
    assert f"this takes a user who may open the CA's home {home}" in done.stderr


def test_a_home_that_is_named_and_not_there_is_no_other_ca(served: Steered) -> None:
    done = typed(ADMINISTRATOR, "--home", served.socket.with_name("nowhere"), "instance", "list")
    assert done.code == 1
    assert "nowhere/ca.toml does not exist" in done.stderr


def test_the_url_comes_first_and_the_home_is_not_looked_at(served: Steered) -> None:
    url = f"unix:{served.socket}"
    ways: list[tuple[tuple[str, ...], dict[str, str]]] = [
        (("--admin-url", url, "instance", "list"), {}),
        (("instance", "list", "--admin-url", url), {}),
        (("instance", "list"), {"ACME_IID_CA_ADMIN_URL": url}),
    ]
    for arguments, env in ways:
        for user, role in ((ROOT, "administrator"), (VIEWER, "viewer")):
            done = typed(user, *arguments, env=env)
            assert done.code == 0, done.stderr
            assert done.stderr == f"Asked at {url} as {user.name or 'root'}, with the role {role}.\n"
            assert vm(1) in done.stdout
    refused = typed(ROOT, "--admin-url", url, "prune", home=served.ca.home)
    assert (refused.code, "--admin-url is for what a server can be asked for" in refused.stderr) == (2, True)


def test_reload_asks_the_server_also_for_root(served: Steered) -> None:
    home = served.ca.home
    before = sum("was reloaded" in line for line in served.ca.log)
    for number, user in enumerate((ROOT, ADMINISTRATOR), 1):
        done = typed(user, "reload", "--reason", "for a test", home=home)
        assert done.code == 0, done.stderr
        assert done.stdout.startswith("The server was asked at ")
        deadline = time.monotonic() + SECONDS
        while sum("was reloaded" in line for line in list(served.ca.log)) < before + number:
            assert time.monotonic() < deadline, served.ca.log
            time.sleep(0.05)
    served.until_answered()
    asked = json.loads(typed(VIEWER, "events", "--kind", "server.reload_asked", "--json", home=home).stdout)
    assert [(row["actor"]["user"], row["actor"]["reason"]) for row in asked] == [
        ("sys", "for a test"), ("root", "for a test")
    ]  # fmt: skip
    refused = typed(OPERATOR, "reload", home=home)
    assert "server.reload takes the role administrator, and yours is operator" in refused.stderr


def test_events_are_followed_by_the_socket_as_they_come(served: Steered) -> None:
    home = served.ca.home
    process = subprocess.Popen(
        command("events", "--follow"), env=environment(home), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **VIEWER.who(),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == asked_by(VIEWER, "viewer", served.socket)
        # It begins behind what was there when it asked; until then there may be nothing to see.
        os.set_blocking(process.stdout.fileno(), False)
        deadline, found = time.monotonic() + SECONDS, ""
        while '"account_key.added"' not in found and '"kind"' not in found:
            assert time.monotonic() < deadline
            typed(OPERATOR, "eab", "add", home=home)
            with suppress(BlockingIOError):  # nothing has come yet
                found += os.read(process.stdout.fileno(), 1 << 20).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 130
    finally:
        process.kill()
        process.communicate()
    first = json.loads(found.splitlines()[0])
    lines = typed(ROOT, "events", "--limit", "1000", "--json", home=home).stdout
    assert any(row["seq"] == first["seq"] for row in json.loads(lines))
