from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import forge
import forge_tokens
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding

from acme_iid.cli import main
from acme_iid.cli.provisioner_flags import FLAGS, Flag
from acme_iid.config import ca_toml, provisioner_settings
from acme_iid.issuance.ceremony import create_root
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.name_rules import Demand

UUID = "8a205152-b25a-417f-a676-80465535a6c9"
AWS = ["--type", "AWS", "--aws-account", "123456789042"]


def run(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *map(str, arguments)])


TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert run(tmp_path, "init").exit_code == 0
    return tmp_path


def test_the_articles_command_works_as_typed(home: Path) -> None:
    done = run(home, "provisioner", "add", "AWS IID Provisioner", *AWS)
    assert done.exit_code == 0, done.output
    (made,) = ca_toml.load(home).provisioners
    assert (made.name, made.type) == ("AWS IID Provisioner", "AWS")
    assert made.demands == (Demand("accounts", ("account",), ("123456789042",)),)
    assert made.formats == ("aws-rsa2048", "aws-signature")
    assert not made.disable_custom_sans
    assert "Warning: any instance that 'AWS IID Provisioner' admits may hold any name in local, internal" in done.stderr


def test_what_stood_in_the_file_stands_there_still_comments_and_mode_too(home: Path) -> None:
    (home / "ca.toml").chmod(0o640)
    text = (home / "ca.toml").read_text() + "# a last word, without a newline"
    (home / "ca.toml").write_text(text)
    for name in ("one", "two"):
        assert run(home, "provisioner", "add", name, *AWS).exit_code == 0
    after = (home / "ca.toml").read_text()
    assert after.startswith(text + "\n\n[[provisioner]]\n")
    assert [entry.name for entry in ca_toml.load(home).provisioners] == ["one", "two"]
    assert (home / "ca.toml").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in home.iterdir()) == ["acts", "ca.toml", "certs", "issuers", "secrets"]


