from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import forge
import forge_tokens
import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation.registry import TRUST, VERIFIERS
from acme_iid.attestation.trust import GivenKeys, TokenIssuer
from acme_iid.config import ca_toml, parsers
from acme_iid.config.settings import CASettings, Config, ServerSettings
from acme_iid.config.table import ConfigError
from acme_iid.issuance.profiles import Lifetimes, Profile
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import Demand
from acme_iid.protocol.addresses import Listen
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import KeyPolicy
from acme_iid.terminal import durations

HOME = Path("/nowhere/ca")
MINIMAL = """
[ca]
name = "My CA"
domains = ["local", "Internal"]
[server]
url = "https://ca.local"
"""
PROVISIONER = """
[[provisioner]]
name = "AWS IID Provisioner"
type = "AWS"
accounts = ["123456789042"]
"""
WEB_IDENTITY = 'web_identity = [{issuer = "https://x.example", account = "123456789042"}]'
SUBSCRIPTION = 'type = "AZURE"\nsubscriptions = ["8a205152-b25a-417f-a676-80465535a6c9"]\n'


PROFILE = """[profile.a]
description = "For a test"
"""


def parse(text: str) -> Config:
    return ca_toml.parse(text.encode(), HOME)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("/nowhere/ca/ca.toml")
    return message.removeprefix("/nowhere/ca/ca.toml").removeprefix(": ")


