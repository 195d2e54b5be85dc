"""A refusal that only an operator can change is asked about again after hours; SIGHUP and --force ask at once."""

from __future__ import annotations

import re
import signal

import pytest
from enrolling import whole_id
from machine import Machine
from running import CA

from acme_iid.simulator import aws
from acme_iid_client.acme.connection import CaError
from acme_iid_client.renewal import refusals


def test_a_blocked_machine_asks_again_after_hours_and_says_so_once(
    vm: Machine, shared_ca: CA, instance: aws.Instance
) -> None:
    shared_ca.cli("instance", "block", whole_id(instance))
    with vm.stay() as daemon:
        daemon.wait_for("first renewal in")
        daemon.send(signal.SIGHUP)
        line = daemon.wait_for("renewal refused")
        assert re.search(r"only an operator can change that: next try in 1h\d+m\d+s, or on SIGHUP", line), line
        assert "blocked" in line
        shared_ca.cli("instance", "unblock", whole_id(instance))
        vm.run("order", "bar.local", vm.folder / "bar.crt", vm.folder / "bar.key")
        assert "bar.crt" in daemon.wait_for("first renewal in")
        assert sum("refused" in said for said in daemon.lines) == 1
        assert not any("certificate renewed" in said for said in daemon.lines)
        daemon.send(signal.SIGHUP)
        daemon.wait_for("certificate renewed", count=2)
        assert daemon.stop() == 0


def test_a_refusal_is_kept_for_daemons_and_timers_that_start_anew(
    own_ca: CA, machine: Machine, instance: aws.Instance
) -> None:
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    machine.run("revoke", "--cert", machine.crt)
    due = ("renew", "--expires-in", "30h", machine.crt, machine.key)
    refused = machine.try_(*due)
    assert refused.code != 0
    assert "closed to this instance" in refused.stderr
    # Whatever asks this CA from now on does not reach it.
    own_ca.stop()
    again = machine.try_(*due)
    assert again.code == refused.code
    assert "closed to this instance" in again.stderr
    assert "The CA is asked again from" in again.stderr
    with machine.stay("--expires-in", "30h", machine.crt, machine.key) as daemon:
        assert "closed to this instance" in daemon.wait_for("renewal refused")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("cannot be reached")
        assert daemon.stop() == 0
    assert "cannot be reached" in machine.try_("renew", "--force", machine.crt, machine.key).stderr
    own_ca.start()
    own_ca.cli("instance", "reopen", whole_id(instance), "foo.local")
    assert machine.try_(*due).code == refused.code, "until the time is over, or somebody says so"
    machine.run("renew", "--force", machine.crt, machine.key)
    machine.run(*due)


def test_a_refusal_is_about_the_certificate_that_was_there(own_ca: CA, machine: Machine) -> None:
    own_ca.start()
    machine.bootstrap(own_ca)
    machine.order()
    machine.run("revoke", "--cert", machine.crt)
    due = ("renew", "--expires-in", "30h", machine.crt, machine.key)
    assert "closed to this instance" in machine.try_(*due).stderr
    machine.run("order", "bar.local", machine.crt, machine.key, "--force")
    machine.run(*due)


@pytest.mark.parametrize(
    ("code", "text", "lasts"),
    [
        ("unauthorized", "refused at step 'admission': an operator blocked this instance", True),
        ("unauthorized", "refused at step 'names': foo.local is not among the names", True),
        ("unauthorized", "refused at step 'first use': this instance belongs to another account key", True),
        ("unauthorized", "the account is deactivated", True),
        ("rejectedIdentifier", "no provisioner gives foo.local", True),
        ("invalidProfile", "no provisioner that may give foo.local gives the profile", True),
        ("externalAccountRequired", "this CA makes accounts for external keys only", True),
        ("unauthorized", "refused at step 'freshness': started too long ago; an operator lets it in with: ...", True),
        ("unauthorized", "refused at step 'freshness': the token expired 7 seconds ago; fetch a new one", False),
        ("unauthorized", "refused at step 'binding': the token is bound to another challenge", False),
        ("unauthorized", "the challenge was bound to the old one; order again", False),
        ("unauthorized", "the rules have changed since the name was proven: x; make a new order", False),
        ("rateLimited", "too many orders", False),
        ("serverInternal", "try again later", False),
        ("malformed", "an operator", False),
        ("", "the answer cannot be read", False),
    ],
)
def test_what_only_an_operator_changes(code: str, text: str, lasts: bool) -> None:
    assert refusals.lasts(CaError(f"The CA refused: {text}", code)) is lasts
