"""A key change in front of a CA that answers as a test says: which key is kept when, and which is not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from josepy.b64 import b64decode
from josepy.jwk import JWKEC
from machine import ec2_machine
from running import ACCOUNT
from scripted_ca import CUT, Reply, ScriptedCA, problem, serve

from acme_iid.simulator import aws
from acme_iid_client.storage import account_keys

Run = Callable[..., subprocess.CompletedProcess[str]]
NOBODYS = problem("accountDoesNotExist", "no account has this key", 400)


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        (tmp_path / "root.pem").write_bytes(running.root.pem)
        yield running


@pytest.fixture
def options(ca: ScriptedCA, tmp_path: Path, acme_iid: Run) -> Iterator[list[str]]:
    with ec2_machine(tmp_path / "vm", aws.Instance(account=ACCOUNT)) as machine:
        given = ["--ca-url", ca.url, "--root", "root.pem", "--metadata-url", machine.metadata]
        done = acme_iid("order", "foo.local", *given)
        assert done.returncode == 0, done.stderr
        ca.asked.clear()
        yield given


def the_key(tmp_path: Path) -> account_keys.Account:
    (file,) = (tmp_path / "state/acme-iid/accounts").glob("*/[!.]*.json")
    return account_keys.Account(file, "aws", account_keys.new_key()).reread()


def test_the_request_is_signed_by_both_keys_and_names_the_old_one(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    old = the_key(tmp_path)
    assert acme_iid("account", "rollover", *options).returncode == 0
    (inner,) = [payload for path, payload in ca.asked if path == "/acme/key-change"]
    header, change = (json.loads(b64decode(inner[part])) for part in ("protected", "payload"))
    assert header["url"] == f"{ca.url}/acme/key-change"
    assert "nonce" not in header
    assert "kid" not in header
    new = the_key(tmp_path)
    assert JWKEC.from_json(header["jwk"]) == new.key.public_key() != old.key.public_key()
    assert JWKEC.from_json(change["oldKey"]) == old.key.public_key()
    assert change["account"] == old.url == new.url


def test_a_change_that_the_ca_refuses_leaves_the_old_key_alone(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    old = the_key(tmp_path)
    ca.once["/acme/key-change"] = [problem("unauthorized", "not today")]
    ca.once["/acme/new-account"] = [NOBODYS]
    done = acme_iid("account", "rollover", *options)
    assert done.returncode >= 10
    assert "The CA refused the new account key: not today" in done.stderr
    assert the_key(tmp_path).thumbprint == old.thumbprint
    assert old.coming() is None


def test_a_change_that_is_refused_because_it_was_made_already_counts(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    old = the_key(tmp_path)
    # The answer was lost, and what is sent again is signed with a key that is nobody's now.
    ca.once["/acme/key-change"] = [Reply(CUT), problem("malformed", "the signature does not verify", 400)]
    assert acme_iid("account", "rollover", *options).returncode == 0
    assert the_key(tmp_path).thumbprint != old.thumbprint
    assert old.coming() is None


def test_an_unanswered_change_keeps_both_keys_until_the_new_one_is_known(
    acme_iid: Run, ca: ScriptedCA, options: list[str], tmp_path: Path
) -> None:
    old = the_key(tmp_path)
    ca.once["/acme/key-change"] = [Reply(CUT)] * 20
    ca.once["/acme/new-account"] = [NOBODYS]
    done = acme_iid("account", "rollover", *options)
    assert done.returncode >= 10
    kept = old.coming()
    assert kept is not None
    assert the_key(tmp_path).thumbprint == old.thumbprint
    # It arrived after all: what asks next learns it, before anything is signed with the old key.
    ca.asked.clear()
    assert acme_iid("account", "show", *options).returncode == 0
    assert the_key(tmp_path).thumbprint == account_keys.thumbprint(kept)
    assert "/acme/key-change" not in ca.paths()


def test_a_program_that_read_the_old_key_does_not_put_it_back(tmp_path: Path) -> None:
    old, _ = account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")
    new = account_keys.new_key()
    old.replaced(new)
    old.registered("https://ca.local/acme/account/1")
    assert account_keys.of_instance(tmp_path, "https://ca.local", "aws:i-1")[0].thumbprint == account_keys.thumbprint(
        new
    )
