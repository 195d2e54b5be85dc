"""What is unsafe in configurations that can be used: each finding, and its neighbour that is none."""

from __future__ import annotations

import os
from pathlib import Path

import forge
import pytest

from acme_iid.config import ca_toml, findings
from acme_iid.config.finding import Finding
from acme_iid.config.settings import Config
from acme_iid.issuance.home import CERTIFICATE, CHAIN, DESCRIPTION

HOME = Path("/nowhere/ca")
SAFE = """
[[provisioner]]
name = "Safe"
type = "AWS"
accounts = ["123456789042"]
allow = ["{instance_id}.local"]
"""


def read(ca: str = "", server: str = "", provisioner: str = SAFE, domains: str = '"local"') -> Config:
    text = f'[ca]\nname = "My CA"\ndomains = [{domains}]\n{ca}\n[server]\nurl = "https://ca.local"\n{server}\n'
    return ca_toml.parse((text + provisioner).encode(), HOME)


def codes(settings: Config) -> list[str]:
    return [finding.code for finding in findings.of_configuration(settings)]


def provisioner(type_: str, *lines: str) -> str:
    return "\n".join(["[[provisioner]]", 'name = "Mine"', f'type = "{type_}"', *lines, ""])


AWS = ('accounts = ["123456789042"]', 'allow = ["{instance_id}.local"]')
GCP = ('projects = ["my-project"]', 'allow = ["{instance_name}.local"]')
AZURE = (
    'tenants = ["72f988bf-86f1-41af-91ab-2d7cd011db47"]',
    'formats = ["azure-managed-identity"]',
    'allow = ["{vm_name}.local"]',
)


def test_a_configuration_that_is_safe_has_no_findings() -> None:
    assert codes(read()) == []


@pytest.mark.parametrize(
    ("networks", "wide"),
    [
        (["0.0.0.0/0"], ["0.0.0.0/0"]),
        (["::/0"], ["::/0"]),
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/0"]),
        (["8.0.0.0/8"], ["8.0.0.0/8"]),
        (["10.0.0.0/7"], ["10.0.0.0/7"]),
        (["2000::/3"], ["2000::/3"]),
        (["fc00::/7"], ["fc00::/7"]),
        (["127.0.0.1", "0.0.0.0/0", "::/0"], ["0.0.0.0/0", "::/0"]),
        (["10.0.0.0/8", "192.168.0.0/16", "127.0.0.1", "::1", "fd00::/16"], []),
        (["198.51.100.0/24", "8.8.0.0/16", "2001:db8::/32", "2600:1f00::/40"], []),
    ],
)
def test_proxies_that_are_believed_are_not_half_the_world(networks: list[str], wide: list[str]) -> None:
    found = findings.of_configuration(read(server=f"proxies = {networks}"))
    assert [finding.code for finding in found] == ["wide-proxies"] * len(wide)
    assert [
        network for network, finding in zip(wide, found, strict=True) if f"in {network} is" in finding.sentence
    ] == wide


@pytest.mark.parametrize("domain", ["com", "dev", "co.uk", "github.io", "compute.amazonaws.com", "xn--p1ai", "foo.ck"])
def test_a_domain_is_no_public_suffix(domain: str) -> None:
    (finding,) = findings.of_configuration(read(domains=f'"local", "{domain}"'))
    assert (finding.code, finding.severity, finding.where) == ("public-suffix", "unsafe", "ca.domains")
    assert f"the domain {domain} is a public suffix" in finding.sentence


@pytest.mark.parametrize(
    "domain",
    ["internal", "lan", "home.arpa", "corp", "example.com", "ca.example.co.uk", "a.github.io", "racks"],
)
def test_domains_of_ones_own_and_private_ones_are_none(domain: str) -> None:
    assert "public-suffix" not in codes(read(domains=f'"local", "{domain}"'))