def test_the_defaults_are_those_of_the_documentation() -> None:
    found = parse(MINIMAL + PROVISIONER)
    lists = {"accounts": ("123456789042",)}
    assert found.home == HOME
    assert found.ca == CASettings("My CA", ("local", "internal"), Lifetimes(86400, 300, 86400))
    assert found.server == ServerSettings("https://ca.local", Listen("0.0.0.0", 443))  # noqa: S104 - the documented default
    assert found.server.names == (Identifier("dns", "ca.local"),)
    assert found.store.path == HOME / "ca.db"
    assert found.provisioners == (
        Provisioner(
            name="AWS IID Provisioner",
            type="AWS",
            demands=(Demand("accounts", ("account",), ("123456789042",)),),
            formats=("aws-rsa2048", "aws-signature"),
            keys=GivenKeys("AWS IID Provisioner", lists=lists, given=frozenset({"accounts"})),
        ),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(forge.keys().certificates)
    text = """
        [ca]
        name = "My CA"
        domains = []
        lifetime = "1h30m"
        minimum_lifetime = "10m"
        maximum_lifetime = "7d"
        [server]
        url = "https://[::1]:8443/acme-ca/"
        listen = "[::1]:8443"
        [store]
        url = "sqlite:data/ca.db"
        [[provisioner]]
        name = "é"
        type = "AWS"
        accounts = ["123456789042", "000000000000"]
        instance_age = "90m"
        iid_roots = "roots.pem"
        formats = ["aws-pkcs7", "aws-rsa2048"]
        disable_custom_sans = true
        disable_trust_on_first_use = true
    """
    found = ca_toml.parse(text.encode(), tmp_path)
    assert found.ca == CASettings("My CA", (), Lifetimes(5400, 600, 604800))
    assert found.server == ServerSettings("https://[::1]:8443/acme-ca", Listen("::1", 8443))
    assert found.server.names == (Identifier("ip", "::1"),)
    assert found.store.path == tmp_path / "data/ca.db"
    assert found.provisioners == (
        Provisioner(
            name="é",
            type="AWS",
            demands=(Demand("accounts", ("account",), ("123456789042", "000000000000")),),
            instance_age=5400,
            formats=("aws-pkcs7", "aws-rsa2048"),
            disable_custom_sans=True,
            disable_trust_on_first_use=True,
            keys=GivenKeys(
                "é",
                files={"iid_roots": forge.keys().certificates},
                places={"iid_roots": tmp_path / "roots.pem"},
                lists={"accounts": ("123456789042", "000000000000")},
                given=frozenset({"accounts", "iid_roots"}),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("domains", "domain"), "unknown key 'domain' in [ca]; the nearest known one is 'domains'"),
        (MINIMAL + "[stroe]\n", "unknown table 'stroe' at the top level; the nearest known one is 'store'"),
        (MINIMAL + "[sever]\n", "unknown table 'sever' at the top level; the nearest known one is 'server'"),
        (
            MINIMAL + PROVISIONER + 'format = ["aws-pkcs7"]',
            "unknown key 'format' in [[provisioner]] 'AWS IID Provisioner'; the nearest known one is 'formats'",
        ),
        (
            MINIMAL + PROVISIONER + "disable_custom_san = true",
            (
                "unknown key 'disable_custom_san' in [[provisioner]] 'AWS IID Provisioner'; "
                "the nearest known one is 'disable_custom_sans'"
            ),
        ),
    ],
)
def test_an_unknown_key_is_an_error_with_its_table_and_the_nearest_key(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize("key", ["projects", "tenants", "jwks", "audience", "deny"])
def test_keys_of_other_clouds_and_unknown_rules_are_refused_not_ignored(key: str) -> None:
    assert f"unknown key '{key}'" in refusal(MINIMAL + PROVISIONER + f'{key} = ["x"]')


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"My CA"', "7", "[ca] name: 7 is not a string; it is the CA's name"),
        ('"My CA"', '""', "[ca] name: '' is no name"),
        ('"My CA"', '"a\\tb"', "[ca] name: 'a\\tb' is no name"),
        ('"My CA"', f'"{"x" * 49}"', "[ca] name: the name is 49 characters long; 48 is the limit"),
        ('name = "My CA"\n', "", "[ca] name: is missing"),
        ('name = "My CA"', 'nmae = "My CA"', "[ca] name: is missing; it is the CA's name (is 'nmae' meant?)"),
        ('["local", "Internal"]', '"local"', "[ca] domains: 'local' is not a list"),
        ('["local", "Internal"]', "[1]", "[ca] domains: 1 is not a string"),
        ('["local", "Internal"]', '["*.local"]', "[ca] domains: '*.local' is a wildcard"),
        ('["local", "Internal"]', '["lo cal"]', "[ca] domains: 'lo cal' has the label 'lo cal'"),
        ('["local", "Internal"]', '["ban\u212a.local"]', "[ca] domains: 'ban\u212a.local' is not ASCII"),
        ('["local", "Internal"]', '["local", "LOCAL"]', "[ca] domains: 'LOCAL' is listed twice"),
        ("[server]", 'lifetime = "1y"\n[server]', "[ca] lifetime: '1y' is no duration; write for example \"1h\""),
        ("[server]", "lifetime = 3600\n[server]", "[ca] lifetime: 3600 is not a string; it is a duration"),
        ("[server]", 'lifetime = "2d"\n[server]', "[ca] lifetime: 172800 seconds is not between"),
        ("[server]", 'lifetime = "4m"\n[server]', "[ca] lifetime: 240 seconds is not between"),
        ("[server]", 'minimum_lifetime = "59s"\n[server]', "[ca] minimum_lifetime: is below a minute"),
        ("[server]", 'maximum_lifetime = "826d"\n[server]', "[ca] maximum_lifetime: is above 825 days"),
        ("[server]", "key_types = []\n[server]", "[ca] key_types: is empty, so no certificate could be issued"),
        ("[server]", 'key_types = ["P256"]\n[server]', "'P256' is not one of P-256, P-384, P-521, Ed25519, RSA"),
        (
            "[server]",
            "minimum_rsa_bits = 0\n[server]",
            "[ca] minimum_rsa_bits: 0 to 8192 (maximum_rsa_bits) is no range",
        ),
        (
            "[server]",
            "maximum_rsa_bits = 2047\n[server]",
            "[ca] minimum_rsa_bits: 2048 to 2047 (maximum_rsa_bits) is no",
        ),
        ("[server]", "maximum_rsa_bits = 8193\n[server]", "8193 (maximum_rsa_bits) is no range between 2048 and 8192"),
        ("[server]", "account_algorithms = []\n[server]", "[ca] account_algorithms: is empty"),
        (
            "[server]",
            'account_algorithms = ["none"]\n[server]',
            "'none' is not one of ES256, ES384, ES512, EdDSA, RS256",
        ),
        ("[server]", '[profile."a b"]\n[server]', "'a b' is no name for a profile"),
        ("[server]", "[profile]\na = 7\n[server]", "profile.a: is not a table; it begins with [profile.a]"),
        ("[server]", "[profile.a]\n[server]", "[profile.a] description: is missing"),
        ("[server]", '[profile.a]\ndescription = " "\n[server]', "[profile.a] description: ' ' is no description"),
        (
            "[server]",
            PROFILE + 'usages = ["email"]\n[server]',
            "[profile.a] usages: 'email' is not one of server, client",
        ),
        ("[server]", PROFILE + "usages = []\n[server]", "[profile.a] usages: is empty"),
        (
            "[server]",
            PROFILE + 'key_usages = ["keyAgreement"]\n[server]',
            "[profile.a] key_usages: lacks digitalSignature",
        ),
        ("[server]", PROFILE + 'key_usages = ["cRLSign"]\n[server]', "'cRLSign' is not one of digitalSignature"),
        ("[server]", PROFILE + 'lifetime = "2d"\n[server]', "[profile.a] lifetime: 172800 seconds is not between"),
        ("[server]", PROFILE + "ttl = 7\n[server]", "unknown key 'ttl' in [profile.a]"),
        ('"https://ca.local"', '"ca.local"', "[server] url: 'ca.local' is no URL to serve"),
        ('"https://ca.local"', '"http://ca.local"', "[server] url: 'http://ca.local' is plain HTTP; write https"),
        ('"https://ca.local"', '"https://ca.local/?a"', "has a query, fragment or user"),
        ('"https://ca.local"', '"https://ca.local/#"', "has a query, fragment or user"),
        ('"https://ca.local"', '"https://me@ca.local"', "has a query, fragment or user"),
        ('"https://ca.local"', '"https://ca.local/a/../b"', "has a path that is not plain"),
        ('"https://ca.local"', '"https://ca.local//a"', "has a path that is not plain"),
        ('"https://ca.local"', '"https://*.local"', "names a wildcard"),
        ('"https://ca.local"', '"https://ca.local:70000"', "[server] url: Port out of range"),
        ('"https://ca.local"', '"https://ca.\\nlocal"', "has blanks or control characters"),
        ('"https://ca.local"', '"https://ca.local"\nlisten = "443"', "[server] listen: '443' is no address"),
        ('"https://ca.local"', '"https://ca.local"\nlisten = "::1:443"', "IPv6 address without brackets"),
        ('"https://ca.local"', '"https://ca.local"\nlisten = "0.0.0.0:65536"', "is no address to listen on"),
        (
            '"https://ca.local"',
            '"https://ca.local"\n[store]\nurl = "mysql://db"',
            "[store] url: 'mysql://db' is no store",
        ),
        ('"https://ca.local"', '"https://ca.local"\n[store]\nurl = "sqlite:"', "[store] url: 'sqlite:' is no store"),
        (
            '"https://ca.local"',
            '"https://ca.local"\n[store]\nconnections = 0',
            "[store] connections: 0 is not a number",
        ),
        ('"https://ca.local"', '"https://ca.local"\n[store]\nconnections = 101', "is not a number from 1 to 100"),
    ],
)
def test_a_value_that_cannot_be_meant_is_an_error_that_names_it(old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    assert message in refusal(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "AWS IID Provisioner"\n', "", "[[provisioner]] 'number 1' name: is missing"),
        ('type = "AWS"', 'type = "OCI"', "type: 'OCI' is not a known type; the types are AWS, GCP, AZURE"),
        ('["123456789042"]', "[123456789042]", "accounts: 123456789042 is not a string"),
        ('["123456789042"]', '["12345678904"]', "accounts: '12345678904' is no AWS account id; that is twelve digits"),
        ('["123456789042"]', '["١٢٣٤٥٦٧٨٩٠٤٢"]', "is no AWS account id"),
        ('["123456789042"]', "[]", "accounts: is empty, so nobody would be admitted"),
        ('accounts = ["123456789042"]', "", "accounts: is missing; without accounts or organizations nobody would be"),
        ("[[", 'unknown = 1\n[["', "is not TOML"),
        ('type = "AWS"', 'type = "AWS"\nformats = ["aws-rsa1024"]', "'aws-rsa1024' is not a format of type AWS"),
        ('type = "AWS"', 'type = "AWS"\nformats = []', "formats: is empty, so no evidence would be accepted"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = 5', "instance_age: 5 is not a string; it is a duration such as"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = "0s"', "instance_age: '0s' is no duration"),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "x"', "iid_roots: /nowhere/ca/x cannot be read: No such file"),
        (
            'type = "AWS"',
            'type = "AWS"\niid_roots = "/dev/null"',
            "iid_roots of the provisioner 'AWS IID Provisioner' hold no key",
        ),
        (
            'type = "AWS"',
            'type = "AWS"\nnitro_roots = "/dev/null"',
            "nitro_roots of the provisioner 'AWS IID Provisioner'",
        ),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "/dev/zero"', "/dev/zero is larger than 1048576 bytes"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = 1', "disable_custom_sans: 1 is not true or false"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = "no"', "disable_custom_sans: 'no' is not true or false"),
    ],
)
def test_a_provisioner_that_cannot_be_meant_is_an_error(old: str, new: str, message: str) -> None:
    assert old in PROVISIONER
    assert message in refusal(MINIMAL + PROVISIONER.replace(old, new))


