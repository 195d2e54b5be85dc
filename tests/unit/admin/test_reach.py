"""What the process that answers operators may open: never what lies beneath the folders with keys, however they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.admin import reach
from acme_iid.admin.confinement import CHANGE, READ, Rule
from acme_iid.config import ca_toml
from acme_iid.store import places
from acme_iid.store.settings import StoreSettings


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("usr/lib", "usr/ca/secrets", "usr/ca/certs", "usr/share"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr/link").symlink_to(tmp_path / "usr/ca/secrets")
    return tmp_path


def test_a_folder_without_anything_closed_is_given_whole(tree: Path) -> None:
    assert list(reach.without(tree / "usr/lib", [tree / "usr/ca"])) == [tree / "usr/lib"]


def test_beside_what_is_closed_all_else_is_given(tree: Path) -> None:
    found = list(reach.without(tree / "usr", [tree / "usr/ca/secrets"]))
    assert found == [tree / "usr/ca/certs", tree / "usr/lib", tree / "usr/share"]


@pytest.mark.parametrize("way", ["usr/ca/secrets", "usr/ca/secrets/key", "usr/link"])
def test_what_is_closed_is_not_given_by_any_way(tree: Path, way: str) -> None:
    (tree / "usr/ca/secrets/key").write_text("a key")
    assert list(reach.without(tree / way, [tree / "usr/ca/secrets"])) == []


def test_what_is_not_there_gives_nothing(tree: Path) -> None:
    assert list(reach.without(tree / "opt", [tree / "usr/ca"])) == []


MINIMAL = '[ca]\nname = "My CA"\n[server]\nurl = "https://ca.local"\n'


def given(home: Path, rights: int) -> set[Path]:
    rules = reach.rules(ca_toml.parse(MINIMAL.encode(), home), home / "temporary")
    return {rule.path for rule in rules if isinstance(rule, Rule) and rule.rights == rights}


def test_a_home_above_the_program_gives_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "ca"
    for name in ("secrets", "tls", "certs", "issuers", "venv"):
        (home / name).mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(home / "venv"))
    read = given(home, READ)
    assert home / "venv" in read
    assert home / "certs" in read
    assert not {
        path for path in read if any(closed.is_relative_to(path) for closed in (home / "secrets", home / "tls"))
    }


def test_a_program_above_the_home_gives_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "opt" / "ca"
    for name in ("secrets", "certs", "issuers", "backups"):
        (home / name).mkdir(parents=True)
    (tmp_path / "opt/lib").mkdir()
    monkeypatch.setattr("sys.prefix", str(tmp_path / "opt"))
    read = given(home, READ)
    assert tmp_path / "opt/lib" in read
    inside = {path for path in read if path.is_relative_to(home)}
    assert inside <= {home / "certs", home / "issuers", home / "ca.toml"}


def test_a_keys_own_place_is_closed_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "ca", tmp_path / "lib"
    (home / "issuers" / "abc").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "key.pem").write_text("a key")
    (elsewhere / "module.py").write_text("")
    (home / "issuers/abc/issuer.toml").write_text(f'key = "file:{elsewhere}/key.pem"\n')
    monkeypatch.setattr("sys.prefix", str(elsewhere))
    read = given(home, READ)
    assert elsewhere / "module.py" in read
    assert not any((elsewhere / "key.pem").is_relative_to(path) for path in read)


def test_the_files_of_a_sqlite_store_are_those_that_it_makes(tmp_path: Path) -> None:
    assert given(tmp_path, CHANGE) == {
        tmp_path / f"ca.db{end}" for end in ("", "-wal", "-shm", "-writers", "-accounts")
    }


def test_the_files_of_a_postgresql_url_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLCERT", "/etc/client.pem")
    url = "postgresql://user@host/name?sslmode=verify-full&sslrootcert=/etc/roots.pem&passfile=/etc/pass"
    found = places.of(StoreSettings(url))
    assert {Path("/etc/roots.pem"), Path("/etc/pass"), Path("/etc/client.pem")} <= set(found.read)
    assert found.changed == ()
    assert Path("system") not in places.of(StoreSettings("postgresql://host/name?sslrootcert=system")).read
