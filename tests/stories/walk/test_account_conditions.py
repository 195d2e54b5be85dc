"""What a CA makes a condition of an account, and what the client does about it: both are the real ones."""

from __future__ import annotations

import json
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from machine import Machine, ec2_machine
from running import ACCOUNT, CA, Outcome

from acme_iid.simulator import aws
from acme_iid_client.clouds import enrolled

OLD, NEW = "https://ca.local/terms/1", "https://ca.local/terms/2"


def configure(ca: CA, line: str) -> None:
    """Add a line to [ca]."""
    toml = ca.home / "ca.toml"
    toml.write_text(toml.read_text().replace("[server]", f"{line}\n\n[server]", 1))


@dataclass
class Change:
    """A CA whose terms change, or go."""

    ca: CA

    def to(self, url: str) -> None:
        if self.ca.process is not None:
            self.ca.stop()
        toml = self.ca.home / "ca.toml"
        toml.write_text(toml.read_text().replace(OLD, url))
        self.ca.start("--workers", "1")


@pytest.fixture
def terms(own_ca: CA) -> Change:
    configure(own_ca, f'terms_of_service = "{OLD}"')
    own_ca.start("--workers", "1")
    return Change(own_ca)


@pytest.fixture
def keyed(own_ca: CA) -> CA:
    """A CA where an account takes an external key."""
    configure(own_ca, "external_account_required = true")
    own_ca.start("--workers", "1")
    return own_ca


@pytest.fixture
def vm(tmp_path: Path, instance: aws.Instance) -> Iterator[Machine]:
    with ec2_machine(tmp_path / "vm", instance) as machine:
        yield machine


@dataclass
class Key:
    """An external account key, as an operator hands it out."""

    kid: str
    secret: str
    file: Path

    @property
    def options(self) -> tuple[str | Path, ...]:
        return "--eab-kid", self.kid, "--eab-hmac-key-file", self.file


def new_key(ca: CA, folder: Path, *options: str) -> Key:
    made = json.loads(ca.cli("eab", "add", "--json", *options).stdout)
    file = folder / f"{made['key_id']}.key"
    file.touch(0o600)
    file.write_text(made["hmac_key"] + "\n")
    return Key(made["key_id"], made["hmac_key"], file)


def events(ca: CA, kind: str) -> list[dict[str, object]]:
    """What the CA has recorded of a kind."""
    found = json.loads(ca.cli("events", "--json", "--limit", "1000").stdout)
    return [event for event in found if event["kind"] == kind]


def try_order(vm: Machine, *options: str | Path) -> Outcome:
    return vm.try_("order", "foo.local", vm.crt, vm.key, "--force", *options)


def asks_for(done: Outcome, url: str) -> bool:
    """Whether the sentence names the terms, and says what to type."""
    return done.code >= 10 and url in done.stderr and "run this command again with --agree-tos" in done.stderr


@contextmanager
def copy_of(vm: Machine) -> Iterator[Machine]:
    """Another instance, started from a copy of the machine's disk."""
    with ec2_machine(vm.folder.with_name("copy"), aws.Instance(account=ACCOUNT)) as copy:
        for part in ("config", "state"):
            shutil.copytree(vm.folder / part, copy.folder / part)
        yield copy


def test_bootstrap_names_the_terms_and_agrees_to_nothing(vm: Machine, terms: Change) -> None:
    said = vm.bootstrap(terms.ca)
    assert f"The CA has terms of service: {OLD}" in said.stdout
    assert "--agree-tos" in said.stderr
    told = json.loads(vm.bootstrap(terms.ca, "--json").stdout)
    assert (told["terms_of_service"], told["terms_of_service_agreed"]) == (OLD, False)
    assert asks_for(try_order(vm), OLD)
    assert not vm.crt.exists()
    assert events(terms.ca, "account.created") == []


def test_terms_that_bootstrap_agreed_to_are_agreed_to_by_the_order(vm: Machine, terms: Change) -> None:
    said = vm.bootstrap(terms.ca, "--agree-tos")
    assert f"terms of service have been agreed to: {OLD}" in said.stdout
    assert json.loads(vm.bootstrap(terms.ca, "--json").stdout)["terms_of_service_agreed"] is True
    vm.order()
    assert vm.crt.exists()
    assert len(events(terms.ca, "account.created")) == 1


def test_an_order_that_agrees_is_remembered_for_the_next_account(vm: Machine, terms: Change) -> None:
    vm.bootstrap(terms.ca)
    vm.order("--agree-tos")
    with copy_of(vm) as copy:
        copy.run("order", "bar.local", copy.crt, copy.key)
    assert len(events(terms.ca, "account.created")) == 2