@pytest.mark.parametrize(("text", "seconds"), [("", 75), ('keep_alive = "5s"', 5), ('keep_alive = "1h"', 3600)])
def test_connections_are_kept_for_longer_than_a_minute_by_default(text: str, seconds: int) -> None:
    assert parse(f"{MINIMAL}{text}\n").server.keep_alive == seconds


@pytest.mark.parametrize("text", ["4s", "3601s", "1d"])
def test_a_time_to_keep_connections_is_bounded(text: str) -> None:
    assert refusal(f'{MINIMAL}keep_alive = "{text}"\n') == "[server] keep_alive: must be from 5s to 1h"


@pytest.mark.parametrize(
    ("key", "least", "too_short", "message"),
    [
        ("orders", "1h", "59m", "must be at least 1h, because clients still read orders after they end"),
        ("certificates", "1d", "23h", "must be at least 1d, because revocation lists are relied on for a day"),
    ],
)
def test_what_ended_stays_for_as_long_as_it_is_needed(key: str, least: str, too_short: str, message: str) -> None:
    assert getattr(parse(f'{MINIMAL}[retention]\n{key} = "{least}"\n').retention, key) == parsers.duration(least)
    assert refusal(f'{MINIMAL}[retention]\n{key} = "{too_short}"\n') == f"[retention] {key}: {message}"


