"""What programs learn from a command that failed: its exit status, and an object with --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from running import Run
from scripted_ca import Reply, ScriptedCA, problem, serve

from acme_iid.simulator import aws, server
from acme_iid_client.x509.certificates import fingerprint


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        yield running


@pytest.fixture
def known(ca: ScriptedCA, acme_iid: Run) -> ScriptedCA:
    """The CA, once the machine trusts it."""
    done = acme_iid("bootstrap", "--ca-url", ca.url, "--fingerprint", fingerprint(ca.root.certificate))
    assert done.returncode == 0, done.stderr
    return ca


@pytest.fixture
def metadata() -> Iterator[str]:
    document = {"document": '{"instanceId": "i-1"}', "signature": "eA=="}
    recording = {"cloud": "aws", "format": "rsa2048-pkcs7-sha256", **document}
    with server.serve(aws.recorded(json.dumps(recording).encode())) as running:
        yield running.url


@pytest.mark.parametrize(
    ("reply", "error", "exit_status"),
    [
        (problem("rejectedIdentifier", "not yours"), "rejectedIdentifier", 10),
        (problem("unauthorized", "not you"), "unauthorized", 10),
        (problem("rateLimited", "later", 429), "rateLimited", 11),
        (problem("serverInternal", "ouch", 500), "serverInternal", 11),
    ],
)
def test_a_refusal_says_whether_it_is_for_good(
    reply: Reply, error: str, exit_status: int, acme_iid: Run, known: ScriptedCA, metadata: str
) -> None:
    known.once["/acme/new-order"] = [reply] * 20
    done = acme_iid("order", "foo.local", "--metadata-url", metadata, "--timeout", "2", "--json")
    assert done.returncode == exit_status
    facts = json.loads(done.stdout)
    assert isinstance(reply.body, dict)
    assert facts["detail"] == f"The CA refused the order of foo.local: {reply.body['detail']}"
    assert {**facts, "detail": ""} == {"error": error, "detail": "", "status": reply.status, "exit": exit_status}
    assert facts["detail"] in done.stderr


@pytest.mark.parametrize(
    ("member", "header", "shown"),
    [
        ("0123abcd", "4567", "0123abcd"),
        (None, "4567", "4567"),
        ("two\nlines", None, None),
        (7, None, None),
        (None, "x" * 65, None),
    ],
)
def test_the_id_that_the_ca_gave_a_request_is_shown_with_an_error(
    member: object, header: str | None, shown: str | None, acme_iid: Run, known: ScriptedCA, metadata: str
) -> None:
    members: dict[str, Any] = {} if member is None else {"requestId": member}
    headers = {} if header is None else {"X-Request-Id": header}
    reply = problem("rejectedIdentifier", "not yours", **members)
    known.once["/acme/new-order"] = [replace(reply, headers={**reply.headers, **headers})]
    done = acme_iid("order", "foo.local", "--metadata-url", metadata, "--timeout", "2", "--json")
    assert done.returncode == 10
    assert json.loads(done.stdout).get("request") == shown
    last = done.stderr.splitlines()[-1]
    assert last == f"The CA's log has more under request {shown}." if shown else "log has more" not in done.stderr


def test_a_ca_that_is_away_is_told_from_a_machine_that_is_wrong(
    acme_iid: Run, known: ScriptedCA, tmp_path: Path
) -> None:
    root = tmp_path / "config/acme-iid/certs/root_ca.crt"
    away = acme_iid("health", "--ca-url", f"https://127.0.0.1:{free_port()}", "--root", root, "--json")
    assert (away.returncode, json.loads(away.stdout)["error"]) == (11, "unreachable")
    known.once["/health"] = [Reply(500)]
    assert acme_iid("health").returncode == 11
    nobody = acme_iid("order", "foo.local", "--metadata-url", f"http://127.0.0.1:{free_port()}", "--json")
    assert (nobody.returncode, json.loads(nobody.stdout)["error"]) == (12, "local")
    assert acme_iid("order", "foo.local", "--nonsense").returncode == 2
    with serve(tmp_path) as other:
        distrusted = acme_iid("health", "--ca-url", other.url, "--root", root)
    assert distrusted.returncode == 12


def test_requests_are_shown_on_demand(acme_iid: Run, known: ScriptedCA) -> None:
    assert acme_iid("health").stderr == ""
    shown = acme_iid("health", "-v")
    assert shown.stdout == "ok\n"
    assert f"GET {known.url}/health: status 200, 3 octets" in shown.stderr


def test_a_user_without_a_home_is_told_what_to_set() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG_")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # The environment of the tests may be in a folder that is root's alone.
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        user = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *reading]
        return subprocess.run(
            [*user, sys.executable, "-m", "acme_iid_client", *arguments],
            env={**clean, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run("health")
    assert done.returncode == 12
    assert "--config-dir and --state-dir" in done.stderr
    # pytest's folders are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        told = run("--config-dir", folder, "--state-dir", folder, "health")
    assert told.returncode == 12
    assert "acme-iid bootstrap" in told.stderr
    assert run("needs-renewal", "/nonexistent.crt").returncode == 2
