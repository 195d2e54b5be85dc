"""Each command either changes something, asks why, and leaves an event with who ran it; or it changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import issued
import postgresql
import pytest
from acting import authority_of
from cli_commands import commands
from click.testing import CliRunner, Result
from company_cas import Company, pem
from cryptography import x509
from rotating import pass_time, prepare
from running import CA, PROVISIONER
from writing import add_order, key, put

from acme_iid.authority.challenges import OF_ANOTHER_KEY
from acme_iid.cli import main
from acme_iid.cli.acting import Reason
from acme_iid.config import ca_toml
from acme_iid.issuance import ceremony, keys, root_crl
from acme_iid.issuance import home as files
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.operations import issuers, roots, rotation
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import PublicKey
from acme_iid.protocol.resources import Authorization, Instance, Order
from acme_iid.store import certificates, instances
from acme_iid.store.chain import Event
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Statement

READING = {
    "account list", "account show", "certificate list", "certificate show", "check", "console", "eab list", "events",
    "fingerprint", "instance list", "instance show", "issuer list", "issuer roots list", "issuer status",
    "policy show", "provisioner list", "provisioner test", "status", "store servers", "store sinks", "why",
    # With a root's key, where there need be no CA; what they write changes nothing before it is imported or added.
    "issuer root-crl sign", "issuer roots link",
    # A CA of their own that is thrown away, and no CA at all.
    "demo", "metadata",
}  # fmt: skip
"""Commands that change nothing of the CA's."""
OWNER = "123456789042"
WHY = "ticket 17"
NAME = "n0.local"


def vm(number: int) -> str:
    return f"aws:aws:{OWNER}:us-west-2:i-{number:017x}"