def test_provisioners_have_different_names() -> None:
    message = "[[provisioner]] 'AWS IID Provisioner' name: another provisioner has this name; names are unique"
    assert refusal(MINIMAL + PROVISIONER + PROVISIONER) == message


@pytest.mark.parametrize(
    ("given_url", "canonical"),
    [
        ("https://CA.Local/", "https://ca.local"),
        ("https://ca.local:443", "https://ca.local"),
        ("https://ca.local:8443/x/y/", "https://ca.local:8443/x/y"),
        ("https://[0::1]", "https://[::1]"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_url_has_one_spelling(given_url: str, canonical: str) -> None:
    assert parsers.server_url(given_url) == canonical
    assert parsers.server_url(canonical) == canonical


@pytest.mark.parametrize(
    "url", ["https://ban\u212a.local", "https://\uff46oo.local", "https://foo\u3002local", "https://ca.local/\u212a"]
)
def test_a_url_is_ascii_before_its_host_is_lowered(url: str) -> None:
    with pytest.raises(ValueError, match="not ASCII"):
        parsers.server_url(url)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("90m", 5400), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), ("1d1s", 86401)]
)
def test_durations_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parsers.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "1 h", "-1h", "1.5h", "h", "30m1h", "1h\n", "4000d", "999999d", "0h", "\uff11h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parsers.duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("24h", 86400), ("30d", 30 * 86400), ("0", 0)])
def test_a_proof_may_serve_for_a_while_or_not_at_all(text: str, seconds: int) -> None:
    found = parse(MINIMAL + PROVISIONER + f'proof_lifetime = "{text}"')
    assert found.provisioners[0].proof_lifetime == seconds


