from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid import config
from acme_iid.cli import main
from acme_iid.issuance.ca import create_root

AWS = ["--type", "AWS", "--aws-account", "123456789042"]


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *map(str, arguments)])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert run(tmp_path, "init").exit_code == 0
    return tmp_path


def test_the_articles_command_works_as_typed(home: Path) -> None:
    done = run(home, "provisioner", "add", "AWS IID Provisioner", *AWS)
    assert done.exit_code == 0, done.output
    (made,) = config.load(home).provisioners
    assert (made.name, made.type, made.accounts) == ("AWS IID Provisioner", "AWS", ("123456789042",))
    assert made.formats == ("aws-rsa2048", "aws-signature")
    assert not made.disable_custom_sans
    assert "Warning: any instance of this account may hold any name in local, internal" in done.stderr


def test_what_stood_in_the_file_stands_there_still_comments_and_mode_too(home: Path) -> None:
    (home / "ca.toml").chmod(0o640)
    text = (home / "ca.toml").read_text() + "# a last word, without a newline"
    (home / "ca.toml").write_text(text)
    for name in ("one", "two"):
        assert run(home, "provisioner", "add", name, *AWS).exit_code == 0
    after = (home / "ca.toml").read_text()
    assert after.startswith(text + "\n\n[[provisioner]]\n")
    assert [entry.name for entry in config.load(home).provisioners] == ["one", "two"]
    assert (home / "ca.toml").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in home.iterdir()) == ["ca.toml", "certs", "secrets"]


def test_every_option_is_written(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roots.pem").write_bytes(create_root("x", 1_700_000_000).certificate.public_bytes(Encoding.PEM))
    monkeypatch.chdir(tmp_path)
    done = run(
        home,
        *("provisioner", "add", 'Na"me', "--type", "aws", "--aws-account", "123456789042"),
        *("--aws-account", "000000000000", "--instance-age", "1h", "--iid-roots", "roots.pem"),
        *("--format", "aws-pkcs7", "--format", "aws-rsa2048", "--disable-custom-sans", "--disable-trust-on-first-use"),
    )
    assert done.exit_code == 0, done.output
    assert "Warning" not in done.output
    (made,) = config.load(home).provisioners
    assert made.name == 'Na"me'
    assert made.accounts == ("123456789042", "000000000000")
    assert made.instance_age == 3600
    assert made.iid_roots == tmp_path / "roots.pem"
    assert f'iid_roots = "{tmp_path}/roots.pem"' in (home / "ca.toml").read_text()
    assert made.formats == ("aws-pkcs7", "aws-rsa2048")
    assert made.disable_custom_sans
    assert made.disable_trust_on_first_use
    (listed,) = json.loads(run(home, "provisioner", "list", "--json").stdout)
    assert listed["name"] == 'Na"me'
    assert listed["accounts"] == ["123456789042", "000000000000"]
    assert (listed["instance_age"], listed["custom_sans"], listed["trust_on_first_use"]) == (3600, False, False)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["x", "--type", "AWS"], 2, "give the AWS accounts whose instances are admitted: --aws-account ID"),
        (["x", "--type", "AWS", "--aws-account", "1234"], 2, "'1234' is no AWS account id; that is twelve digits"),
        (["x", "--type", "Oracle", "--aws-account", "123456789042"], 2, "'Oracle' is not"),
        (["x", "--aws-account", "123456789042"], 2, "Missing option '--type'"),
        (["", *AWS], 2, "'' is no name"),
        (["x", *AWS, "--instance-age", "soon"], 2, "'soon' is no duration"),
        (["x", *AWS, "--format", "aws-rsa1024"], 1, "'aws-rsa1024' is not a format of type AWS; the formats are"),
        (["x", *AWS, "--iid-roots", "/nonexistent"], 1, "/nonexistent cannot be read: No such file or directory"),
        (["x", *AWS, "--iid-roots", "/dev/null"], 1, "/dev/null holds no readable PEM certificates"),
        (["there", *AWS], 1, "there is a provisioner named 'there' already; names are unique"),
    ],
)
def test_what_cannot_be_meant_changes_nothing(home: Path, arguments: list[str], status: int, reason: str) -> None:
    run(home, "provisioner", "add", "there", *AWS)
    before = (home / "ca.toml").read_bytes()
    done = run(home, "provisioner", "add", *arguments)
    assert done.exit_code == status
    assert reason in done.output
    assert (home / "ca.toml").read_bytes() == before


def test_a_file_that_is_wrong_already_is_not_made_longer(home: Path) -> None:
    (home / "ca.toml").write_text((home / "ca.toml").read_text().replace("domains", "domain"))
    before = (home / "ca.toml").read_bytes()
    done = run(home, "provisioner", "add", "x", *AWS)
    assert done.exit_code == 1
    assert "unknown key 'domain' in [ca]; the nearest known one is 'domains'" in done.output
    assert (home / "ca.toml").read_bytes() == before


def test_without_a_ca_there_is_nothing_to_add_to(tmp_path: Path) -> None:
    for command in (["provisioner", "add", "x", *AWS], ["provisioner", "list"], ["serve"]):
        done = run(tmp_path / "none", *command)
        assert done.exit_code == 1
        assert "'acme-iid-ca init' makes" in done.output


def test_none_yet_is_said_in_words(home: Path) -> None:
    done = run(home, "provisioner", "list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "There are no provisioners, so nobody is admitted" in done.stderr
    assert json.loads(run(home, "provisioner", "list", "--json").stdout) == []


def test_several_at_once_are_all_there_in_the_end(home: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "acme_iid.cli", "--home", home, "provisioner", "add", f"p{number}", *AWS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(6)
    ]
    assert [process.wait(60) for process in started] == [0] * 6
    assert {entry.name for entry in config.load(home).provisioners} == {f"p{number}" for number in range(6)}


def test_a_link_to_the_file_stays_one(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.toml"
    (home / "ca.toml").rename(real)
    (home / "ca.toml").symlink_to(real)
    assert run(home, "provisioner", "add", "x", *AWS).exit_code == 0
    assert (home / "ca.toml").is_symlink()
    assert "[[provisioner]]" in real.read_text()
