"""Roots in the store: announced, used, dropped, and what each server makes of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from running import CA

from acme_iid.config import ca_toml
from acme_iid.config.settings import Config
from acme_iid.errors import RequestError
from acme_iid.issuance import ceremony, home, keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import Signer, key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import fingerprint, to_pem
from acme_iid.operations import roots
from acme_iid.store import roots as rows
from acme_iid.store.database import Database, open_store
from acme_iid.store.writes import Statement, Write

NOW = int(time.time())


@dataclass
class World:
    """A CA that has started once, with its root's key at hand."""

    config: Config
    database: Database
    ca: CertificateAuthority
    root: Signer

    def load(self) -> CertificateAuthority:
        return roots.load(self.config, self.database, None, NOW)

    def file(self, name: str, *certificates: x509.Certificate) -> Path:
        path = self.config.home / name
        path.write_text(to_pem(*certificates))
        return path

    def add(self, new: Signer, link: x509.Certificate | None = None) -> str:
        link = link or ceremony.link(self.root, new.certificate, NOW)
        return roots.add(self.config, self.database, self.file("new", new.certificate), self.file("link", link), NOW)

    def use(self, root: str) -> str:
        return roots.use(self.config, self.database, root, NOW)

    def drop(self, root: str) -> str:
        return roots.drop(self.config, self.database, root, NOW)

    def in_file(self) -> list[str]:
        return [fingerprint(root) for root in home.load_roots(self.config.home)]

    def version(self) -> int:
        return rows.version(rows.every(self.database))

    def sign_under(self, new: Signer) -> str:
        """Have an issuer under another root sign."""
        signer = ceremony.create_intermediate(new, "My CA", NOW)
        issuer_id = key_id(signer.certificate.public_key())
        home.keep_key(self.config.home, signer.key, None, waiting=False)
        home.add(self.config.home, signer, ())
        self.load()
        later = "UPDATE issuers SET activated_at = :now WHERE id = :id"
        self.database.commit(Write([Statement(later, {"now": NOW + 1, "id": issuer_id})], lambda _rows: None))
        return issuer_id


@pytest.fixture
def world(own_ca: CA) -> Iterator[World]:
    config = ca_toml.load(own_ca.home)
    with closing(open_store(config.store.url)) as database:
        ca = roots.load(config, database, None, NOW)
        yield World(config, database, ca, Signer(ca.roots[0], keys.load(own_ca.root_key, None)))


def new_root() -> Signer:
    return ceremony.create_root("My CA", NOW)


def test_the_first_server_notes_the_root_of_its_home_once(world: World) -> None:
    (first,) = rows.every(world.database)
    assert (first.id, first.link, first.used_at) == (fingerprint(world.ca.roots[0]), None, NOW)
    world.load()
    assert rows.every(world.database) == [first]


def test_the_link_of_an_announced_root_is_handed_out_when_it_signs(world: World) -> None:
    new, old_version = new_root(), world.version()
    added = world.add(new)
    old = fingerprint(world.root.certificate)
    assert world.in_file() == [old, added]
    assert world.version() > old_version
    assert [len(world.ca.roots), len(world.ca.links_above(world.ca.current, NOW))] == [1, 0]
    roots.follow(world.database, world.ca, world.config.home)
    assert len(world.ca.roots) == 2
    assert world.ca.links_above(world.ca.current, NOW) == ()
    issuer_id = world.sign_under(new)
    ca = world.load()
    assert ca.current.id == issuer_id
    (link,) = ca.links_above(ca.current, NOW)
    assert link.issuer == world.root.certificate.subject


def test_each_change_has_a_later_version_also_in_one_second(world: World) -> None:
    new, seen = new_root(), [world.version()]
    added = world.add(new)
    seen.append(world.version())
    world.use(added[:12])
    seen.append(world.version())
    world.sign_under(new)
    world.drop(fingerprint(world.root.certificate))
    seen.append(world.version())
    assert seen == sorted(set(seen))


def test_a_new_root_has_a_name_and_a_key_of_its_own(world: World) -> None:
    same = ceremony.create_root("My CA", NOW, itself=world.root.certificate.subject)
    with pytest.raises(RequestError, match="has the name of another root of this CA"):
        world.add(same, world.root.certificate)
    same = ceremony.create_root("Other CA", NOW, world.root.key)
    with pytest.raises(RequestError, match="has the key of another root"):
        world.add(same, world.root.certificate)
    new = new_root()
    world.add(new)
    with pytest.raises(RequestError, match="announced already"):
        world.add(new)