def test_a_proof_serves_for_30_days_at_most() -> None:
    text = refusal(MINIMAL + PROVISIONER + 'proof_lifetime = "30d1s"')
    assert text.endswith("""proof_lifetime: '30d1s' is longer than 30 days; write "30d" or less""")


@given(st.integers(1, 3650), st.sampled_from([1, 60, 3600, 86400]))
def test_a_duration_is_written_as_it_is_read(count: int, unit: int) -> None:
    seconds = count * unit
    assert parsers.duration(durations.text(seconds)) == seconds


@given(st.text(max_size=30) | st.from_regex(r"(\d+[dhms]){1,4}\Z"))
def test_a_duration_is_a_number_of_seconds_or_an_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 < parsers.duration(text) <= 3650 * 86400


toml_values = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "local", "https://ca.local", "1h", "AWS", "sqlite:x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "url", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["ca", "server", "store", "provisioner", "x"]),
        toml_values
        | st.dictionaries(st.sampled_from(["name", "domains", "lifetime", "url", "listen", "type"]), toml_values)
        | st.lists(st.dictionaries(st.sampled_from(["name", "type", "accounts", "formats"]), toml_values), max_size=2),
    )
)
def test_any_toml_at_all_is_a_configuration_or_an_error_for_people(document: dict[str, object]) -> None:
    try:
        parse(tomlkit.dumps(document))
    except ConfigError as error:
        message = str(error)
    else:
        message = "/nowhere/ca/ca.toml: "
    assert message.startswith("/nowhere/ca/ca.toml: ")


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_a_configuration_or_an_error_for_people(data: bytes) -> None:
    with pytest.raises(ConfigError):  # random bytes never hold a [ca] with a name
        ca_toml.parse(data, HOME)


def test_nesting_and_size_are_bounded() -> None:
    assert "nested too deep" in refusal("a = " + "[" * 100_000)
    assert refusal("#" * (ca_toml.MAX_FILE_BYTES + 1)) == " is larger than 1048576 bytes, the limit of a configuration"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.toml does not exist; 'acme-iid-ca init' makes a CA"):
        ca_toml.load(tmp_path)


def test_a_relative_home_is_taken_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/ca.toml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert ca_toml.load(Path("ca")).store.path == tmp_path / "ca/ca.db"


@pytest.mark.parametrize(
    ("environment", "uid", "home"),
    [
        ({"ACME_IID_CA_HOME": "/chosen", "XDG_CONFIG_HOME": "/xdg"}, 0, "/chosen"),
        ({"ACME_IID_CA_HOME": "/chosen"}, 1000, "/chosen"),
        ({"ACME_IID_CA_HOME": "", "XDG_CONFIG_HOME": "/xdg"}, 0, "/etc/acme-iid-ca"),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "/xdg"}, 1000, "/xdg/acme-iid-ca"),
        ({"HOME": "/home/me"}, 1000, "/home/me/.config/acme-iid-ca"),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": ""}, 1000, "/home/me/.config/acme-iid-ca"),
        ({"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"}, 1000, "/home/me/.config/acme-iid-ca"),
    ],
    ids=str,
)
def test_the_home_is_found_in_the_documented_order(environment: dict[str, str], uid: int, home: str) -> None:
    assert ca_toml.default_home(environment, uid) == Path(home)


def test_the_formats_of_a_type_are_those_that_have_a_verifier() -> None:
    verified = {
        entry.type: {name for name, verifier in VERIFIERS.items() if verifier.cloud == entry.cloud}
        for entry in CLOUD_TYPES.values()
    }
    assert verified == {type_: set(entry.formats) for type_, entry in CLOUD_TYPES.items()}