def test_every_option_is_written(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "roots.pem").write_bytes(forge.keys().certificates)
    (tmp_path / "nitro.pem").write_bytes(create_root("x", 1_700_000_000).certificate.public_bytes(Encoding.PEM))
    (tmp_path / "keys.json").write_bytes(forge_tokens.aws_issuer().key_set)
    monkeypatch.chdir(tmp_path)
    done = run(
        home,
        *("provisioner", "add", 'Na"me', "--type", "aws", "--aws-account", "123456789042"),
        *("--aws-account", "000000000000", "--region", "us-east-1", "--instance-id", "i-0123456789abcdef0"),
        *("--instance-age", "1h", "--iid-roots", "roots.pem", "--nitro-roots", "nitro.pem"),
        *("--proof-lifetime", "12h"),
        *("--web-identity-issuer", "123456789042=https://x.example", "--web-identity-jwks", "123456789042=keys.json"),
        *("--format", "aws-pkcs7", "--format", "aws-rsa2048", "--allow", "{instance_id}.local", "--allow", "*.a.local"),
        *("--allow-wildcard", "*.b.local", "--network", "10.0.0.0/8", "--network", "fd00::/8"),
        "--disable-trust-on-first-use",
    )
    assert done.exit_code == 0, done.output
    assert [line.split(":")[1] for line in done.stderr.splitlines() if line.startswith("Warning")] == [
        " a thief of a document of an instance of 'Na\"me' can act as that instance for ever"
    ]
    assert tomllib.loads((home / "ca.toml").read_text())["provisioner"] == [
        {
            "name": 'Na"me',
            "type": "AWS",
            "accounts": ["123456789042", "000000000000"],
            "regions": ["us-east-1"],
            "instance_ids": ["i-0123456789abcdef0"],
            "instance_age": "1h",
            "proof_lifetime": "12h",
            "iid_roots": f"{tmp_path}/roots.pem",
            "nitro_roots": f"{tmp_path}/nitro.pem",
            "web_identity": [
                {"account": "123456789042", "issuer": "https://x.example", "jwks": f"{tmp_path}/keys.json"}
            ],
            "formats": ["aws-pkcs7", "aws-rsa2048"],
            "allow": ["{instance_id}.local", "*.a.local"],
            "allow_wildcards": ["*.b.local"],
            "networks": ["10.0.0.0/8", "fd00::/8"],
            "disable_trust_on_first_use": True,
        }
    ]
    (listed,) = json.loads(run(home, "provisioner", "list", "--json").stdout)
    assert listed["name"] == 'Na"me'
    assert listed["accounts"] == ["123456789042", "000000000000"]
    assert listed["organizations"] is None
    assert listed["web_identity"] == ["123456789042=https://x.example"]
    assert listed["proof_lifetime"] == 12 * 3600
    assert (listed["instance_age"], listed["custom_sans"], listed["trust_on_first_use"]) == (3600, True, False)
    assert (listed["allow"], listed["allow_wildcards"]) == (["{instance_id}.local", "*.a.local"], ["*.b.local"])


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (
            ["--type", "GCP", "--gcp-project", "my-project", "--gcp-service-account", "a@b.example", "--zone", "z-1"],
            {"type": "GCP", "projects": ["my-project"], "service_accounts": ["a@b.example"], "zones": ["z-1"]},
        ),
        (
            ["--type", "GCP", "--gcp-project", "p", "--jwks", "https://keys.example/certs", "--region", "r-1"],
            {"type": "GCP", "projects": ["p"], "jwks": "https://keys.example/certs", "regions": ["r-1"]},
        ),
        (
            ["--type", "azure", "--azure-subscription-id", UUID, "--instance-id", UUID],
            {"type": "AZURE", "subscriptions": [UUID], "instance_ids": [UUID]},
        ),
        (
            [
                *("--type", "AZURE", "--azure-tenant", UUID, "--azure-resource-group", "rg"),
                *("--azure-object-id", UUID, "--azure-audience", "api://ca"),
            ],
            {
                "type": "AZURE",
                "tenants": [UUID],
                "resource_groups": ["rg"],
                "object_ids": [UUID],
                "audience": "api://ca",
            },
        ),
        (
            [
                *("--type", "AWS", "--aws-account", "123456789042", "--zone", "us-east-1a", "--image", "ami-1"),
                *("--instance-type", "t3.micro", "--pcr", f"4={'0A' * 48}", "--pcr", f"4={'0b' * 48}"),
                *("--pcr", f"11={'0c' * 48}"),
            ],
            {
                "type": "AWS",
                "accounts": ["123456789042"],
                "zones": ["us-east-1a"],
                "images": ["ami-1"],
                "instance_types": ["t3.micro"],
                "pcr4": ["0A" * 48, "0b" * 48],
                "pcr11": ["0c" * 48],
            },
        ),
        (
            [
                *("--type", "AWS", "--organization", "o-abcdefghij", "--vpc", "vpc-1"),
                *("--web-identity-issuer", "123456789042=https://x.example/?a=b"),
            ],
            {
                "type": "AWS",
                "organizations": ["o-abcdefghij"],
                "vpcs": ["vpc-1"],
                "web_identity": [{"account": "123456789042", "issuer": "https://x.example/?a=b"}],
            },
        ),
    ],
)
def test_each_cloud_has_its_own_flags(home: Path, arguments: list[str], written: dict[str, object]) -> None:
    done = run(home, "provisioner", "add", "x", *arguments)
    assert done.exit_code == 0, done.output
    assert "Warning: any instance that 'x' admits may hold any name" in done.stderr
    assert tomllib.loads((home / "ca.toml").read_text())["provisioner"] == [{"name": "x", **written}]


def test_there_is_a_flag_for_every_key_that_a_type_may_have() -> None:
    for type_, cloud in CLOUD_TYPES.items():
        keys = {key for flag in FLAGS if type_ in flag.types for key in (flag.key, *flag.setting.keys)}
        assert keys >= {*cloud.lists, *cloud.sources}


@pytest.mark.parametrize(
    "flag", [flag for flag in FLAGS if len(flag.types) < len(CLOUD_TYPES)], ids=lambda flag: flag.name
)
def test_a_flag_of_another_cloud_is_an_error_that_says_whose_it_is(home: Path, flag: Flag) -> None:
    other = next(kind for kind in CLOUD_TYPES if kind not in flag.types)
    value = {"switch": (), "port": ("80",)}.get(flag.shape, ("1=x",))
    done = run(home, "provisioner", "add", "x", "--type", other, f"--{flag.name}", *value)
    assert done.exit_code == 2
    assert f"--{flag.name} is for type {' or '.join(flag.types)}, and this is of type {other}" in done.stderr


