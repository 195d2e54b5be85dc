"""``acme-iid-ca serving-certificate``: what a proxy in front of the CA is given, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from running import CA, Outcome

from acme_iid.binding import SERVING_MARK
from acme_iid.issuance import ceremony, keys
from acme_iid.issuance.home import load as load_ca
from acme_iid.issuance.home import load_certificate
from acme_iid.issuance.issuer import Signer
from acme_iid.issuance.leaf import LeafRequest
from acme_iid.policy.namespace import Namespace
from acme_iid.protocol.identifiers import dns

Command = Callable[..., Outcome]


@pytest.fixture
def ca(tmp_path: Path) -> CA:
    made = CA(tmp_path / "ca")
    made.cli("init", "--url", "https://ca.local:8443/pki", "--listen", "127.0.0.1:8443")
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "proxy.pem"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "proxy.key"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the program has written that stands for a proxy's reload."""
    return tmp_path / "told"


@pytest.fixture
def hook(tmp_path: Path, told: Path) -> Path:
    """A program that notes what it is told of, and fails while there is a file named "broken"."""
    program = tmp_path / "a hook"
    program.write_text(
        f'#!/bin/sh\necho "$ACME_IID_CERTIFICATE $ACME_IID_KEY $*" >> {told}\n! [ -e {tmp_path}/broken ]\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def command(ca: CA, key: Path, out: Path) -> Command:
    def run(*options: str | Path) -> Outcome:
        return ca.try_cli("serving-certificate", "--key", key, "--out", out, *options)

    return run


def leaf(out: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(out.read_bytes())[0]


def put(ca: CA, key: Path, out: Path, *, seconds: int) -> None:
    """Write a serving certificate that lives so long."""
    authority = load_ca(ca.home)
    now = int(time.time())
    issued = authority.current.issue_serving(keys.load(key, None).public_key(), [dns("ca.local")], now + seconds, now)
    out.write_text(issued.chain_pem)


def test_the_certificate_is_marked_for_the_url_and_lives_a_day(ca: CA, command: Command, key: Path, out: Path) -> None:
    done = command()
    assert done.code == 0, done.stderr
    assert f"The certificate for ca.local is in {out}, valid until " in done.stdout
    made, intermediate = x509.load_pem_x509_certificates(out.read_bytes())
    assert intermediate.public_bytes(Encoding.PEM) == ca.intermediate.read_bytes()
    assert keys.load(key, None).public_key() == made.public_key()
    assert [oct(path.stat().st_mode & 0o777) for path in (key, out)] == ["0o600", "0o644"]
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, x509.ObjectIdentifier(SERVING_MARK)]
    assert 86_000 < (made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() < 87_000


def test_renew_does_nothing_until_a_third_is_left(ca: CA, command: Command, key: Path, out: Path) -> None:
    assert command("--renew").code == 0
    first, text = leaf(out), key.read_text()
    done = command("--renew")
    assert (done.code, "is good and not due" in done.stdout) == (0, True)
    assert leaf(out) == first
    assert command().code == 0
    assert leaf(out) != first
    put(ca, key, out, seconds=-30)  # it began a minute ago
    assert command("--renew").code == 0
    assert leaf(out).not_valid_after_utc.timestamp() > time.time() + 86_000
    assert key.read_text() == text


def of_another_url(ca: CA, _key: Path, _out: Path) -> None:
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace("https://ca.local", "https://other.local"))


def with_another_key(_ca: CA, key: Path, _out: Path) -> None:
    key.unlink()


def of_another_intermediate(ca: CA, _key: Path, _out: Path) -> None:
    root = Signer(load_certificate(ca.root), keys.load(ca.root_key, None))
    ca.replace_intermediate(ceremony.cross_sign(root, load_certificate(ca.intermediate), int(time.time())))


def without_the_mark(ca: CA, key: Path, out: Path) -> None:
    """What an ACME client of the proxy's may have got before."""
    authority, now = load_ca(ca.home), int(time.time())
    request = LeafRequest(keys.load(key, None).public_key(), [dns("ca.local")], now + 86400)
    out.write_text(authority.current.issue(request, Namespace(), now).chain_pem)


def cut_off(_ca: CA, _key: Path, out: Path) -> None:
    out.write_text(out.read_text()[:700])


@pytest.mark.parametrize(
    "change", [of_another_url, with_another_key, of_another_intermediate, without_the_mark, cut_off]
)
def test_renew_replaces_what_is_not_right_any_more(
    ca: CA, command: Command, key: Path, out: Path, change: Callable[[CA, Path, Path], None]
) -> None:
    assert command("--renew").code == 0
    change(ca, key, out)
    before = out.read_text()
    assert command("--renew").code == 0
    assert out.read_text() != before
    good = out.read_text()
    assert command("--renew").code == 0
    assert out.read_text() == good


def test_a_command_is_run_after_each_new_certificate_and_without_a_shell(
    command: Command, key: Path, out: Path, hook: Path, told: Path
) -> None:
    run = ("--exec", f"'{hook}' '$HOME' ;")
    for options in (("--renew",), ("--renew",), ()):
        assert command(*options, *run).code == 0
    assert told.read_text() == f"{out} {key} $HOME ;\n" * 2


def test_a_command_that_failed_is_run_again_by_the_next_renewal(
    command: Command, out: Path, hook: Path, told: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    failed = command("--renew", "--exec", f"'{hook}'")
    assert failed.code == 1
    assert "ended with status 1. The next run with --renew runs it again" in failed.stderr
    first = leaf(out)
    (tmp_path / "broken").unlink()
    for _ in range(2):
        assert command("--renew", "--exec", f"'{hook}'").code == 0
    assert len(told.read_text().splitlines()) == 2
    assert leaf(out) == first


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--exec", "no-such-program-here"), 1, "cannot be run: No such file or directory; it is run without a shell"),
        (("--exec", "'"), 2, "cannot be split into words"),
        (("--exec", " "), 2, "names no program"),
    ],
)
def test_a_command_that_cannot_be_run_is_a_sentence(
    command: Command, options: tuple[str, ...], code: int, reason: str
) -> None:
    done = command(*options)
    assert done.code == code
    assert reason in done.stderr


def test_files_that_are_something_else_are_left_alone(ca: CA, command: Command, key: Path, out: Path) -> None:
    for path, reason in (
        (ca.root, "holds a certificate of a CA"),
        (ca.home / "ca.toml", "holds something other than certificates"),
    ):
        before = path.read_bytes()
        done = ca.try_cli("serving-certificate", "--key", key, "--out", path)
        assert (done.code, reason in done.stderr) == (1, True), done.stderr
        assert path.read_bytes() == before
    assert "two files" in ca.try_cli("serving-certificate", "--key", key, "--out", key).stderr
    own = ca.try_cli("serving-certificate", "--key", ca.intermediate_key, "--out", out)
    assert (own.code, "is a key of the CA itself" in own.stderr) == (1, True)
    key.write_bytes(keys.to_pem(keys.generate()))
    key.chmod(0o644)
    assert "is open to other users" in command().stderr
    assert not out.exists()


def test_a_link_is_replaced_and_what_it_leads_to_is_not(command: Command, out: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    out.symlink_to(victim)
    assert command().code == 0
    assert (out.is_symlink(), victim.read_bytes()) == (False, b"")
    assert list(tmp_path.glob("proxy.pem.*")) == []
