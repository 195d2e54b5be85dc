"""Following a CA's list of roots: what is fetched, saved and refused, and that others get the roots as a file."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pages import page
from scripted_ca import Issuer, Reply, ScriptedCA, issue, serve

from acme_iid.issuance import ceremony, crl
from acme_iid.issuance.crl import Revoked
from acme_iid.issuance.issuer import Signer
from acme_iid.operations.root_documents import CLIENTS_LOOK_SECONDS
from acme_iid_client.acme import bootstrapping, known_ca, root_rotation
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError, UntrustedError
from acme_iid_client.renewal.hooks import Hooks
from acme_iid_client.renewal.roots import AGAIN_SECONDS, LOOK_SECONDS, RootsFile, RootWatch
from acme_iid_client.storage.directories import Directories
from acme_iid_client.x509.authorities import RevokedIssuerError
from acme_iid_client.x509.certificates import check_issued, fingerprint

Run = Callable[..., subprocess.CompletedProcess[str]]

NOW = int(time.time())
OLD, NEW = (ceremony.create_root("My CA", NOW) for _ in range(2))
LINK = ceremony.link(OLD, NEW.certificate, NOW)
BELOW = ceremony.create_intermediate(OLD, "My CA", NOW)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def as_issuer(signer: Signer) -> Issuer:
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    return Issuer(signer.certificate, signer.key)


def document(version: int = NOW, *, new: bool = True, until: str | None = None, crl_: str | None = None) -> Reply:
    old: dict[str, Any] = {"pem": pem(OLD.certificate), "link": None, "from": "2026-01-01T00:00:00Z", "until": until}
    next_ = {"pem": pem(NEW.certificate), "link": pem(LINK), "from": "2026-01-01T00:00:00Z", "until": None}
    return Reply(body={"version": version, "roots": [next_, old] if new else [old], "crl": crl_})


@pytest.fixture
def where(tmp_path: Path) -> Directories:
    """Where the programs of the fixture ``acme_iid`` keep things."""
    return Directories(tmp_path / "config/acme-iid", tmp_path / "state/acme-iid")


@pytest.fixture
def ca(tmp_path: Path, where: Directories) -> Iterator[ScriptedCA]:
    """A CA under the old root, which this machine knows."""
    with serve(tmp_path, tls=as_issuer(BELOW), above=pem(BELOW.certificate).encode()) as running:
        bootstrapping.save(where, running.url, (OLD.certificate,))
        yield running


def follow(where: Directories, ca: ScriptedCA, reply: Reply) -> bool:
    ca.once["/roots.json"] = [reply]
    return root_rotation.follow(where, known_ca.load(where), Deadline(20), print)


def test_what_is_taken_up_is_trusted_from_then_on(where: Directories, ca: ScriptedCA) -> None:
    identity = known_ca.load(where).identity
    assert follow(where, ca, document())
    known = known_ca.load(where)
    assert known.roots == (OLD.certificate, NEW.certificate)
    assert known.roots_file.read_text() == pem(OLD.certificate, NEW.certificate)
    assert not follow(where, ca, document())
    assert follow(where, ca, document(NOW + 1, until="2026-01-02T00:00:00Z"))
    known = known_ca.load(where)
    # Accounts and all that is kept about the CA stay its own.
    assert (known.roots, known.identity) == ((NEW.certificate,), identity)


def test_an_older_list_changes_nothing(where: Directories, ca: ScriptedCA) -> None:
    follow(where, ca, document())
    with pytest.raises(ClientError, match="plays an old list back"):
        follow(where, ca, document(NOW - 1, until="2026-01-02T00:00:00Z"))
    assert len(known_ca.load(where).roots) == 2


def test_the_version_outlives_a_bootstrap_for_the_same_ca(where: Directories, ca: ScriptedCA) -> None:
    follow(where, ca, document())
    bootstrapping.save(where, ca.url, (OLD.certificate, NEW.certificate))
    with pytest.raises(ClientError, match="plays an old list back"):
        follow(where, ca, document(NOW - 1))
    stranger = ceremony.create_root("My CA", NOW).certificate
    bootstrapping.save(where, ca.url, (stranger,))
    saved = known_ca.read_saved(where.config / known_ca.CONFIGURATION)
    assert saved is not None
    assert saved.version == 0


def test_a_default_ca_that_stands_in_two_directories_is_one(where: Directories, ca: ScriptedCA, tmp_path: Path) -> None:
    with serve(tmp_path) as other:
        bootstrapping.save(where, other.url, (other.root.certificate,), first=True)
        bootstrapping.save(where, ca.url, (OLD.certificate,), first=True)
        assert follow(where, ca, document())
        for file in known_ca.configurations(where):
            saved = known_ca.read_saved(file)
            assert saved is not None
            assert len(known_ca.read_roots(saved.roots_file)) == (2 if saved.ca_url == ca.url else 1)


def test_roots_that_an_option_names_are_left_as_they_are(where: Directories, ca: ScriptedCA, tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_text(pem(OLD.certificate))
    ca.once["/roots.json"] = [document()]
    known = known_ca.load(where, ca.url, tmp_path / "root.pem")
    assert not root_rotation.follow(where, known, Deadline(20), print)
    assert "/roots.json" not in ca.paths()
    assert known_ca.load(where).roots == (OLD.certificate,)


def test_an_older_ca_has_no_list(where: Directories, ca: ScriptedCA) -> None:
    assert not follow(where, ca, Reply(404))
    with pytest.raises(ClientError, match="status 500"):
        follow(where, ca, Reply(500))


def test_the_list_is_asked_for_once_a_day(where: Directories, ca: ScriptedCA) -> None:
    said: list[str] = []
    ca.once["/roots.json"] = [document(), document()]
    assert RootWatch(where, said.append).look(known_ca.load(where), Deadline(20))
    for _ in range(3):
        assert not RootWatch(where, said.append).look(known_ca.load(where), Deadline(20))
    assert ca.paths().count("/roots.json") == 1
    RootWatch(where, said.append).look(known_ca.load(where), Deadline(20), 0.0)
    assert ca.paths().count("/roots.json") == 2
    (state,) = (where.state / "roots").glob("*.json")
    day_old = {"succeeded_at": time.time() - LOOK_SECONDS, "tried_at": time.time() - LOOK_SECONDS}
    state.write_text(json.dumps(day_old))
    ca.once["/roots.json"] = [document(NOW - 1), document(NOW - 1)]
    for _ in range(3):
        assert not RootWatch(where, said.append).look(known_ca.load(where), Deadline(20))
        assert not RootWatch(where, said.append).look(known_ca.load(where), Deadline(20), AGAIN_SECONDS)
    # What went wrong is tried again in ten minutes, and not before.
    assert ca.paths().count("/roots.json") == 3
    assert "plays an old list back" in said[-1]
    tried = json.loads(state.read_bytes())
    assert tried["succeeded_at"] == day_old["succeeded_at"]
    state.write_text(json.dumps({**tried, "tried_at": tried["tried_at"] - AGAIN_SECONDS}))
    RootWatch(where, said.append).look(known_ca.load(where), Deadline(20))
    assert ca.paths().count("/roots.json") == 4


def test_operators_are_told_how_often_clients_look() -> None:
    """The server has no code in common with the client's watch, and pages say it in words."""
    assert CLIENTS_LOOK_SECONDS == LOOK_SECONDS == 86400
    for name, sentence in (
        ("stolen-issuer", "refuse the issuer as soon as they have seen the list, within a day"),
        ("next-root", "Clients look once a day"),
        ("on-every-vm", "looks at the CA's list of roots once a day"),
    ):
        assert sentence in " ".join(page(f"docs/how-to/{name}.md").split())