def test_the_help_shows_each_clouds_flags_together(home: Path) -> None:
    text = run(home, "provisioner", "add", "--help").output
    sections = re.split(r"\nFor ", text)
    (gcp,) = [section for section in sections if section.startswith("GCP:")]
    assert re.findall(r"^  --[a-z-]+", gcp, re.MULTILINE) == ["  --gcp-project", "  --gcp-service-account"]
    assert "Examples:\n    acme-iid-ca provisioner add Web --type AWS" in text


@pytest.mark.parametrize(
    ("domains", "arguments", "warned"),
    [
        (True, [], True),
        (True, ["--allow", "{instance_id}.local"], False),
        (True, ["--disable-custom-sans"], False),
        (False, [], False),
    ],
)
def test_a_warning_says_where_admission_is_all_that_a_name_takes(
    home: Path, arguments: list[str], *, domains: bool, warned: bool
) -> None:
    if not domains:
        text = (home / "ca.toml").read_text()
        (home / "ca.toml").write_text(text.replace('domains = ["local", "internal"]', "domains = []"))
    done = run(home, "provisioner", "add", "x", *AWS, *arguments)
    assert done.exit_code == 0, done.output
    assert ("Warning" in done.stderr) == warned


def test_a_warning_names_the_rules_that_are_outside_the_domains(home: Path) -> None:
    rules = ["a.local", "*.internal", "{instance_id}.{region}.local", "local", "a.*"]
    outside = ["a.example.com", "xlocal", "a.{region}.com"]
    done = run(home, "provisioner", "add", "x", *AWS, *(f"--allow={rule}" for rule in (*rules, *outside)),
               "--allow-wildcard", "*.b.example.com", "--allow-wildcard", "*.b.local")  # fmt: skip
    assert done.exit_code == 0, done.output
    warned = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Warning: ")]
    assert warned == [*outside, "b.example.com"]
    assert "in none of this CA's domains (local, internal), so nobody gets it" in done.stderr


ONE_OF_EACH = {
    "AWS": ["--aws-account", "123456789042"],
    "GCP": ["--gcp-project", "p"],
    "AZURE": ["--azure-subscription-id", UUID],
    "ACME": ["--challenge", "dns-01"],
}


def test_scripts_are_shown_each_setting_of_a_type(home: Path) -> None:
    for type_, arguments in ONE_OF_EACH.items():
        assert run(home, "provisioner", "add", type_, "--type", type_, *arguments).exit_code == 0
    rows = json.loads(run(home, "provisioner", "list", "--json").stdout)
    assert [row["type"] for row in rows] == list(ONE_OF_EACH) == list(provisioner_settings.types())
    for row in rows:
        settings = [entry for entry in provisioner_settings.of_type(row["type"]) if entry.shape != "registers"]
        assert row.keys() == {"name", "type", *(entry.key.removeprefix("disable_") for entry in settings)}
        # A default is shown where it is a value, and not the absence of one.
        assert [key for key, value in row.items() if value not in (None, False)] == {
            "AWS": ["name", "type", "accounts", "formats", "custom_sans", "trust_on_first_use"],
            "GCP": ["name", "type", "projects", "formats", "custom_sans", "trust_on_first_use"],
            "AZURE": ["name", "type", "subscriptions", "formats", "custom_sans", "trust_on_first_use"],
            "ACME": ["name", "type", "challenges", "http_port", "tls_port"],
        }[row["type"]]


def test_each_flag_that_several_types_have_sets_the_same_for_all() -> None:
    for flag in FLAGS:
        assert len({(entry.key, entry.metavar) for entry in flag.settings.values()}) == 1
        assert {entry.shape for entry in flag.settings.values()} in ({flag.shape}, {"rules", "list"})
        assert all(entry.absent == flag.setting.absent for entry in flag.settings.values())


