"""What the CA says about when to renew (RFC 9773), and what a client makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from machine import Machine
from scripted_ca import Reply, ScriptedCA, issue, known, new_issuer, problem, serve

from acme_iid.protocol.renewal import pause_of_life
from acme_iid.simulator import aws, server
from acme_iid_client.acme.connection import CaError, UnreachableError
from acme_iid_client.deadline import Deadline
from acme_iid_client.renewal import ari
from acme_iid_client.renewal.schedule import Window, planned_at
from acme_iid_client.x509 import keys

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def certificate(serial: int, key_identifier: bytes | None, life: timedelta = timedelta(days=30)) -> x509.Certificate:
    """A certificate with a serial number and, unless it is None, an authority key identifier."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + life)
    )
    if key_identifier is not None:
        extension = x509.AuthorityKeyIdentifier(key_identifier, None, None)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_the_identifier_of_the_rfcs_example() -> None:
    # RFC 9773 section 4.1.
    example = certificate(0x87654321, bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"))
    assert ari.certificate_id(example) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(("serial", "end"), [(0x7F, "fw"), (0x80, "AIA"), (1, "AQ"), (0xFF00, "AP8A")])
def test_the_serial_number_is_what_der_writes(serial: int, end: str) -> None:
    identifier = ari.certificate_id(certificate(serial, b"\1"))
    assert identifier == f"AQ.{end}"


def test_a_certificate_that_names_no_issuers_key_has_no_identifier() -> None:
    assert ari.certificate_id(certificate(1, None)) is None


@given(st.floats(0, 4e9), st.floats(1, 1e7))
def test_the_moment_is_in_the_window_and_always_the_same(start: float, length: float) -> None:
    window, leaf = Window(start, start + length), EXAMPLE
    assert start <= window.moment(leaf) <= start + length
    assert window.moment(leaf) == window.moment(leaf)


EXAMPLE = certificate(7, b"\1")


def test_moments_are_spread_over_the_window() -> None:
    moments = [Window(0, 1).moment(certificate(number, b"\1")) for number in range(1, 60)]
    assert min(moments) < 0.25
    assert max(moments) > 0.75
    assert len(set(moments)) == len(moments)


@given(st.floats(-1e300, 1e300), st.floats(1, 1e300))
def test_whatever_a_ca_suggests_some_of_the_life_is_left(start: float, length: float) -> None:
    planned = planned_at(EXAMPLE, Window(start, start + length))
    assert planned <= EXAMPLE.not_valid_after_utc - timedelta(days=1.5)


def test_without_a_word_from_the_ca_a_third_or_a_little_more_is_left() -> None:
    for number in range(1, 40):
        leaf = certificate(number, b"\1")
        left = leaf.not_valid_after_utc - planned_at(leaf)
        assert timedelta(days=10) <= left <= timedelta(days=11.5)


def test_what_an_administrator_chose_counts_before_what_the_ca_suggests() -> None:
    window = Window(NOW.timestamp(), NOW.timestamp() + 1)
    left = EXAMPLE.not_valid_after_utc - planned_at(EXAMPLE, window, "20h")
    assert timedelta(hours=20) <= left <= timedelta(hours=21)


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    with serve(tmp_path) as running:
        (tmp_path / "root.pem").write_bytes(running.root.pem)
        yield running


@pytest.fixture
def ask(ca: ScriptedCA, tmp_path: Path) -> Callable[[], Window | None]:
    return lambda: ari.fetch(known(ca.url, tmp_path / "root.pem"), EXAMPLE, Deadline(10))


def suggestion(start: str, end: str, retry_after: str | None = None, **members: str) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Reply(200, {"suggestedWindow": {"start": start, "end": end}, **members}, headers)


def test_a_suggestion_is_read(ask: Callable[[], Window | None], ca: ScriptedCA) -> None:
    ca.window = suggestion("2026-07-10T00:00:00Z", "2026-07-11T02:00:00.5+02:00", "7200", explanationURL="https://x")
    start = datetime(2026, 7, 10, tzinfo=UTC).timestamp()
    assert ask() == Window(start, start + 86400.5, 7200, "https://x")
    assert ca.paths()[-1] == f"/acme/renewal-info/{ari.certificate_id(EXAMPLE)}"


@pytest.mark.parametrize(("said", "kept"), [("1", 60), ("999999999", 86400), ("soon", 21600), (None, 21600)])
def test_the_interval_has_limits(
    ask: Callable[[], Window | None], ca: ScriptedCA, said: str | None, kept: float
) -> None:
    ca.window = suggestion("2026-07-10T00:00:00Z", "2026-07-11T00:00:00Z", said)
    window = ask()
    assert window is not None
    assert window.interval == kept


@pytest.mark.parametrize("life", [600, 3600, 86400, 90 * 86400, 1825 * 86400])
def test_the_servers_interval_is_kept_as_operators_are_told(
    ask: Callable[[], Window | None], ca: ScriptedCA, life: int
) -> None:
    """What ``rotate activate --compromised`` says of when all have renewed counts on it."""
    pause = pause_of_life(life)
    ca.window = suggestion("2026-07-10T00:00:00Z", "2026-07-11T00:00:00Z", str(pause))
    window = ask()
    assert window is not None
    assert window.interval == pause


def test_a_ca_without_ari_or_without_the_certificate_suggests_nothing(
    ask: Callable[[], Window | None], ca: ScriptedCA
) -> None:
    assert ask() is None
    ca.window = problem("malformed", "unknown certificate", 404)
    assert ask() is None


@pytest.mark.parametrize(
    "reply",
    [
        suggestion("2026-07-11T00:00:00Z", "2026-07-10T00:00:00Z"),
        suggestion("2026-07-11T00:00:00Z", "2026-07-11T00:00:00Z"),
        suggestion("2026-07-11T00:00:00", "2026-07-12T00:00:00"),
        suggestion("tomorrow", "later"),
        Reply(200, {"suggestedWindow": "now"}),
        Reply(200, {}),
        Reply(200, b"[]"),
        Reply(200, b"{"),
    ],
)
def test_what_is_no_suggestion_is_an_error(ask: Callable[[], Window | None], ca: ScriptedCA, reply: Reply) -> None:
    ca.window = reply
    with pytest.raises(CaError):
        ask()


def test_a_ca_that_is_busy_is_another_error(ask: Callable[[], Window | None], ca: ScriptedCA) -> None:
    ca.window = Reply(503)
    with pytest.raises(UnreachableError, match="status 503"):
        ask()


# From here on, the command: a certificate of a month, of which a day is over.
@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    recording = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": '{"instanceId": "i-1"}',
        "signature": "ZXZpZGVuY2U=",
    }
    folder = tmp_path / "machine"
    folder.mkdir()
    with server.serve(aws.recorded(json.dumps(recording).encode())) as running:
        made = Machine(folder, running.url)
        write(made, datetime.now(UTC) - timedelta(days=1), 30)
        yield made


