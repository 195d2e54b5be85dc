from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid import attestation, config
from acme_iid.admission import Provisioner
from acme_iid.config import CASettings, ConfigError, Listen, ServerSettings
from acme_iid.issuance.ca import create_root
from acme_iid.protocol.identifiers import Identifier

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


def parse(text: str) -> config.Config:
    return config.parse(text.encode(), HOME)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("/nowhere/ca/ca.toml")
    return message.removeprefix("/nowhere/ca/ca.toml").removeprefix(": ")


def test_the_defaults_are_those_of_the_documentation() -> None:
    found = parse(MINIMAL + PROVISIONER)
    assert found.home == HOME
    assert found.ca == CASettings("My CA", ("local", "internal"), 86400, 300, 86400)
    assert found.server == ServerSettings("https://ca.local", Listen("0.0.0.0", 443))  # noqa: S104 - the documented default
    assert found.server.names == (Identifier("dns", "ca.local"),)
    assert found.store.path == HOME / "ca.db"
    assert found.provisioners == (
        Provisioner(
            name="AWS IID Provisioner",
            type="AWS",
            accounts=("123456789042",),
            instance_age=None,
            iid_roots=None,
            formats=("aws-rsa2048", "aws-signature"),
            disable_custom_sans=False,
            disable_trust_on_first_use=False,
        ),
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    root = create_root("Test", 1_700_000_000).certificate
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - here only

    (tmp_path / "roots.pem").write_bytes(root.public_bytes(Encoding.PEM))
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
    found = config.parse(text.encode(), tmp_path)
    assert found.ca == CASettings("My CA", (), 5400, 600, 604800)
    assert found.server == ServerSettings("https://[::1]:8443/acme-ca", Listen("::1", 8443))
    assert found.server.names == (Identifier("ip", "::1"),)
    assert found.store.path == tmp_path / "data/ca.db"
    assert found.provisioners == (
        Provisioner(
            name="é",
            type="AWS",
            accounts=("123456789042", "000000000000"),
            instance_age=5400,
            iid_roots=tmp_path / "roots.pem",
            formats=("aws-pkcs7", "aws-rsa2048"),
            disable_custom_sans=True,
            disable_trust_on_first_use=True,
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
def test_an_unknown_key_is_an_error_that_names_its_table_and_the_nearest_known_one(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize("key", ["allow", "allow_wildcards", "projects", "tenants"])
def test_keys_of_rules_that_do_not_exist_yet_are_refused_and_not_ignored(key: str) -> None:
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
        ('["local", "Internal"]', '["local", "LOCAL"]', "[ca] domains: 'LOCAL' is listed twice"),
        ("[server]", 'lifetime = "1y"\n[server]', "[ca] lifetime: '1y' is no duration; write for example \"1h\""),
        ("[server]", "lifetime = 3600\n[server]", "[ca] lifetime: 3600 is not a string; it is a duration"),
        ("[server]", 'lifetime = "2d"\n[server]', "[ca] lifetime: 172800 seconds is not between"),
        ("[server]", 'lifetime = "4m"\n[server]', "[ca] lifetime: 240 seconds is not between"),
        ("[server]", 'minimum_lifetime = "59s"\n[server]', "[ca] minimum_lifetime: is below a minute"),
        ("[server]", 'maximum_lifetime = "826d"\n[server]', "[ca] maximum_lifetime: is above 825 days"),
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
            '"https://ca.local"\n[store]\nurl = "postgresql://db"',
            "[store] url: 'postgresql://db'",
        ),
        ('"https://ca.local"', '"https://ca.local"\n[store]\nurl = "sqlite:"', "[store] url: 'sqlite:' is no store"),
    ],
)
def test_a_value_that_cannot_be_meant_is_an_error_that_names_it(old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    assert message in refusal(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "AWS IID Provisioner"\n', "", "[[provisioner]] 'number 1' name: is missing"),
        ('type = "AWS"', 'type = "GCP"', "type: 'GCP' is not a known type; the types are AWS"),
        ('["123456789042"]', "[123456789042]", "accounts: 123456789042 is not a string"),
        ('["123456789042"]', '["12345678904"]', "accounts: '12345678904' is no AWS account id; that is twelve digits"),
        ('["123456789042"]', '["١٢٣٤٥٦٧٨٩٠٤٢"]', "is no AWS account id"),
        ('["123456789042"]', "[]", "accounts: is empty, so nobody would be admitted"),
        ('accounts = ["123456789042"]', "", "accounts: is empty, so nobody would be admitted"),
        ("[[", 'unknown = 1\n[["', "is not TOML"),
        ('type = "AWS"', 'type = "AWS"\nformats = ["aws-rsa1024"]', "'aws-rsa1024' is not a format of type AWS"),
        ('type = "AWS"', 'type = "AWS"\nformats = []', "formats: is empty, so no evidence would be accepted"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = 5', "instance_age: 5 is not a duration"),
        ('type = "AWS"', 'type = "AWS"\ninstance_age = "0s"', "instance_age: '0s' is no duration"),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "x"', "iid_roots: /nowhere/ca/x cannot be read: No such file"),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "/dev/null"', "/dev/null holds no readable PEM certificates"),
        ('type = "AWS"', 'type = "AWS"\niid_roots = "/dev/zero"', "/dev/zero is larger than 1048576 bytes"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = 1', "disable_custom_sans: 1 is not true or false"),
        ('type = "AWS"', 'type = "AWS"\ndisable_custom_sans = "no"', "disable_custom_sans: 'no' is not true or false"),
    ],
)
def test_a_provisioner_that_cannot_be_meant_is_an_error(old: str, new: str, message: str) -> None:
    assert old in PROVISIONER
    assert message in refusal(MINIMAL + PROVISIONER.replace(old, new))


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
    assert config.server_url(given_url) == canonical
    assert config.server_url(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("90m", 5400), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), ("1d1s", 86401)]
)
def test_durations_read_as_people_write_them(text: str, seconds: int) -> None:
    assert config.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "1 h", "-1h", "1.5h", "h", "30m1h", "1h\n", "4000d", "999999d", "0h", "\uff11h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        config.duration(text)


@given(st.text(max_size=30) | st.from_regex(r"(\d+[dhms]){1,4}\Z"))
def test_a_duration_is_a_number_of_seconds_or_an_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 < config.duration(text) <= 3650 * 86400


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
    tomlkit = pytest.importorskip("tomlkit")
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
        config.parse(data, HOME)


def test_nesting_and_size_are_bounded() -> None:
    assert "nested too deep" in refusal("a = " + "[" * 100_000)
    assert refusal("#" * (config.MAX_FILE_BYTES + 1)) == " is larger than 1048576 bytes, which no configuration is"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.toml does not exist; 'acme-iid-ca init' makes a CA"):
        config.load(tmp_path)


def test_a_relative_home_is_taken_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/ca.toml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert config.load(Path("ca")).store.path == tmp_path / "ca/ca.db"


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
    assert config.default_home(environment, uid) == Path(home)


def test_the_formats_of_a_type_are_those_that_have_a_verifier() -> None:
    verified = {
        kind: {name for name, v in attestation.VERIFIERS.items() if v.cloud == kind.lower()} for kind in config.FORMATS
    }
    assert verified == {kind: set(formats) for kind, formats in config.FORMATS.items()}
    assert all(set(config.DEFAULT_FORMATS[kind]) < set(formats) for kind, formats in config.FORMATS.items())