def test_an_agreement_to_other_terms_makes_no_account(vm: Machine, terms: Change) -> None:
    vm.bootstrap(terms.ca, "--agree-tos")
    terms.to(NEW)
    assert asks_for(try_order(vm), NEW)
    assert events(terms.ca, "account.created") == []
    vm.order("--agree-tos")


def test_changed_terms_are_agreed_to_when_told_and_the_order_goes_on(vm: Machine, terms: Change) -> None:
    vm.bootstrap(terms.ca, "--agree-tos")
    vm.order()
    terms.to(NEW)
    assert asks_for(try_order(vm), NEW)
    assert events(terms.ca, "account.agreed") == []
    vm.order("--agree-tos")
    vm.order()
    assert len(events(terms.ca, "account.agreed")) == 1
    assert len(events(terms.ca, "account.created")) == 1


def test_a_renewal_on_changed_terms_says_so_and_keeps_the_pair(vm: Machine, terms: Change) -> None:
    vm.bootstrap(terms.ca, "--agree-tos")
    vm.order()
    pair = vm.crt.read_bytes(), vm.key.read_bytes()
    terms.to(NEW)
    for command in ("renew", "rekey"):
        assert asks_for(vm.try_(command, "--force", vm.crt, vm.key), NEW)
        assert (vm.crt.read_bytes(), vm.key.read_bytes()) == pair
    assert events(terms.ca, "account.agreed") == []
    vm.run("renew", "--force", "--agree-tos", vm.crt, vm.key)
    assert vm.crt.read_bytes() != pair[0]
    vm.run("rekey", "--force", vm.crt, vm.key)
    assert vm.key.read_bytes() != pair[1]


def test_a_daemon_goes_on_with_what_was_agreed_to_beside_it(
    terms: Change, tmp_path: Path, instance: aws.Instance
) -> None:
    with ec2_machine(tmp_path / "vm", instance) as vm:
        vm.bootstrap(terms.ca, "--agree-tos")
        vm.order()
        terms.to(NEW)
        refused = vm.try_("renew", "--daemon", "--agree-tos")
        assert refused.code == 2
        assert "acme-iid renew --agree-tos" in refused.stderr
        with vm.stay("--force") as daemon:
            daemon.wait_for(NEW)
            assert events(terms.ca, "account.agreed") == []
            vm.bootstrap(terms.ca, "--agree-tos")
            before = vm.crt.read_bytes()
            daemon.send(signal.SIGHUP)
            daemon.wait_for("certificate renewed")
            assert vm.crt.read_bytes() != before
            assert daemon.stop() == 0


def test_an_enrolment_meets_the_terms_like_an_order(vm: Machine, terms: Change) -> None:
    vm.bootstrap(terms.ca)
    assert asks_for(vm.try_("enroll", "web.foo.local"), OLD)
    assert "hmac_key" in vm.run("enroll", "web.foo.local", "--format", "json", "--agree-tos").stdout
    terms.to(NEW)
    assert NEW in vm.try_("enroll", "--renew").stderr
    vm.run("enroll", "--renew", "--agree-tos")


def test_a_ca_that_was_never_bootstrapped_is_agreed_with_too(vm: Machine, terms: Change) -> None:
    ca = ("--ca-url", terms.ca.url, "--root", terms.ca.root)
    assert asks_for(try_order(vm, *ca), OLD)
    vm.order(*ca, "--agree-tos")
    vm.run("renew", "--force", vm.crt, vm.key, *ca)
    assert not (vm.folder / "config").exists()


def test_terms_that_are_gone_ask_for_nothing(vm: Machine, terms: Change) -> None:
    toml = terms.ca.home / "ca.toml"
    terms.ca.stop()
    toml.write_text(toml.read_text().replace(f'terms_of_service = "{OLD}"\n', ""))
    terms.ca.start("--workers", "1")
    said = vm.bootstrap(terms.ca, "--agree-tos")
    assert "terms of service" not in said.stdout + said.stderr
    assert json.loads(vm.bootstrap(terms.ca, "--json").stdout)["terms_of_service"] is None
    vm.order("--agree-tos")
    assert not (vm.folder / "state" / "conditions").exists()


def test_a_ca_that_wants_a_key_is_answered_with_a_sentence_without_one(vm: Machine, keyed: CA) -> None:
    vm.bootstrap(keyed)
    refused = try_order(vm)
    assert refused.code >= 10
    assert "acme-iid-ca eab add" in refused.stderr
    assert "--eab-kid and --eab-hmac-key-file" in refused.stderr
    assert not vm.crt.exists()