def test_people_are_shown_the_columns_that_somebody_has_set(home: Path) -> None:
    run(home, "provisioner", "add", "one", *AWS, "--allow", "a.local")
    run(home, "provisioner", "add", "two", "--type", "GCP", "--gcp-project", "p", "--disable-custom-sans")
    done = run(home, "provisioner", "list")
    head, one, two = done.stdout.splitlines()
    assert re.split(r"  +", head) == [
        *("NAME", "TYPE", "ACCOUNTS", "FORMATS", "ALLOW"),
        *("CUSTOM SANS", "TRUST ON FIRST USE", "PROJECTS"),
    ]
    assert re.split(r"  +", one) == [
        *("one", "AWS", "123456789042", "aws-rsa2048, aws-signature", "a.local", "yes", "yes", "-")
    ]
    assert re.split(r"  +", two) == ["two", "GCP", "-", "gcp-identity", "-", "no", "yes", "p"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["x", "--type", "AWS"], 2, "say whose instances are admitted: --aws-account or --organization"),
        (
            ["x", "--type", "GCP", "--zone", "z"],
            2,
            "whose instances are admitted: --gcp-project or --gcp-service-account",
        ),
        (["x", "--type", "AZURE"], 2, "whose instances are admitted: --azure-tenant or --azure-subscription-id"),
        (["x", "--type", "AZURE", "--azure-subscription-id", "1"], 2, "--azure-subscription-id: '1' is no id such as"),
        (["x", *AWS, "--pcr", "4"], 2, "--pcr: '4' is not INDEX=HEX"),
        (["x", *AWS, "--pcr", "24=00"], 2, "--pcr: '24' is no register; they are 0 to 23"),
        (["x", *AWS, "--pcr", "4=00"], 2, "--pcr: '00' is no SHA-384 value"),
        (["x", *AWS, "--web-identity-issuer", "https://x.example"], 2, "is not ACCOUNT=URL"),
        (["x", *AWS, "--web-identity-jwks", "123456789042=k"], 2, "'123456789042' has no issuer here"),
        (["x", *AWS, "--web-identity-issuer", "123456789042=http://x.example"], 1, "is not an https URL"),
        (["x", *AWS, "--allow", "{project}.local"], 1, "Error: --allow: '{project}.local' has the unknown placeholder"),
        (["x", *AWS, "--allow", "a.local", "--disable-custom-sans"], 1, "; take --allow and --allow-wildcard out"),
        (["x", "--type", "AZURE", "--azure-tenant", TENANT], 1, "needs --azure-tenant and --azure-audience"),
        (["x", *AWS, "--allow-wildcard", "a.local"], 1, "does not begin with '*.'"),
        (["x", *AWS, "--network", "10.0.0.1/8"], 1, "'10.0.0.1/8' is no network"),
        (["x", *AWS, "--vpc", "vpc-1"], 1, "--web-identity-issuer: is missing"),
        (["x", "--type", "AWS", "--aws-account", "1234"], 2, "'1234' is no AWS account id; that is twelve digits"),
        (["x", "--type", "Oracle", "--aws-account", "123456789042"], 2, "'Oracle' is not"),
        (["x", "--aws-account", "123456789042"], 2, "Missing option '--type'"),
        (["", *AWS], 2, "'' is no name"),
        (["x", *AWS, "--instance-age", "soon"], 2, "'soon' is no duration"),
        (["x", *AWS, "--format", "aws-rsa1024"], 1, "'aws-rsa1024' is not a format of type AWS; the formats are"),
        (["x", *AWS, "--iid-roots", "/nonexistent"], 1, "/nonexistent cannot be read: No such file or directory"),
        (["x", *AWS, "--iid-roots", "/dev/null"], 1, "iid_roots of the provisioner 'x' hold no key; give a PEM file"),
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
    assert {entry.name for entry in ca_toml.load(home).provisioners} == {f"p{number}" for number in range(6)}


def test_a_link_to_the_file_stays_one(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.toml"
    (home / "ca.toml").rename(real)
    (home / "ca.toml").symlink_to(real)
    assert run(home, "provisioner", "add", "x", *AWS).exit_code == 0
    assert (home / "ca.toml").is_symlink()
    assert "[[provisioner]]" in real.read_text()