def test_every_cloud_has_keys() -> None:
    assert TRUST.keys() == {entry.cloud for entry in CLOUD_TYPES.values()}


def test_the_facts_of_a_format_are_those_that_its_verifier_finds() -> None:
    aws, gcp = CLOUD_TYPES["AWS"].formats, CLOUD_TYPES["GCP"].formats
    document = forge.aws_rsa2048(forge.document(architecture="x86_64", privateIp="10.0.0.5"))
    for evidence, trust, form in (
        (document, forge.trust(), aws["aws-rsa2048"]),
        (forge_tokens.aws_web_identity(), forge_tokens.trust(), aws["aws-web-identity"]),
        (forge_tokens.gcp_identity(), forge_tokens.trust(), gcp["gcp-identity"]),
    ):
        verifier = VERIFIERS[evidence.format]
        identity = verifier.identify(verifier.authenticate(evidence, trust, forge.SIGNED_AT))
        assert set(identity.facts) == set(form.facts), evidence.format
    registers = {f"pcr{number}" for number in range(24)}
    assert set(aws["aws-nitrotpm"].facts) == {*aws["aws-rsa2048"].facts, *registers}


def provisioner(text: str) -> Provisioner:
    (found,) = parse(MINIMAL + '[[provisioner]]\nname = "P"\n' + text).provisioners
    return found


def test_each_cloud_has_its_own_lists() -> None:
    gcp = provisioner('type = "GCP"\nprojects = ["my-project"]\nzones = ["us-west1-b"]')
    assert [demand.key for demand in gcp.demands] == ["projects", "zones"]
    assert gcp.formats == ("gcp-identity",)
    azure = provisioner('type = "AZURE"\nsubscriptions = ["8A205152-b25a-417f-a676-80465535a6c9"]')
    assert azure.demands[0].values == ("8a205152-b25a-417f-a676-80465535a6c9",)
    assert azure.formats == ("azure-attested",)


def test_lists_that_only_a_managed_identity_proves_ask_for_one() -> None:
    tenant = 'tenants = ["8a205152-b25a-417f-a676-80465535a6c9"]\nresource_groups = ["rg"]\naudience = "api://ca"'
    assert provisioner('type = "AZURE"\n' + tenant).formats == ("azure-managed-identity",)


def test_a_web_identity_issuer_adds_a_format_unless_a_list_rules_one_out() -> None:
    aws = 'type = "AWS"\naccounts = ["123456789042"]\n'
    issuer = '[[provisioner.web_identity]]\naccount = "123456789042"\nissuer = "https://x.example"\n'
    assert provisioner(aws + issuer).formats == ("aws-web-identity", "aws-rsa2048", "aws-signature")
    assert provisioner(aws + 'vpcs = ["vpc-1"]\n' + issuer).formats == ("aws-web-identity",)
    assert provisioner(aws + 'images = ["ami-1"]\n' + issuer).formats == ("aws-rsa2048", "aws-signature")
    assert provisioner(aws + issuer).keys.issuers == (TokenIssuer("https://x.example", "123456789042"),)


def test_an_issuer_is_one_accounts_for_all_provisioners() -> None:
    both = "".join(
        f'[[provisioner]]\nname = "{name}"\ntype = "AWS"\naccounts = ["{account}"]\n'
        f'[[provisioner.web_identity]]\naccount = "{account}"\nissuer = "https://x.example"\n'
        for name, account in (("P", "123456789042"), ("Q", "000000000000"))
    )
    assert "[[provisioner]] 'Q' web_identity: another provisioner has https://x.example" in refusal(MINIMAL + both)


def test_pcr_values_ask_for_nitrotpm() -> None:
    assert provisioner(f'type = "AWS"\naccounts = ["123456789042"]\npcr4 = ["{"0a" * 48}"]').formats == (
        "aws-nitrotpm",
    )


