"""A helpdesk on a machine without the CA's home lets a rebuilt VM in, and may do nothing else; an operator may more."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from operators import OperatorCA, Steered, User, role_table
from running import ACCOUNT, CA, SECONDS, Outcome
from strangers import Ground
from typed_commands import typed

from acme_iid.simulator import aws

DESK = "desk@example.com"
BOSS = "boss@example.com"


@dataclass(frozen=True)
class Person:
    """Somebody on another machine: a user without a home of any CA, with a certificate of the company's.

    :ivar folder: what they have: their own certificate and key, and the CA's roots.
    """

    steered: Steered
    user: User
    folder: Path

    def type(self, *words: str) -> Outcome:
        """Type a command of acme-iid-ca."""
        options = {
            "ACME_IID_CA_ADMIN_URL": f"https://127.0.0.1:{self.steered.port}",
            "ACME_IID_CA_ADMIN_CERT": str(self.folder / "own.pem"),
            "ACME_IID_CA_ADMIN_KEY": str(self.folder / "own.pem"),
            "ACME_IID_CA_ADMIN_CA": str(self.folder / "roots.pem"),
        }
        return typed(self.user, *words, env=options)


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    """A CA whose home nobody else may open, with an admin listener."""
    folder = tmp_path_factory.mktemp("helpdesk")
    ca = CA(folder / "ca")
    ca.init(in_a_file=True)
    one = Steered(ca, folder / "admin.sock")
    company = OperatorCA(name="Company Root").write(folder)
    one.configure(
        role_table("helpdesk", certificates=[DESK]), role_table("operator", certificates=[BOSS]), listen=company,
        group=None,
    )  # fmt: skip
    yield one
    if ca.process is not None:
        ca.stop()


def person(steered: Steered, company: OperatorCA, ground: Ground, user: str, name: str) -> Person:
    folder = ground.own / user
    folder.mkdir()
    company.operator(folder, name).rename(folder / "own.pem")
    (folder / "roots.pem").write_bytes(steered.ca.root.read_bytes())
    subprocess.run(["chown", "-R", user, folder], check=True)
    for file in folder.iterdir():
        file.chmod(0o400)
    return Person(steered, User(user, groups=()), folder)


@pytest.fixture(scope="module")
def people(steered: Steered, open_ground: Ground) -> tuple[Person, Person]:
    """A helpdesk and an operator; the CA is served."""
    company = OperatorCA(name="Company Root")
    steered.configure(
        role_table("helpdesk", certificates=[DESK]), role_table("operator", certificates=[BOSS]),
        listen=company.write(open_ground.own), group=None,
    )  # fmt: skip
    steered.ca.start()
    desk = person(steered, company, open_ground, "games", DESK)
    boss = person(steered, company, open_ground, "man", BOSS)
    deadline = time.monotonic() + SECONDS
    while desk.type("account", "list").code:
        assert time.monotonic() < deadline, steered.ca.log
        time.sleep(0.2)
    return desk, boss


@pytest.fixture(scope="module")
def vm(steered: Steered, people: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A VM that has a certificate."""
    del people
    with ec2_machine(tmp_path_factory.mktemp("vm") / "vm", aws.Instance(account=ACCOUNT)) as made:
        made.bootstrap(steered.ca)
        made.order()
        yield made


@pytest.fixture(scope="module")
def rebuilt(steered: Steered, vm: Machine) -> Machine:
    """The same VM without its account key."""
    again = replace(vm, folder=vm.folder / "rebuilt")
    again.folder.mkdir()
    again.bootstrap(steered.ca)
    return again


def test_the_home_is_closed_to_both_and_a_socket_is_not_there(people: tuple[Person, Person], steered: Steered) -> None:
    for one in people:
        done = typed(one.user, "instance", "list", home=steered.ca.home)
        assert done.code == 1
        assert "you may not open the CA's home" in done.stderr
        assert "there is no admin socket /run/acme-iid-ca/admin.sock" in done.stderr