def test_without_a_place_to_remember_a_program_looks_once_a_day(where: Directories, ca: ScriptedCA) -> None:
    where.state.parent.mkdir(parents=True, exist_ok=True)
    where.state.write_text("")
    watch = RootWatch(where, print)
    ca.once["/roots.json"] = [document(), document()]
    assert watch.look(known_ca.load(where), Deadline(20))
    assert not watch.look(known_ca.load(where), Deadline(20))
    assert ca.paths().count("/roots.json") == 1


def revoking(number: int, *certificates: x509.Certificate) -> str:
    entries = [Revoked(certificate.serial_number, NOW, 1) for certificate in certificates]
    der = crl.sign(OLD, entries, number, NOW, NOW + 86400)
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM).decode()


def test_a_server_under_a_revoked_issuer_is_not_talked_to(acme_iid: Run, where: Directories, ca: ScriptedCA) -> None:
    assert acme_iid("health").returncode == 0
    assert follow(where, ca, document(crl_=revoking(3, BELOW.certificate)))
    known, asked = known_ca.load(where), len(ca.asked)
    with pytest.raises(RevokedIssuerError, match="was revoked by the CA's root"):
        known.check_health(Deadline(20))
    assert "was revoked by the CA's root" in acme_iid("health").stderr
    assert len(ca.asked) == asked


