from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import forge
import pytest
import tomlkit
from ca_toml_texts import HOME, MINIMAL, PROFILE, PROVISIONER, parse, refusal
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.attestation.trust import GivenKeys
from acme_iid.config import ca_toml, parsers
from acme_iid.config.settings import CASettings, ServerSettings
from acme_iid.config.table import ConfigError
from acme_iid.issuance.profiles import Lifetimes
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.name_rules import Demand
from acme_iid.protocol.addresses import Listen
from acme_iid.protocol.identifiers import Identifier
from acme_iid.terminal import durations


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