def test_a_helpdesk_lets_a_rebuilt_vm_in_by_the_command_that_it_was_told(
    people: tuple[Person, Person], steered: Steered, rebuilt: Machine
) -> None:
    desk, _ = people
    refused = rebuilt.try_("order", "foo.local", rebuilt.crt, rebuilt.key, "--force")
    assert refused.code >= 10
    told = re.search(r"acme-iid-ca (instance release (\S+) --to (\S+))", refused.stderr)
    assert told is not None
    why = desk.type("why", told[2])
    assert told[1] in why.stdout
    done = desk.type(*shlex.split(told[1]), "--reason", "ticket 4711")
    assert done.code == 0, done.stderr
    assert done.stdout.startswith(f"Instance {told[2]} is released to the key {told[3]} until ")
    assert done.stderr == f"Asked at https://127.0.0.1:{steered.port} as {DESK}, with the role helpdesk.\n"
    assert rebuilt.order().code == 0


def test_a_helpdesk_may_do_nothing_else(people: tuple[Person, Person], vm: Machine) -> None:
    desk, _ = people
    whole = json.loads(desk.type("instance", "list", "--json").stdout)[0]["instance"]
    account = json.loads(desk.type("account", "list", "--json").stdout)[0]["account"]
    before = json.loads(desk.type("events", "--json").stdout)[0]["seq"]
    # Ten refusals in a minute would lock the caller out.
    refused = {
        f"instance release {whole} --to {'n' * 43} --revoke": "operator",
        f"instance block {whole} --revoke": "operator",
        f"account deactivate {account}": "operator",
        "certificate revoke 17": "operator",
        "eab add": "operator",
        "bulk block --all --yes": "operator",
        "check": "administrator",
        "reload": "administrator",
    }
    for words, role in refused.items():
        done = desk.type(*words.split())
        assert (done.code, done.stdout) == (1, ""), words
        assert f"takes the role {role}, and yours is helpdesk" in done.stderr, words
    assert json.loads(desk.type("events", "--json").stdout)[0]["seq"] == before
    direct = desk.type("prune")
    assert "ca.toml does not exist" in direct.stderr
    del vm


def test_an_operator_ends_an_account_and_each_act_names_its_actor(
    people: tuple[Person, Person], steered: Steered, vm: Machine, rebuilt: Machine
) -> None:
    desk, boss = people
    account = json.loads(boss.type("account", "list", "--json").stdout)[0]["account"]
    done = boss.type("account", "deactivate", account, "--reason", "leaver")
    assert (done.code, done.stdout) == (0, f"The account {account} is deactivated.\n")
    assert rebuilt.try_("order", "foo.local", rebuilt.crt, rebuilt.key, "--force").code >= 10
    events = json.loads(desk.type("events", "--json", "--limit", "1000").stdout)
    actors = {row["kind"]: row["actor"] for row in events if row.get("actor", {}).get("via") == "tls"}
    host = {"via": "tls", "host": "127.0.0.1"}
    assert actors == {
        "instance.released": {**host, "user": DESK, "role": "helpdesk", "reason": "ticket 4711"},
        "account.deactivated": {**host, "user": BOSS, "role": "operator", "reason": "leaver"},
    }
    shown = steered.ca.cli("events").stdout
    assert DESK in shown
    assert BOSS in shown
    del vm


def test_a_vms_own_certificate_is_no_operators(people: tuple[Person, Person], vm: Machine) -> None:
    desk, _ = people
    other = replace(desk, folder=desk.folder.with_name("vm"))
    other.folder.mkdir()
    (other.folder / "own.pem").write_bytes(vm.crt.read_bytes() + vm.key.read_bytes())
    (other.folder / "roots.pem").write_bytes((desk.folder / "roots.pem").read_bytes())
    done = other.type("instance", "list")
    assert done.code == 1
    assert "does not believe the certificate of --admin-cert" in done.stderr


def test_a_server_that_is_not_the_cas_gets_no_request(people: tuple[Person, Person], tmp_path: Path) -> None:
    desk, _ = people
    other = replace(desk, folder=desk.folder.with_name("other"))
    other.folder.mkdir()
    (other.folder / "own.pem").write_bytes((desk.folder / "own.pem").read_bytes())
    OperatorCA(name="Another Root").write(tmp_path).rename(other.folder / "roots.pem")
    (other.folder / "own.pem").chmod(0o444)
    done = other.type("instance", "block", "i-05e360db6e50b5eda")
    assert done.code == 1
    assert "is not the CA's" in done.stderr