def test_without_a_provisioner_nobody_is_admitted() -> None:
    (finding,) = findings.of_configuration(read(provisioner=""))
    assert (finding.code, finding.severity) == ("no-provisioner", "remark")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (provisioner("AWS", AWS[0]), ["any-name"]),
        (provisioner("AWS", AWS[0], "disable_custom_sans = true"), []),
        (provisioner("AWS", AWS[0], "allow = []"), []),
        (provisioner("AWS", *AWS, "disable_trust_on_first_use = true"), ["first-use-off"]),
        (provisioner("AWS", *AWS, "disable_trust_on_first_use = true", 'formats = ["aws-pkcs7"]'), ["first-use-off"]),
        (
            provisioner(
                "AWS", *AWS, "disable_trust_on_first_use = true", 'formats = ["aws-nitrotpm", "aws-signature"]'
            ),
            ["first-use-off"],
        ),
        (provisioner("AWS", *AWS, "disable_trust_on_first_use = true", 'formats = ["aws-nitrotpm"]'), []),
        (provisioner("GCP", *GCP, "disable_trust_on_first_use = true"), []),
        (provisioner("AWS", *AWS, 'regions = ["us-east-1", "us-esat-1"]'), ["unknown-region"]),
        (provisioner("AWS", *AWS, 'regions = ["us-east1"]'), ["unknown-region"]),
        (provisioner("AWS", *AWS, 'zones = ["us-east-3a"]'), ["unknown-region"]),
        (provisioner("AWS", *AWS, 'zones = ["us-east-1a", "us-west-2-lax-1a"]', 'regions = ["eu-west-1"]'), []),
        (provisioner("GCP", *GCP, 'regions = ["us-central1"]', 'zones = ["europe-west4-a"]'), []),
        (provisioner("GCP", *GCP, 'regions = ["us-east-1"]'), ["unknown-region"]),
        (provisioner("GCP", *GCP, 'regions = ["europe-west4-a"]'), ["unknown-region"]),
        (provisioner("GCP", *GCP, 'zones = ["europe-west4"]'), ["unknown-region"]),
        (
            provisioner("AWS", AWS[0], 'allow = [{names = ["a.local"], when = {region = ["us-east-9"]}}]'),
            ["unknown-region"],
        ),
        (provisioner("AWS", AWS[0], 'allow = ["a.example.com"]'), ["outside-domains"]),
    ],
)
def test_what_is_unsafe_in_a_provisioner_for_instances(entry: str, expected: list[str]) -> None:
    assert codes(read(provisioner=entry)) == expected


