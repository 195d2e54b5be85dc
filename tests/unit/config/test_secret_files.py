"""Secrets in files and credentials: read, refused without being shown, and found where they stand in ca.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from acme_iid.config import ca_toml, findings, secret_files
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError

URL = "postgresql://acme:hunter2@db.internal/acme"


def config(home: Path, store: str) -> Config:
    """The configuration with a table [store]."""
    text = f'[ca]\nname = "CA"\ndomains = ["local"]\n[server]\nurl = "https://ca.local"\n[store]\n{store}\n'
    (home / "ca.toml").write_text(text)
    return ca_toml.load(home)


def codes(config: Config) -> list[str]:
    """The findings about secrets."""
    found = [*findings.of_configuration(config), *findings.of_files(config)]
    return [finding.code for finding in found if finding.code in ("inline-secret", "others-read")]


def test_the_url_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "store-url").write_text(f"{URL}\n")
    (tmp_path / "store-url").chmod(0o600)
    found = config(tmp_path, 'url_file = "store-url"\nconnections = 3')
    assert (found.store.url, found.store.connections) == (URL, 3)
    assert found.secret_files == (tmp_path / "store-url",)
    assert codes(found) == []
    assert "hunter2" not in repr(found)
    absolute = config(tmp_path, f'url_file = "{tmp_path / "store-url"}"')
    assert absolute.store.url == URL


def test_a_url_in_a_file_may_name_one_of_sqlite(tmp_path: Path) -> None:
    (tmp_path / "store-url").write_text("sqlite:data/ca.db")
    assert config(tmp_path, 'url_file = "store-url"').store.path == tmp_path / "data/ca.db"


def test_a_credential_is_where_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "store").write_text(URL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert config(tmp_path, 'url_file = "credential:store"').store.url == URL
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigError, match=r"there is no credential store: systemd has given this process none"):
        config(tmp_path, 'url_file = "credential:store"')


@pytest.mark.parametrize(
    "content", [b"", b"\n", f"{URL}\n{URL}\n".encode(), f"{URL}\0".encode(), b"hunter2\xff", b"hunter2" * 4000]
)
def test_what_is_no_line_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store-url").write_bytes(content)
    with pytest.raises(ConfigError, match=r"store-url does not hold one line of text") as refused:
        config(tmp_path, 'url_file = "store-url"')
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("store", "sentence"),
    [
        (f'url = "{URL}"\nurl_file = "store-url"', "stands beside url; give one of them"),
        (f'url_file = "{URL}"', "this is no file's name"),
        ('url_file = "credential:../ca.toml"', "names no credential"),
        ('url_file = "credential:"', "this is no file's name"),
        ('url_file = ""', "this is no file's name"),
        ('url_file = "nowhere"', "nowhere cannot be read"),
        (f'url = ["{URL}"]', "is not a string"),
    ],
)
def test_a_mistake_is_said_without_the_secret(tmp_path: Path, store: str, sentence: str) -> None:
    (tmp_path / "store-url").write_text(URL)
    with pytest.raises(ConfigError) as refused:
        config(tmp_path, store)
    assert sentence in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", [URL, "postgresql://acme@db/acme?password=hunter2", "postgres://acme:@db/a?sslpassword=x"]
)
def test_a_password_in_ca_toml_works_and_is_found(tmp_path: Path, url: str) -> None:
    found = config(tmp_path, f'url = "{url}"')
    assert found.store.url == url
    assert codes(found) == ["inline-secret"]
    (finding,) = (one for one in findings.of_configuration(found) if one.code == "inline-secret")
    assert "hunter2" not in str(finding)


@pytest.mark.parametrize("url", ["postgresql://acme@db/acme", "sqlite:ca.db", "postgresql:///acme?passfile=/x"])
def test_a_url_without_a_password_is_no_finding(tmp_path: Path, url: str) -> None:
    assert codes(config(tmp_path, f'url = "{url}"')) == []


def test_a_secret_that_everybody_can_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "store-url").write_text(URL)
    (tmp_path / "store-url").chmod(0o644)
    assert codes(config(tmp_path, 'url_file = "store-url"')) == ["others-read"]


def test_a_name_is_taken_as_it_is() -> None:
    assert secret_files.name("credential:store") == "credential:store"
    assert secret_files.name("secrets/store url") == "secrets/store url"
