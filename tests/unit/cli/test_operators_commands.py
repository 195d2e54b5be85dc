"""instance, certificate, account and events: what operators read, filter, page through and check."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import postgresql
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from terminals import on_a_terminal
from writing import key, put

from acme_iid.cli import main
from acme_iid.config import ca_toml
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.resources import Account, Certificate, Instance, Order
from acme_iid.store import accounts, certificates, instances, orders
from acme_iid.store.chain import Event
from acme_iid.store.database import open_store

NOW = int(datetime.now(UTC).timestamp())
AWS = "aws:aws:123456789042:us-west-2:i-05e360db6e50b5eda"
GCP = "gcp:739419398126:4567890123456789012"
THUMBPRINT = "t" * 43


def serial_of(number: int) -> str:
    """The serial number of the certificate with a number."""
    return f"1f{number:016x}"


FIRST = serial_of(1)
SERIAL = str(int(FIRST, 16))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA with an instance of AWS and one of GCP, a certificate each, issued three and one hours ago."""
    home = tmp_path_factory.mktemp("ca")
    made = CliRunner().invoke(main, ["--home", str(home), "init"])
    assert made.exit_code == 0, made.output
    postgresql.place_store(home)
    chain = (home / "certs" / "root_ca.crt").read_text()
    database = open_store(ca_toml.load(home).store.url)
    leaf = x509.load_pem_x509_certificate(chain.encode()).public_bytes(Encoding.DER)
    for number, (instance, hours) in enumerate([(AWS, 3), (GCP, 1)], 1):
        at = NOW - hours * 3600
        account = f"account{number}"
        facts = Account(account, "{}", THUMBPRINT[1:] + str(number), ("mailto:a@b.example",), at)
        put(database, accounts.add(facts))
        names = (Identifier("dns", f"n{number}.local"), Identifier("dns", "*.shared.local"))
        (row,) = put(database, orders.add(Order("", account, names, at, at + 60), "t" * 16))
        serial = serial_of(row["n"])
        certificate = Certificate(
            f"{row['n']}.{'t' * 16}",
            serial,
            account,
            names,
            at,
            at + 7200,
            at,
            leaf,
            "cd" * 32,
            "ab" * 32,
            "P",
            instance,
        )
        cloud, owner = instance.split(":")[0], instance.split(":")[1 if number == 2 else 2]
        used = Instance(instance, cloud, owner, instance.rpartition(":")[2], account, THUMBPRINT, at, at, at)
        put(
            database,
            instances.use(used),
            certificates.add(certificate, key(instance)),
            events=[
                Event(
                    "challenge.refused", at, account_id=account, instance=key(instance), name=f"n{number}.local",
                    detail={"step": "names", "reason": "it said: \x1b[2J\u202egood"},
                ),
                Event(
                    "certificate.issued", at, account_id=account, instance=key(instance),
                    detail={"serial": serial, "names": [name.value for name in names]},
                ),
            ],
        )  # fmt: skip
    database.close()
    return home


@pytest.fixture
def changing(home: Path, tmp_path: Path) -> Path:
    """A copy of the CA, for what changes it."""
    return shutil.copytree(home, tmp_path / "copy")


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def listed(home: Path, *arguments: str) -> list[dict[str, object]]:
    done = run(home, *arguments, "--json")
    assert done.exit_code == 0, done.output
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