def test_a_region_whose_keys_the_operator_gives_is_known(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(forge.keys().certificates)
    entry = provisioner("AWS", *AWS, 'regions = ["mars-north-1"]')
    assert codes(read(provisioner=entry)) == ["unknown-region"]
    assert codes(read(provisioner=f'{entry}iid_roots = "{roots}"\n')) == []


@pytest.mark.parametrize(
    ("audience", "foreign"),
    [
        ("https://management.azure.com/", True),
        ("https://vault.azure.net", True),
        ("https://graph.microsoft.com", True),
        ("https://ca.local.example.com", True),
        ("api://AzureADTokenExchange", True),
        ("00000003-0000-0000-c000-000000000000", True),
        ("797F4846-ba00-4fd7-ba43-dac1f8f63013", True),
        ("https://ca.local", False),
        ("https://CA.local/acme", False),
        ("https://other.local", False),
        ("api://my-ca", False),
        ("8a205152-b25a-417f-a676-80465535a6c9", False),
    ],
)
def test_an_audience_is_the_cas_own(audience: str, foreign: bool) -> None:
    entry = provisioner("AZURE", *AZURE, f'audience = "{audience}"')
    assert codes(read(provisioner=entry)) == (["foreign-audience"] if foreign else [])


@pytest.mark.parametrize(
    ("challenges", "networks", "warned"),
    [
        (["http-01"], None, True),
        (["dns-01", "tls-alpn-01"], None, True),
        (["http-01"], ["0.0.0.0/0"], True),
        (["http-01"], ["10.0.0.0/8"], False),
        (["dns-01"], None, False),
    ],
)
def test_hosts_that_are_connected_to_are_in_known_networks(
    challenges: list[str], networks: list[str] | None, warned: bool
) -> None:
    entry = provisioner("ACME", f"challenges = {challenges}", "" if networks is None else f"networks = {networks}")
    assert codes(read(provisioner=entry)) == (["hosts-anywhere"] if warned else [])


# Files

ISSUER = "issuers/0123456789abcdef"
KEY = "secrets/issuer_0123456789abcdef_key"
OF_THE_ISSUER = [KEY, "issuers", ISSUER, *(f"{ISSUER}/{name}" for name in (CERTIFICATE, CHAIN, DESCRIPTION))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "ca"
    (made / "secrets").mkdir(parents=True, mode=0o700)
    (made / "ca.toml").write_text("")
    (made / ISSUER).mkdir(parents=True, mode=0o700)
    (made / "issuers").chmod(0o700)
    for name in (KEY, f"{ISSUER}/{CERTIFICATE}", f"{ISSUER}/{CHAIN}"):
        (made / name).write_text("")
    (made / ISSUER / DESCRIPTION).write_text(f'key = "file:{KEY}"')
    (made / "roots.pem").write_bytes(forge.keys().certificates)
    for path in made.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
    made.chmod(0o700)
    return made


def of_files(home: Path, password: Path | None = None, uid: int | None = None) -> list[Finding]:
    entry = provisioner("AWS", *AWS, 'iid_roots = "roots.pem"')
    settings = ca_toml.parse(f'[ca]\nname = "x"\n[server]\nurl = "https://ca.local"\n{entry}'.encode(), home)
    return findings.of_files(settings, password, uid)


def test_files_that_nobody_else_can_write_are_no_finding(home: Path) -> None:
    assert of_files(home) == []


@pytest.mark.parametrize("name", [".", "..", "ca.toml", "secrets", *OF_THE_ISSUER, "roots.pem"])
@pytest.mark.parametrize(("mode", "who"), [(0o020, "its whole group"), (0o002, "everybody on this machine")])
def test_a_file_or_directory_that_others_can_write_is_named(home: Path, name: str, mode: int, who: str) -> None:
    path = (home / name).resolve()
    path.chmod(path.stat().st_mode | mode)
    (finding,) = of_files(home)
    assert (finding.code, finding.severity, finding.where) == ("others-write", "unsafe", str(path))
    assert finding.sentence == f"{who} can write {path}, and so decide what this CA does."
    assert finding.remedy == f"Take that away: chmod go-w '{path}'"


def test_a_sticky_directory_above_the_home_is_none(home: Path) -> None:
    home.parent.chmod(0o1777)
    assert of_files(home) == []


def test_a_password_that_others_can_read_or_write_is_named(home: Path) -> None:
    password = home.parent / "password"
    password.write_text("hunter2\n")
    password.chmod(0o640)
    assert of_files(home, password) == []
    password.chmod(0o604)
    (finding,) = of_files(home, password)
    assert (finding.code, finding.remedy) == ("others-read", f"Make it private: chmod 600 '{password}'")
    password.chmod(0o602)
    (finding,) = of_files(home, password)
    assert finding.code == "others-write"


def test_a_file_of_another_user_is_named(home: Path) -> None:
    stranger = 12345
    if os.geteuid() == 0:
        os.chown(home / "roots.pem", stranger, -1)
        found = of_files(home)
    else:  # only root gives files away; so it is somebody else who looks
        found = of_files(home, uid=stranger)
    assert {finding.code for finding in found} == {"others-own"}
    assert found[-1].where == str(home / "roots.pem")
    assert "roots.pem belongs to another user (uid" in found[-1].sentence


def test_root_looks_at_the_home_of_the_user_that_the_server_runs_as(home: Path) -> None:
    if os.geteuid() == 0:
        for path in (home, *home.rglob("*")):
            os.chown(path, 12345, -1)
    assert of_files(home, uid=0) == []


@pytest.mark.parametrize(("lifetime", "found"), [("25h", ["long-proof"]), ("24h", []), ("1h", [])])
def test_a_proof_that_outlives_certificates_is_called_unsafe(lifetime: str, found: list[str]) -> None:
    assert codes(read(provisioner=provisioner("AWS", *AWS, f'proof_lifetime = "{lifetime}"'))) == found