def test_name_rules_are_texts_and_tables() -> None:
    found = provisioner(
        """type = "AWS"
        accounts = ["123456789042"]
        allow = [
            "{instance_id}.local",
            {names = ["web.local", "db.local"], when = {region = ["us-east-1"], image = "ami-1"}},
        ]
        allow_wildcards = ["*.apps.local"]
        networks = ["10.0.0.0/8"]
        """
    )
    assert found.allow is not None
    assert [rule.template.text for rule in found.allow] == ["{instance_id}.local", "web.local", "db.local"]
    assert [(demand.key, demand.values) for demand in found.allow[1].when] == [
        ("image", ("ami-1",)),
        ("region", ("us-east-1",)),
    ]
    assert [rule.template.text for rule in found.allow_wildcards] == ["apps.local"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('allow = ["{nonsense}.local"]', "unknown placeholder {nonsense}"),
        ('allow = ["{project}.local"]', "unknown placeholder {project}"),
        ("allow = [7]", "is not a name"),
        ('allow = [{names = ["a.local"], when = {nonsense = "x"}}]', "unknown key 'nonsense'"),
        ('allow = [{names = ["a.local"], whn = {region = "x"}}]', "unknown table 'whn'"),
        ('allow = [{names = ["a.local"], when = {region = []}}]', "is not a value, or a list of values"),
        ('allow_wildcards = ["a.local"]', "does not begin with '*.'"),
        ('networks = ["10.0.0.1/8"]', "is no network"),
        ("regions = []", "is empty, so nobody would be admitted"),
        ('projects = ["p"]', "unknown key 'projects'"),
        ('disable_custom_sans = true\nallow = ["a.local"]', "leaves only names that follow from the evidence"),
        (
            'formats = ["aws-web-identity"]',
            "web_identity: is missing; evidence of format aws-web-identity needs each account's issuer",
        ),
        ('web_identity = [{issuer = "http://x.example", account = "123456789042"}]', "is not an https URL"),
        (
            'web_identity = [{issuer = "https://me@x.example", account = "123456789042"}]',
            "[[provisioner]] 'P' [[web_identity]] 'number 1' issuer: the URL of a key set has no user",
        ),
        (
            'web_identity = [{issuer = "https://x.example", account = "123456789042", jwks = "/dev/null"}]',
            "[[web_identity]] 'number 1' jwks: ",
        ),
        (
            WEB_IDENTITY.replace("]", ', {issuer = "https://x.example", account = "000000000000"}]'),
            "an account has one issuer, and an issuer one account",
        ),
        ('allow = [{names = ["a.local"]}]', "needs names and when"),
        ('allow = [{when = {region = "us-east-1"}}]', "needs names and when"),
        ('vpcs = ["vpc-1"]', "web_identity: is missing"),
        (
            'vpcs = ["vpc-1"]\nformats = ["aws-rsa2048"]',
            (
                "so no instance that sends it would be admitted; leave aws-rsa2048 out of formats: "
                "aws-web-identity can prove it"
            ),
        ),
        (
            'images = ["ami-1"]\nformats = ["aws-rsa2048", "aws-web-identity"]',
            "web_identity: is missing; evidence of format aws-web-identity needs each account's issuer",
        ),
        (
            'images = ["ami-1"]\nformats = ["aws-rsa2048", "aws-web-identity"]\n' + WEB_IDENTITY,
            "images: is not proven by aws-web-identity",
        ),
        (
            'instance_age = "1h"\nformats = ["aws-web-identity"]\n' + WEB_IDENTITY,
            "instance_age: cannot be checked with aws-web-identity",
        ),
        ('disable_custom_sans = true\nallow_wildcards = ["*.a.local"]', "leaves only names that follow"),
        (f'pcr24 = ["{"00" * 48}"]', "unknown key 'pcr24'"),
        ('pcr4 = ["00"]', "is no SHA-384 value"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_an_error(text: str, message: str) -> None:
    assert message in refusal(
        MINIMAL + '[[provisioner]]\nname = "P"\ntype = "AWS"\naccounts = ["123456789042"]\n' + text
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type = "AWS"\nregions = ["us-east-1"]', "without accounts or organizations nobody would be admitted"),
        ('type = "GCP"\nzones = ["z"]', "without projects or service_accounts nobody would be admitted"),
        ('type = "AZURE"\nresource_groups = ["rg"]', "without tenants or subscriptions nobody would be admitted"),
        (
            SUBSCRIPTION + 'resource_groups = ["rg"]',
            "tenants: is missing; evidence of format azure-managed-identity needs tenants and audience",
        ),
        (
            SUBSCRIPTION + 'resource_groups = ["rg"]\nformats = ["azure-attested"]',
            "is not proven by azure-attested",
        ),
        (
            'type = "GCP"\nprojects = ["p"]\njwks = "http://keys.example/"',
            "jwks: 'http://keys.example/' is not an https URL",
        ),
        ('type = "GCP"\nprojects = ["p"]\njwks = "/dev/null"', "[[provisioner]] 'P' jwks: "),
        ('type = "GCP"\nprojects = ["p"]\niid_roots = "/dev/null"', "unknown key 'iid_roots'"),
        (
            SUBSCRIPTION + 'instance_age = "1h"',
            "instance_age: cannot be checked with azure-attested",
        ),
        (
            SUBSCRIPTION + 'iid_roots = "/dev/null"',
            "iid_roots of the provisioner 'P'",
        ),
    ],
)
def test_a_provisioner_without_owners_or_proof_is_an_error(text: str, message: str) -> None:
    assert message in refusal(MINIMAL + '[[provisioner]]\nname = "P"\n' + text)


def test_profiles_are_read_in_order_with_the_cas_lifetimes_as_defaults() -> None:
    text = MINIMAL + PROVISIONER + 'profiles = ["b"]\n' + PROFILE
    text += """
        [profile.b]
        description = "Another"
        lifetime = "30d"
        minimum_lifetime = "1d"
        maximum_lifetime = "90d"
        usages = ["client"]
        key_usages = ["digitalSignature"]
    """
    found = parse(text)
    first = Profile("a", "For a test", Lifetimes(86400, 300, 86400))
    second = Profile(
        "b", "Another", Lifetimes(30 * 86400, 86400, 90 * 86400), usages=("client",), key_usages=("digitalSignature",)
    )
    assert found.profiles == (first, second)
    assert (found.profile(None), found.profile("b"), found.profile("c")) == (first, second, None)
    assert (found.policy.gives_profile("b"), found.policy.gives_profile("a")) == (True, False)
    plain = parse(MINIMAL).profile(None)
    assert plain is not None
    assert (plain.name, plain.lifetimes, plain.usages) == (None, first.lifetimes, ("server", "client"))


def test_a_provisioner_names_profiles_that_there_are() -> None:
    assert refusal(MINIMAL + PROVISIONER + 'profiles = ["b"]\n' + PROFILE) == (
        "provisioner 'AWS IID Provisioner' names the profile 'b' in profiles, and there is no [profile.b]; "
        "the profiles are: a"
    )
    assert "there is no [profile.b]; the profiles are: none" in refusal(MINIMAL + PROVISIONER + 'profiles = ["b"]')
    assert "profiles: is empty" in refusal(MINIMAL + PROVISIONER + "profiles = []\n")


def test_the_key_policy_is_read() -> None:
    found = parse(
        MINIMAL.replace(
            "[server]",
            'key_types = ["RSA", "Ed25519"]\nminimum_rsa_bits = 3072\nmaximum_rsa_bits = 4096\n'
            'account_algorithms = ["ES256", "EdDSA"]\n[server]',
        )
    )
    assert found.ca.keys == KeyPolicy(("RSA", "Ed25519"), (3072, 4096))
    assert found.ca.account_algorithms == ("ES256", "EdDSA")


def test_a_provisioner_of_hosts_names_profiles_too() -> None:
    hosts = '[[provisioner]]\nname = "Hosts"\ntype = "ACME"\nchallenges = ["http-01"]\n'
    found = parse(MINIMAL + hosts + 'profiles = ["a"]\n' + PROFILE)
    assert [entry.profiles for entry in found.hosts] == [("a",)]
    assert "there is no [profile.b]" in refusal(MINIMAL + hosts + 'profiles = ["b"]\n' + PROFILE)
    assert "profiles: is empty" in refusal(MINIMAL + hosts + "profiles = []\n")
