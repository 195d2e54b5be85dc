from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from scripted_ca import issue

from acme_iid_client.cli import cli
from acme_iid_client.x509 import keys

Run = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = tuple(cli.list_commands(click.Context(cli)))


def _write_pair(folder: Path, days: float = 1) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issue(None, "foo.local", key, ["foo.local"], days=days)
    (folder / "foo.crt").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "foo.key").write_bytes(keys.to_pem(key))


def test_help_names_every_command(acme_iid: Run) -> None:
    done = acme_iid("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom acme_iid_client.cli import cli\n"
        "try:\n cli(['--help'])\nexcept SystemExit:\n pass\n"
        "print(sorted({'acme', 'josepy', 'cryptography', 'requests', 'idna', 'flask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "--short", "foo.crt"), ("fingerprint", "foo.crt"), ("needs-renewal", "foo.crt"), ("list",)],
)
def test_what_reads_files_imports_no_network(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    _write_pair(tmp_path)
    script = (
        f"import sys\nfrom acme_iid_client.cli import cli\ntry:\n cli({list(arguments)!r})\nexcept SystemExit:\n pass\n"
        "print(sorted({'acme', 'josepy', 'requests', 'urllib3', 'idna', 'flask'} & set(sys.modules)))"
    )
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_order_imports_no_verifier_and_no_flask() -> None:
    script = (
        "import sys\n"
        "import acme_iid_client.acme.order, acme_iid_client.acme.revocation, acme_iid_client.storage.pairs\n"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in ('flask', 'sqlite3', 'sqlite_utils')"
        " or name.startswith('acme_iid.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "acme_iid.attestation",
        "acme_iid.attestation.asn1",
        "acme_iid.attestation.cms",
        "acme_iid.binding",
        "acme_iid.bounded",
        "acme_iid.bounded.adapter",
        "acme_iid.bounded.reading",
        "acme_iid.errors",
        "acme_iid.iid01",
        "acme_iid.protocol",
        "acme_iid.protocol.key_files",
        "acme_iid.terminal",
        "acme_iid.terminal.durations",
    ]


def test_a_machine_that_knows_no_ca_is_told_to_bootstrap(acme_iid: Run) -> None:
    for arguments in (("order", "foo.local"), ("health",)):
        done = acme_iid(*arguments)
        assert done.returncode >= 10
        assert "acme-iid bootstrap" in done.stderr


def test_a_configuration_that_is_damaged_is_said_to_be(acme_iid: Run, tmp_path: Path) -> None:
    (tmp_path / "config/acme-iid").mkdir(parents=True)
    (tmp_path / "config/acme-iid/authority.json").write_text("{")
    done = acme_iid("health")
    assert done.returncode >= 10
    assert "bootstrap --force" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("order", "--azure-resource", "https://management.azure.com/"),
        ("order", "a/b"),
        ("order", "foo.local", "--kty", "RSA", "--curve", "P-256"),
        ("order", "foo.local", "--not-after", "tomorrow"),
        ("order", "foo.local", "--mode", "rw"),
        ("bootstrap", "--ca-url", "https://ca.local", "--fingerprint", "abc"),
        ("revoke", "--cert", "foo.crt", "--reason", "boredom"),
        ("evidence", "--raw", "--format", "aws-nonsense"),
        ("unheard-of",),
    ],
)
def test_wrong_usage_exits_with_2(acme_iid: Run, arguments: tuple[str, ...]) -> None:
    done = acme_iid(*arguments)
    assert done.returncode == 2
    assert "Error:" in done.stderr


def test_existing_files_are_not_overwritten_where_nobody_can_be_asked(acme_iid: Run, tmp_path: Path) -> None:
    _write_pair(tmp_path)
    before = (tmp_path / "foo.crt").read_bytes()
    done = acme_iid("order", "foo.local", "foo.crt", "foo.key")
    assert done.returncode >= 10
    assert "Use --force to overwrite" in done.stderr
    assert (tmp_path / "foo.crt").read_bytes() == before


def test_a_certificate_that_is_not_due_is_left_alone(acme_iid: Run, tmp_path: Path) -> None:
    _write_pair(tmp_path, days=30)
    done = acme_iid("renew", "foo.crt", "foo.key")
    assert done.returncode == 0
    assert "foo.crt expires at " in done.stderr


def test_a_key_that_is_not_the_certificates_is_not_overwritten(acme_iid: Run, tmp_path: Path) -> None:
    _write_pair(tmp_path)
    (tmp_path / "foo.key").write_bytes(keys.to_pem(ec.generate_private_key(ec.SECP256R1())))
    done = acme_iid("renew", "--force", "foo.crt", "foo.key")
    assert done.returncode >= 10
    assert "is not the key of foo.crt" in done.stderr


def test_renewal_begins_by_carrying_on_where_an_installation_was_cut_off(acme_iid: Run, tmp_path: Path) -> None:
    _write_pair(tmp_path, days=30)
    kept = (tmp_path / "foo.crt").read_bytes()
    # The switch was made, and the names still are links.
    switch = tmp_path / ".foo.crt.acme-iid-switch"
    (switch / "new").mkdir(parents=True)
    (switch / "in-use").symlink_to("new")
    for name, file in (("certificate", "foo.crt"), ("key", "foo.key")):
        (tmp_path / file).rename(tmp_path / f".{file}.acme-iid-new")
        (switch / "new" / name).symlink_to(f"../../.{file}.acme-iid-new")
        (tmp_path / file).symlink_to(f"{switch.name}/in-use/{name}")
    assert (tmp_path / "foo.crt").read_bytes() == kept
    assert acme_iid("renew", "foo.crt", "foo.key").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["foo.crt", "foo.key"]
    assert not (tmp_path / "foo.crt").is_symlink()
    assert (tmp_path / "foo.crt").read_bytes() == kept


def test_files_that_do_not_exist_are_named(acme_iid: Run) -> None:
    done = acme_iid("renew", "foo.crt", "foo.key")
    assert done.returncode >= 10
    assert "foo.crt does not exist" in done.stderr
    done = acme_iid("revoke", "--cert", "foo.crt")
    assert done.returncode >= 10
    assert "foo.crt: No such file or directory" in done.stderr


def test_another_ca_than_the_bootstrapped_one_needs_its_root(acme_iid: Run) -> None:
    done = acme_iid("health", "--ca-url", "https://ca.local", "--root", "missing.pem")
    assert done.returncode >= 10
    assert "missing.pem does not exist" in done.stderr


def test_a_ca_that_is_not_there_is_named_with_the_cause(acme_iid: Run, tmp_path: Path) -> None:
    _write_pair(tmp_path)
    done = acme_iid("health", "--ca-url", "https://127.0.0.1:1", "--root", "foo.crt")
    assert done.returncode >= 10
    assert "The CA at https://127.0.0.1:1 cannot be reached: connection refused" in done.stderr