def test_bootstrap_keeps_the_external_key_private_for_the_first_order(vm: Machine, keyed: CA, tmp_path: Path) -> None:
    key = new_key(keyed, tmp_path)
    said = vm.run("bootstrap", "--ca-url", keyed.url, "--fingerprint", keyed.fingerprint, *key.options)
    key.file.unlink()
    done = vm.order()
    for text in (said.stdout, said.stderr, done.stdout, done.stderr, *keyed.log):
        assert key.secret not in text
    (kept,) = (file for file in vm.folder.rglob("*") if file.is_file() and key.secret in file.read_text("latin-1"))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (used,) = json.loads(keyed.cli("eab", "list", "--json").stdout)
    assert (used["key_id"], used["account"]) == (key.kid, events(keyed, "account.created")[0]["account"])


def test_a_reusable_key_makes_the_account_of_the_next_instance_too(vm: Machine, keyed: CA, tmp_path: Path) -> None:
    key = new_key(keyed, tmp_path, "--reusable")
    vm.bootstrap(keyed)
    vm.order(*key.options)
    with copy_of(vm) as copy:
        copy.run("order", "bar.local", copy.crt, copy.key)
    assert len(events(keyed, "account.created")) == 2


def test_a_spent_key_is_refused_with_a_word_about_where_it_is_kept(vm: Machine, keyed: CA, tmp_path: Path) -> None:
    vm.bootstrap(keyed)
    vm.order(*new_key(keyed, tmp_path).options)
    with copy_of(vm) as copy:
        refused = copy.try_("order", "bar.local", copy.crt, copy.key)
        assert refused.code >= 10
        assert "used before" in refused.stderr
        (kept,) = (copy.folder / "state" / "conditions").rglob("external_account_key.json")
        assert f"kept in {kept}" in refused.stderr
        copy.run("order", "bar.local", copy.crt, copy.key, *new_key(keyed, tmp_path).options)


def test_a_wrong_key_is_refused_and_not_kept(vm: Machine, keyed: CA, tmp_path: Path) -> None:
    vm.bootstrap(keyed)
    good, other = new_key(keyed, tmp_path), new_key(keyed, tmp_path)
    refused = try_order(vm, "--eab-kid", good.kid, "--eab-hmac-key-file", other.file)
    assert refused.code >= 10
    assert "binding is not made with it" in refused.stderr
    assert other.secret not in refused.stderr
    assert not (vm.folder / "state" / "conditions").exists()
    vm.order(*good.options)


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        ("short", 0o600, "does not hold an external account key"),
        ("A" * 41, 0o600, "does not hold an external account key"),
        ("A" * 42 + "!", 0o600, "does not hold an external account key"),
        ("A" * 5000, 0o600, "does not hold an external account key"),
        ("A" * 43, 0o644, "chmod 600"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_before_anything_is_sent(
    vm: Machine, tmp_path: Path, content: str, mode: int, complaint: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(mode)
    where = ("--ca-url", "https://127.0.0.1:9", "--fingerprint", "ab" * 32)
    refused = vm.try_("bootstrap", *where, "--eab-kid", "a", "--eab-hmac-key-file", file)
    assert refused.code >= 10
    assert complaint in refused.stderr
    assert content not in refused.stderr


def test_a_key_is_given_whole(vm: Machine) -> None:
    refused = vm.try_("order", "foo.local", "--eab-kid", "a")
    assert refused.code == 2
    assert "go together" in refused.stderr


def test_an_enrolled_user_agrees_itself_and_brings_no_other_key(vm: Machine, terms: Change, tmp_path: Path) -> None:
    vm.bootstrap(terms.ca)
    made = json.loads(vm.run("enroll", "web.foo.local", "--format", "json", "--agree-tos").stdout)
    user = Machine(tmp_path / "user", "http://127.0.0.1:9")
    user.folder.mkdir()
    user.bootstrap(terms.ca)
    enrolled.save(
        user.folder / "state",
        terms.ca.fingerprint,
        enrolled.EnrolledKey(terms.ca.url, made["enrolment"], tuple(made["names"]), made["kid"], made["hmac_key"]),
    )
    order = ("order", "web.foo.local", user.crt, user.key)
    refused = user.try_(*order, *new_key(terms.ca, tmp_path).options)
    assert refused.code >= 10
    assert "leave out --eab-kid" in refused.stderr
    assert asks_for(user.try_(*order), OLD)
    user.run(*order, "--agree-tos")
    assert len(events(terms.ca, "account.created")) == 2


def test_terms_and_a_key_are_both_met_at_once(vm: Machine, keyed: CA, tmp_path: Path) -> None:
    keyed.stop()
    configure(keyed, f'terms_of_service = "{OLD}"')
    keyed.start("--workers", "1")
    key = new_key(keyed, tmp_path)
    vm.bootstrap(keyed)
    assert asks_for(try_order(vm, *key.options), OLD)
    vm.order(*key.options, "--agree-tos")
    assert vm.crt.exists()