def test_a_root_that_the_online_issuer_vouches_for_is_not_announced(world: World) -> None:
    new, stolen = new_root(), world.ca.current.signer
    builder = ceremony._builder(
        new.certificate.subject, new.key.public_key(), ceremony.ROOT,
        x509.SubjectKeyIdentifier.from_public_key(new.key.public_key()), None,
    )  # fmt: skip
    planted = ceremony._sign(builder, stolen.certificate.subject, stolen.key_identifier, stolen.key, NOW, NOW + 86400)
    with pytest.raises(CAFileError, match="An intermediate's signature does not do"):
        world.add(new, planted)
    assert len(rows.every(world.database)) == 1


def test_the_root_in_use_and_the_last_one_are_never_dropped(world: World) -> None:
    old = fingerprint(world.root.certificate)
    with pytest.raises(RequestError, match="this root is in use"):
        world.drop(old)
    added = world.add(new_root())
    world.drop(added)
    with pytest.raises(RequestError, match="this root is in use"):
        world.drop(old)
    with pytest.raises(RequestError, match="was dropped before"):
        world.use(added)
    assert world.in_file() == [old]


def test_a_root_is_dropped_when_nothing_rests_on_it(world: World) -> None:
    new, old, former = new_root(), fingerprint(world.root.certificate), world.ca.current.id
    added = world.add(new)
    world.use(added)
    assert world.in_file() == [added, old]
    with pytest.raises(RequestError, match="an issuer under this root signs"):
        world.drop(old)
    world.sign_under(new)
    leaf = """INSERT INTO certificates (n, account_id, issuer_id, issued_at, not_before, not_after, serial, key_id,
                                        names, der)
              VALUES (1, 'a', :issuer, 0, 0, :end, 'aa', 'k', '[]', :der)"""
    values = {"issuer": former, "end": NOW + 3600, "der": b""}
    world.database.commit(Write([Statement(leaf, values)], lambda _rows: None))
    with pytest.raises(RequestError, match="certificates under this root are valid for 2 hours more at most"):
        world.drop(old)
    ended = "UPDATE certificates SET not_after = :now"
    world.database.commit(Write([Statement(ended, {"now": NOW - 1})], lambda _rows: None))
    world.drop(old)
    assert world.in_file() == [added]
    # The former issuer's files are there still, and the CA loads without them.
    assert len(home.issuing_certificates(world.config.home)) == 2
    ca = world.load()
    assert [issuer.root for issuer in ca.issuers.values()] == [new.certificate]
    assert ca.links_above(ca.current, NOW) == ()


def test_a_root_in_the_file_alone_is_no_root_of_the_ca(world: World) -> None:
    home.replace_roots(world.config.home, world.root.certificate, new_root().certificate)
    with pytest.raises(CAFileError, match="a root that the store does not know"):
        world.load()


def test_a_server_writes_the_file_after_the_store(world: World) -> None:
    added = world.add(new_root())
    home.replace_roots(world.config.home, world.root.certificate)
    world.load()
    assert added in world.in_file()
    home.replace_roots(world.config.home, world.root.certificate)
    roots.follow(world.database, world.ca, world.config.home)
    assert added in world.in_file()


def test_without_the_former_key_a_root_is_announced_without_a_link(world: World) -> None:
    new = new_root()
    added = roots.add(world.config, world.database, world.file("new", new.certificate), None, NOW)
    assert world.in_file()[1] == added
    assert world.ca.trusted.links == {}


def test_so_many_roots_are_listed_and_no_more(world: World) -> None:
    for _ in range(roots.MAX_LISTED - 1):
        added = world.add(new_root())
    with pytest.raises(RequestError, match="which is the limit"):
        world.add(new_root())
    # One that clients may still trust stays listed.
    world.drop(added)
    with pytest.raises(RequestError, match="which is the limit"):
        world.add(new_root())


@pytest.mark.parametrize("name", ["", "1234567", "0" * 64])
def test_a_root_is_named_by_its_fingerprint(world: World, name: str) -> None:
    with pytest.raises(RequestError, match="is not the fingerprint of one root"):
        world.use(name)