@dataclass
class Stage:
    """A CA that has started once, and has a certificate of an instance.

    :ivar folder: for further files.
    """

    home: Path
    folder: Path
    serial: str = ""

    def run(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(main, ["--home", str(self.home), *map(str, arguments)])

    def do(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def open(self) -> Database:
        return open_store(ca_toml.load(self.home).store.url)

    def file(self, name: str, content: bytes | str) -> Path:
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.folder / name

    def root(self) -> Signer:
        return Signer(files.load_roots(self.home)[0], keys.load(self.home / files.ROOT_KEY, None))

    def other_root(self) -> tuple[Path, Path]:
        """A root that the CA does not know, and its key."""
        root = ceremony.create_root("Other CA", int(time.time()))
        secret = self.file("other.key", keys.to_pem(root.key))
        secret.chmod(0o600)
        return self.file("other.pem", to_pem(root.certificate)), secret

    def announced(self) -> str:
        """The fingerprint of a root that is announced."""
        certificate = files.load_certificate(self.other_root()[0])
        link = self.file("link.pem", to_pem(ceremony.link(self.root(), certificate, int(time.time()))))
        with closing(self.open()) as database:
            roots.add(ca_toml.load(self.home), database, self.folder / "other.pem", link, int(time.time()))
        return fingerprint(certificate)

    def rebuilt(self) -> None:
        """Have the instance be refused, since it comes with another key."""
        detail = {
            "step": "first use",
            "reason": OF_ANOTHER_KEY,
            "proven": True,
            "thumbprint": "n" * 43,
            "binding": "nonce",
        }
        event = Event("challenge.refused", int(time.time()) - 60, account_id="b", instance=key(vm(0)), detail=detail)
        with closing(self.open()) as database:
            put(database, events=[event])

    def answered(self, csr: Path) -> Path:
        """The chain by which a company answers a request."""
        public = x509.load_pem_x509_csr(csr.read_bytes()).public_key()
        assert isinstance(public, PublicKey)
        return self.file("chain.pem", pem(*Company(public, int(time.time())).chain()))


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """What each test has a copy of."""
    ca = CA(tmp_path_factory.mktemp("acts") / "ca")
    ca.init(in_a_file=True)
    with authority_of(ca.home) as authority:
        database, now = authority.database, int(time.time())
        roots.load(authority.config, database, None, now)
        issuers.begin(database, authority.ca, now)
        issued.prepare(database, now)
        made = issued.issue(database, NAME, at=now - 3600, instance=vm(0), image="ami-1", der=issued.leaf())
        word = vm(0).rpartition(":")[2]
        put(
            database,
            instances.use(Instance(vm(0), "aws", OWNER, word, "a", "o" * 43, None, now - 7200, now - 7200)),
            Statement("UPDATE certificates SET issuer_id = :id", {"id": authority.ca.current.id}),
            Statement("DELETE FROM issuers WHERE id = :id", {"id": issued.ISSUER}),
        )
    return Stage(ca.home, ca.home.parent, made.serial)


@pytest.fixture
def stage(pattern: Stage, tmp_path: Path) -> Iterator[Stage]:
    shutil.copytree(pattern.home, tmp_path / "ca")
    before = os.umask(0o022)
    yield Stage(tmp_path / "ca", tmp_path, pattern.serial)
    os.umask(before)  # which backup and restore set for their own process


Words = list[str | Path]


def imported(stage: Stage) -> Words:
    stage.home = stage.folder / "new"
    stage.do("init", "--csr", stage.folder / "ca.csr")
    return [stage.answered(stage.folder / "ca.csr")]


def root_list(stage: Stage) -> Words:
    now = int(time.time())
    return [stage.file("root.crl", root_crl.sign(stage.root(), [], "superseded", None, now, 86400))]


def new_root(stage: Stage) -> Words:
    return [stage.other_root()[0], "--without-link"]


def former(stage: Stage) -> Words:
    """An issuer that another one follows."""
    following = prepare(stage.home)
    with closing(stage.open()) as database:
        activated = rotation.activate(ca_toml.load(stage.home), database, following, None, int(time.time()))
        pass_time(database)
    return [activated.former[:16]]


def under_another_root(stage: Stage) -> Words:
    certificate, root_key = stage.other_root()
    return ["--root-cert", certificate, "--root-key", root_key, stage.folder / "alternate.pem"]


def blocked(stage: Stage) -> Words:
    stage.do("instance", "block", vm(0))
    return [vm(0)]


def closed(stage: Stage) -> Words:
    with closing(stage.open()) as database:
        put(database, *certificates.close_names(vm(0), [Identifier("dns", NAME)], int(time.time())))
    return [vm(0), NAME]


def external_key(stage: Stage) -> Words:
    return [json.loads(stage.do("eab", "add", "--json"))["key_id"]]


def come_again(stage: Stage) -> Words:
    stage.rebuilt()
    return ["--owner", OWNER, "--yes"]


def ended(stage: Stage) -> Words:
    long_ago = int(time.time()) - 1_000_000
    with closing(stage.open()) as database:
        name = Identifier("dns", NAME)
        never = Authorization("", "a", name, False, long_ago, long_ago + 60, ())
        add_order(database, Order("", "a", (name,), long_ago, long_ago + 60, authorizations=(never,)))
    return []


def backed_up(stage: Stage) -> Words:
    stage.do("backup", stage.folder / "backup.tar")
    stage.home = stage.folder / "restored"
    return [stage.folder / "backup.tar"]


def new_home(stage: Stage) -> Words:
    stage.home = stage.folder / "new"
    return []


ACTS: dict[str, tuple[Callable[[Stage], Words], set[str]]] = {
    "account deactivate": (lambda _: ["a"], {"account.deactivated"}),
    "backup": (lambda stage: [stage.folder / "backup.tar"], {"backup.written"}),
    "bulk block": (lambda _: ["--owner", OWNER, "--yes"], {"instance.blocked"}),
    "bulk release": (come_again, {"instance.released"}),
    "bulk renew-now": (lambda _: ["--owner", OWNER, "--yes"], {"certificate.renewal_asked"}),
    "bulk revoke": (lambda _: ["--owner", OWNER, "--yes"], {"certificate.revoked"}),
    "certificate renew-now": (lambda _: ["--owner", OWNER], {"certificate.renewal_asked"}),
    "certificate revoke": (lambda stage: [str(int(stage.serial, 16))], {"certificate.revoked"}),
    "cross-sign": (under_another_root, {"issuer.cross_signed"}),
    "eab add": (lambda _: [], {"external_key.added"}),
    "eab revoke": (external_key, {"external_key.revoked"}),
    "init": (new_home, {"ca.made"}),
    "instance block": (lambda _: [vm(0)], {"instance.blocked"}),
    "instance release": (lambda _: [vm(0), "--to", "n" * 43], {"instance.released"}),
    "instance reopen": (closed, {"instance.reopened"}),
    "instance unblock": (blocked, {"instance.unblocked"}),
    "issuer import": (imported, {"issuer.imported"}),
    "issuer root-crl import": (root_list, {"root_list.imported"}),
    "issuer roots add": (new_root, {"root.added"}),
    "issuer roots drop": (lambda stage: [stage.announced()], {"root.dropped"}),
    "issuer roots use": (lambda stage: [stage.announced()], {"root.used"}),
    "issuer rotate activate": (lambda stage: [prepare(stage.home)], {"issuer.activated"}),
    "issuer rotate compromised": (lambda stage: [prepare(stage.home)], {"issuer.compromised"}),
    "issuer rotate prepare": (lambda _: [], {"issuer.prepared"}),
    "issuer rotate retire": (lambda stage: [*former(stage), "--while-valid"], {"issuer.retired"}),
    "provisioner add": (lambda _: ["Web", "--type", "AWS", "--aws-account", OWNER], {"configuration.changed"}),
    "provisioner remove": (lambda _: [PROVISIONER], {"configuration.changed"}),
    "provisioner update": (lambda _: [PROVISIONER, "--region", "eu-west-1"], {"configuration.changed"}),
    "prune": (ended, {"store.pruned"}),
    "restore": (backed_up, {"store.restored"}),
    "serving-certificate": (
        lambda stage: ["--key", stage.folder / "proxy.key", "--out", stage.folder / "proxy.pem"],
        {"serving_certificate.issued"},
    ),
}
"""Commands that change something: what they are given on a stage, and the kinds of events that they leave."""
ELSEWHERE = {"reload", "serve", "store migrate"}
"""Those for which a test of their own is below; that of reload is in tests/stories/steered, as it takes a server."""


def asks_why(command: click.Command) -> str | None:
    """The option by which a command is told the reason."""
    asking = [name for option in command.params if isinstance(option.type, Reason) for name in option.opts]
    return next((name for name in asking if name in ("--reason", "--note")), None)


def test_each_command_has_its_place() -> None:
    found = dict(commands(main))
    changing = set(ACTS) | ELSEWHERE
    assert set(found) == READING | changing
    assert not READING & changing
    assert {name for name, command in found.items() if asks_why(command)} == changing


def by_who(stage: Stage) -> list[tuple[str, dict[str, object]]]:
    """The kinds of the events whose actor has said why, with the actor."""
    shown = json.loads(stage.do("events", "--json", "--limit", "1000"))
    found = [(event["kind"], event["actor"]) for event in shown if "actor" in event]
    return [(kind, actor) for kind, actor in found if actor.get("reason") == WHY]


@pytest.mark.parametrize("name", ACTS)
def test_an_act_leaves_its_event_with_who_did_it_and_why(stage: Stage, name: str) -> None:
    prepared, expected = ACTS[name]
    option = asks_why(dict(commands(main))[name])
    assert option is not None
    arguments = prepared(stage)
    stage.do(*name.split(), *arguments, option, WHY)
    stage.do("eab", "add")  # which records what still waits for the store
    found = by_who(stage)
    assert {kind for kind, _ in found} == expected
    assert all((actor["via"], actor["uid"]) == ("direct", os.getuid()) for _, actor in found)


def test_a_request_for_the_next_issuer_is_an_act(stage: Stage) -> None:
    stage.do("issuer", "rotate", "prepare", "--csr", stage.folder / "next.csr", "--reason", WHY)
    assert [kind for kind, _ in by_who(stage)] == ["issuer.requested"]


def test_a_store_that_is_moved_says_who_moved_it(stage: Stage) -> None:
    url = postgresql.cluster().create()
    stage.do("store", "migrate", "--to", url, "--reason", WHY)
    assert by_who(stage) == []  # the file stays as it is
    file = stage.home / "ca.toml"
    file.write_text(file.read_text().replace('"sqlite:ca.db"', f'"{url}"'))
    assert [kind for kind, _ in by_who(stage)] == ["store.moved"]
    stage.do("events", "--check")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[CA]:
    """A CA that was made for a reason, and has not started."""
    ca = CA(tmp_path / "ca")
    ca.init(made_with=("--reason", WHY))
    yield ca
    if ca.process is not None:
        ca.kill()


def test_the_first_start_records_who_made_the_ca_first(served: CA) -> None:
    file = served.home / "ca.toml"
    file.write_text(file.read_text().replace("[ca]", '[ca]\nwebsite = "https://ca.example/"', 1))
    served.cli("provisioner", "update", PROVISIONER, "--region", "eu-west-1", "--reason", "moved")
    served.start("--workers", "2", "--reason", "first")
    shown = json.loads(served.cli("events", "--json").stdout)[::-1]
    said = [(event["kind"], event.get("actor", {}).get("reason")) for event in shown]
    assert [entry for entry in said if entry[1] is not None] == [
        ("ca.made", WHY), ("configuration.changed", "moved"), ("server.started", "first"),
    ]  # fmt: skip
    assert said[0] == ("ca.made", WHY)
    (changed,) = (event for event in shown if event.get("actor", {}).get("reason") == "moved")
    assert '+ provisioner["AWS IID Provisioner"].regions = ["eu-west-1"]' in changed["difference"]
    changes = [event for event in shown if event["kind"] == "configuration.changed"]
    hashes = [shown[0]["configuration"], *(event["after"] for event in changes)]
    assert [event["before"] for event in changes] == hashes[:-1]
    (by_hand,) = (event for event in changes if event["difference"] == ['+ ca.website = "https://ca.example/"'])
    assert "actor" not in by_hand
    assert not any((served.home / "acts").iterdir())


def test_what_is_done_without_the_store_is_recorded_later(stage: Stage) -> None:
    file = stage.home / "ca.toml"
    text = file.read_text()
    away = '"postgresql://nobody@127.0.0.1:1/none"'
    file.write_text(text.replace('"sqlite:ca.db"', away))
    done = stage.run("provisioner", "update", PROVISIONER, "--region", "eu-west-1", "--reason", WHY)
    assert (done.exit_code, "waits in the home for the record" in done.stderr) == (0, True), done.output
    file.write_text(file.read_text().replace(away, '"sqlite:ca.db"'))
    assert by_who(stage) == []
    stage.do("eab", "add")
    assert [kind for kind, _ in by_who(stage)] == ["configuration.changed"]