def write(machine: Machine, start: datetime, days: float) -> x509.Certificate:
    """Give the machine a pair."""
    above, key = new_issuer("Issuer"), ec.generate_private_key(ec.SECP256R1())
    leaf = issue(above, "foo.local", key, ["foo.local"], start=start, days=days)
    machine.crt.write_bytes(leaf.public_bytes(Encoding.PEM))
    machine.key.write_bytes(keys.to_pem(key))
    return leaf


def renew(machine: Machine, ca: ScriptedCA, *options: str) -> str:
    root = machine.folder.parent / "root.pem"
    done = machine.run("renew", machine.crt, machine.key, "--ca-url", ca.url, "--root", root, *options)
    return done.stdout + done.stderr


def window(days: float) -> Reply:
    """A suggestion of a second, so many days from now."""
    start = datetime.now(UTC) + timedelta(days=days)
    return suggestion(start.isoformat(), (start + timedelta(seconds=1)).isoformat())


def test_a_certificate_is_renewed_when_the_ca_says_so(machine: Machine, ca: ScriptedCA) -> None:
    ca.window = window(-1)
    assert "has been saved" in renew(machine, ca)
    machine.check_pair()


def test_a_certificate_is_left_alone_before(machine: Machine, ca: ScriptedCA) -> None:
    ca.window = window(2)
    due = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d")
    assert f"is due for renewal from {due}" in renew(machine, ca)
    assert "/acme/new-order" not in ca.paths()


def test_the_explanation_is_passed_on(machine: Machine, ca: ScriptedCA) -> None:
    ca.window = suggestion("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", explanationURL="https://ca.local/incident")
    assert "https://ca.local/incident" in renew(machine, ca)


def test_a_ca_that_cannot_say_leaves_it_to_the_certificates_life(machine: Machine, ca: ScriptedCA) -> None:
    ca.window = Reply(503)
    assert "is due for renewal from" in renew(machine, ca)


def test_an_order_says_what_it_replaces(machine: Machine, ca: ScriptedCA) -> None:
    leaf = x509.load_pem_x509_certificate(machine.crt.read_bytes())
    ca.window = window(2)
    renew(machine, ca, "--force")
    (order,) = [payload for path, payload in ca.asked if path == "/acme/new-order"]
    assert order["replaces"] == ari.certificate_id(leaf)


def test_a_ca_without_renewal_information_is_not_told_what_is_replaced(machine: Machine, ca: ScriptedCA) -> None:
    renew(machine, ca, "--force")
    (order,) = [payload for path, payload in ca.asked if path == "/acme/new-order"]
    assert "replaces" not in order


@pytest.mark.parametrize(("code", "status"), [("alreadyReplaced", 409), ("malformed", 400), ("unauthorized", 403)])
def test_a_certificate_that_has_a_successor_is_renewed_nevertheless(
    machine: Machine, ca: ScriptedCA, code: str, status: int
) -> None:
    ca.window = window(2)
    ca.once["/acme/new-order"] = [problem(code, "it has been replaced", status)]
    renew(machine, ca, "--force")
    orders = [payload for path, payload in ca.asked if path == "/acme/new-order"]
    assert ["replaces" in order for order in orders] == [True, False]


def test_an_expired_certificate_is_ordered_afresh(machine: Machine, ca: ScriptedCA) -> None:
    write(machine, datetime.now(UTC) - timedelta(days=40), 30)
    ca.window = window(2)
    assert "has been saved" in renew(machine, ca)
    assert not [path for path in ca.paths() if path.startswith("/acme/renewal-info/")]
    (order,) = [payload for path, payload in ca.asked if path == "/acme/new-order"]
    assert "replaces" not in order
    machine.check_pair()