def test_a_certificate_of_a_revoked_issuer_is_not_taken(where: Directories, ca: ScriptedCA) -> None:
    follow(where, ca, document(crl_=revoking(3, BELOW.certificate)))
    known, key = known_ca.load(where), ec.generate_private_key(ec.SECP256R1()).public_key()
    leaf = issue(as_issuer(BELOW), "", key, ["foo.local"])
    chain = [leaf, BELOW.certificate]
    check_issued(chain, known.roots, key, ["foo.local"], datetime.now(UTC))
    with pytest.raises(RevokedIssuerError):
        check_issued(chain, known.roots, key, ["foo.local"], datetime.now(UTC), known.revoked)


@pytest.mark.parametrize("roots", [(OLD,), (NEW,), (OLD, NEW), (NEW, OLD)])
def test_a_chain_with_a_link_leads_to_either_root(roots: tuple[Signer, ...]) -> None:
    below = ceremony.create_intermediate(NEW, "My CA", NOW)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    chain = [issue(as_issuer(below), "", key, ["foo.local"]), below.certificate, LINK]
    check_issued(chain, tuple(root.certificate for root in roots), key, ["foo.local"], datetime.now(UTC))
    stranger = ceremony.create_root("My CA", NOW).certificate
    with pytest.raises(UntrustedError):
        check_issued(chain, (stranger,), key, ["foo.local"], datetime.now(UTC))


def test_a_certificate_with_a_link_is_its_cas_by_either_root(where: Directories, ca: ScriptedCA) -> None:
    below = ceremony.create_intermediate(NEW, "My CA", NOW)
    bootstrapping.save(where, "https://other.local", (ca.root.certificate,), first=True)
    bootstrapping.save(where, ca.url, (NEW.certificate,))
    chain = [
        issue(as_issuer(below), "", ec.generate_private_key(ec.SECP256R1()), ["foo.local"]),
        below.certificate,
        LINK,
    ]
    assert known_ca.load_issuer(where, chain).ca_url == ca.url


def test_others_get_the_roots_as_a_file_and_hear_of_changes(where: Directories, ca: ScriptedCA, tmp_path: Path) -> None:
    target, heard = tmp_path / "roots.pem", tmp_path / "heard"
    tell = Hooks(("sh", "-c", f'echo "$ACME_IID_ROOTS $(grep -c BEGIN "$ACME_IID_ROOTS")" >> {heard}'))
    file = RootsFile(target, tell)
    environment = {"PATH": "/usr/bin:/bin"}
    assert file.refresh(known_ca.load(where), environment)
    assert not file.refresh(known_ca.load(where), environment)
    follow(where, ca, document())
    failing = RootsFile(target, Hooks(("false",)))
    with pytest.raises(ClientError, match="ended with status 1"):
        failing.refresh(known_ca.load(where), environment)
    assert target.read_text() == pem(OLD.certificate, NEW.certificate)
    assert file.refresh(known_ca.load(where), environment)
    assert not file.refresh(known_ca.load(where), environment)
    assert heard.read_text() == f"{target} 1\n{target} 2\n"
    assert fingerprint(known_ca.read_roots(target)[1]) == fingerprint(NEW.certificate)