@pytest.mark.parametrize("command", [["instance", "list"], ["certificate", "list"], ["events"]])
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], [GCP, AWS]),
        (["--cloud", "aws"], [AWS]),
        (["--cloud", "azure"], []),
        (["--owner", "739419398126"], [GCP]),
        (["--account", "account1"], [AWS]),
        (["--account", THUMBPRINT[1:] + "2"], [GCP]),
        (["--name", "N1.local"], [AWS]),
        (["--name", "*.shared.local"], [GCP, AWS]),
        (["--name", "n1.local", "--cloud", "gcp"], []),
        (["--since", "2h"], [GCP]),
        (["--until", "2h"], [AWS]),
        (["--since", "1d", "--until", "90m"], [AWS]),
        (["--since", datetime.fromtimestamp(NOW - 7200, UTC).isoformat()], [GCP]),
        (["--since", "2100-01-02T03:04:05Z"], []),
        (["--limit", "5"], [GCP, AWS]),
    ],
    # By number: one holds the time, and processes that run tests side by side must call them the same.
    ids=[str(number) for number in range(15)],
)
def test_each_list_takes_the_filters(home: Path, command: list[str], filters: list[str], expected: list[str]) -> None:
    found = [row["instance"] for row in listed(home, *command, *filters)]
    assert sorted(set(map(str, found)), key=[*expected, *map(str, found)].index) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["events", "--since", "yesterday"], "'yesterday' is no time; write for example 2h"),
        (["events", "--since", "2030-01-02T03:04:05"], "is no time"),
        (["events", "--name", "no name"], "not a host name label"),
        (["bulk", "revoke", "--owner", "my-project"], "'my-project' is no AWS account, GCP project number or Azure"),
        (["events", "--cloud", "oracle"], "'oracle' is not"),
        (["events", "--before", "soon"], "'soon' is no place in a list"),
        (["events", "--before", "5.x"], "is no number of this list"),
        (["events", "--limit", "0"], "0 is not in the range"),
        (["events", "--from", "1"], "--from and --expect go with --check"),
        (["events", "--check", "--cloud", "aws"], "no filter takes anything"),
        (["events", "--check", "--expect", "abc"], "NUMBER:HASH"),
        (["certificate", "show", "1.5"], "a serial number is decimal, or hexadecimal after 0x"),
        (["certificate", "show", "9" * 60], "a serial number is decimal"),
        (["certificate", "list", "--status", "good"], "'good' is not"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_meant_is_wrong_usage(home: Path, arguments: list[str], message: str) -> None:
    done = run(home, *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["events", "--account", "nobody"], "there is no account 'nobody'"),
        (["events", "--instance", "i-00000000"], "the instance 'i-00000000' is not known here"),
        (["account", "show", "nobody"], "there is no account 'nobody'"),
        (["account", "deactivate", "nobody"], "there is no account 'nobody'"),
        (["certificate", "show", "7"], "no certificate with the serial number 7 was issued here"),
        (["certificate", "revoke", "31", "--reason", "bad"], "'bad' is no reason for a revocation"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_not_there_is_said(home: Path, arguments: list[str], message: str) -> None:
    done = run(home, *arguments)
    assert done.exit_code == 1, done.output
    assert message in done.stderr


@pytest.mark.parametrize("command", [["instance", "list"], ["certificate", "list"], ["events"], ["account", "list"]])
def test_a_page_says_how_to_get_the_next_until_there_is_none(home: Path, command: list[str]) -> None:
    whole = listed(home, *command)
    walked: list[dict[str, object]] = []
    before: list[str] = []
    for _ in whole:
        done = run(home, *command, "--limit", "1", *before, "--json")
        (row,) = json.loads(done.stdout)
        walked.append(row)
        more = re.search(r"the next page: (--before) (\S+)$", done.stderr)
        before = list(more.groups()) if more else []
    assert walked == whole
    assert before == []


@pytest.mark.parametrize("status", ["valid", "expired", "revoked"])
def test_certificates_are_listed_by_status(home: Path, status: str) -> None:
    expected = {"valid": [GCP], "expired": [AWS], "revoked": []}[status]
    assert [row["instance"] for row in listed(home, "certificate", "list", "--status", status)] == expected


@pytest.mark.parametrize("serial", [SERIAL, f"0x{FIRST.upper()}", "00:1f:00:00:00:00:00:00:00:01"])
def test_a_certificate_is_shown_by_its_serial_number_in_any_spelling(home: Path, serial: str) -> None:
    done = run(home, "certificate", "show", serial)
    assert done.exit_code == 0, done.output
    assert re.search(rf"^serial: +{SERIAL}$", done.stdout, re.MULTILINE)
    assert re.search(r"^names: +n1\.local, \*\.shared\.local$", done.stdout, re.MULTILINE)
    pem = run(home, "certificate", "show", serial, "--pem").stdout
    shown = json.loads(run(home, "certificate", "show", serial, "--json").stdout)
    assert shown["fingerprint"] == x509.load_pem_x509_certificate(pem.encode()).fingerprint(SHA256()).hex()


def test_a_certificate_is_revoked_by_the_name_of_a_reason(changing: Path) -> None:
    assert run(changing, "certificate", "revoke", f"0x{serial_of(2)}", "--reason", "superseded").exit_code == 0
    shown = json.loads(run(changing, "certificate", "show", f"0x{serial_of(2)}", "--json").stdout)
    assert (shown["status"], shown["revocation_reason"], shown["revoked_by"]) == ("revoked", "superseded", "operator")
    assert [row["serial"] for row in listed(changing, "certificate", "list", "--status", "revoked")] == [
        str(int(serial_of(2), 16))
    ]
    (revoked, *_) = listed(changing, "events", "--name", "n2.local")
    assert revoked["kind"] == "certificate.revoked"


def test_an_account_is_shown_with_its_instances_and_deactivated_once(changing: Path) -> None:
    shown = json.loads(run(changing, "account", "show", THUMBPRINT[1:] + "1", "--json").stdout)
    assert (shown["account"], shown["instances"], shown["deactivated"]) == ("account1", [AWS], None)
    assert run(changing, "account", "deactivate", "account1").stdout == "The account account1 is deactivated.\n"
    again = run(changing, "account", "deactivate", "account1")
    assert (again.exit_code, "was deactivated at" in again.stderr) == (1, True)
    (event, *_) = listed(changing, "events", "--account", "account1")
    assert (event["kind"], event["by"]) == ("account.deactivated", "operator")


def test_what_does_not_print_is_escaped_and_nothing_is_shortened(home: Path) -> None:
    shown = run(home, "events").stdout
    assert "it said: \\x1b[2J\\u202egood" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert [line.split()[0] for line in shown.splitlines()[:2]] == ["SEQ", str(listed(home, "events")[0]["seq"])]


def test_a_list_that_is_wider_than_the_terminal_is_shown_a_line_a_fact(home: Path) -> None:
    narrow = on_a_terminal(home, 80, "certificate", "list")
    first, second = narrow.rstrip("\n").split("\n\n")
    assert re.search(rf"^serial: +{int(serial_of(2), 16)}$", first, re.MULTILINE)
    assert re.search(rf"^instance: +{AWS}$", second, re.MULTILINE)
    wide = on_a_terminal(home, 300, "certificate", "list")
    assert wide == run(home, "certificate", "list").stdout
    assert wide.startswith("SERIAL ")
    assert max(map(len, wide.splitlines())) > 80


@pytest.mark.parametrize("thumbprint", ["-h" + "A" * 41, "--" + "A" * 41, "-" + "_" * 42])
@pytest.mark.parametrize("command", ["show", "deactivate"])
def test_a_thumbprint_that_begins_with_a_dash_is_no_option(home: Path, command: str, thumbprint: str) -> None:
    done = run(home, "account", command, thumbprint)
    assert done.exit_code == 1
    assert thumbprint in done.output


def test_a_release_to_a_thumbprint_that_begins_with_a_dash_is_understood(home: Path) -> None:
    instance = "aws:aws:123456789042:us-west-2:i-0123456789abcdef0"
    done = run(home, "instance", "release", instance, "--to", "-h" + "A" * 41)
    assert done.exit_code == 0, done.output
    assert f"is released to the key -h{'A' * 41}" in done.output
