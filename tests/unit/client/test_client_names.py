from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from scripted_ca import issue

from acme_iid_client.acme import known_ca
from acme_iid_client.errors import ClientError
from acme_iid_client.renewal import renew
from acme_iid_client.renewal.schedule import planned_at
from acme_iid_client.storage import directories
from acme_iid_client.x509 import keys, names
from acme_iid_client.x509.keys import KeyType

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("foo.local", "foo.local"),
        ("Foo.LOCAL.", "foo.local"),
        ("bücher.local", "xn--bcher-kva.local"),
        ("*.BÜCHER.local", "*.xn--bcher-kva.local"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("i-05e360db6e50b5eda", "i-05e360db6e50b5eda"),
    ],
)
def test_names_have_one_form(typed: str, meant: str) -> None:
    assert names.canonical(typed) == meant


@pytest.mark.parametrize(
    "typed", ["", "a/b", "../x", "-a.local", "a..b", "a b", "*", "a.*.local", "a" * 64, "\u2028.local"]
)
def test_what_could_be_no_name_is_refused(typed: str) -> None:
    with pytest.raises(ClientError, match="name"):
        names.canonical(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "ban\u212a.local",
        "*.ban\u212a.local",
        "\u017fhop.local",
        "\uff46\uff4f\uff4f.local",
        "foo\u3002local",
        "b\u00fccher\u3002local",
        "x\uff0elocal",
    ],
)
def test_a_name_that_only_looks_like_an_ascii_one_is_refused(typed: str) -> None:
    with pytest.raises(ClientError, match="which it looks like"):
        names.canonical(typed)


@given(st.text(max_size=300))
def test_a_name_never_leads_a_file_elsewhere(typed: str) -> None:
    try:
        stem = names.file_stem(names.canonical(typed))
    except ClientError:
        return
    assert Path("folder", stem).parent == Path("folder")
    assert names.canonical(names.canonical(typed)) == names.canonical(typed)


def test_a_wildcard_is_no_pattern_in_a_file_name() -> None:
    assert names.file_stem("*.foo.local") == "_.foo.local"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ((None, None, None), KeyType("EC", "P-256")),
        (("EC", "P-521", None), KeyType("EC", "P-521")),
        ((None, "P-384", None), KeyType("EC", "P-384")),
        (("RSA", None, None), KeyType("RSA", size=2048)),
        ((None, None, 3072), KeyType("RSA", size=3072)),
        (("OKP", None, None), KeyType("OKP", "Ed25519")),
        ((None, "Ed25519", None), KeyType("OKP", "Ed25519")),
    ],
)
def test_key_options_say_which_key_is_made(options: tuple[str | None, str | None, int | None], kind: KeyType) -> None:
    assert keys.parse_type(*options) == kind
    made = keys.generate(kind)
    assert keys.type_of(made.public_key()) == kind
    assert keys.spki(keys.load(keys.to_pem(made), "it").public_key()) == keys.spki(made.public_key())


@pytest.mark.parametrize(
    "options",
    [("RSA", "P-256", None), ("RSA", None, 1024), ("EC", None, 2048), ("EC", "Ed25519", None), ("OKP", "P-256", None)],
)
def test_key_options_that_contradict_each_other_are_refused(options: tuple[str | None, str | None, int | None]) -> None:
    with pytest.raises(ClientError):
        keys.parse_type(*options)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("8h", "2030-01-31T20:00:00Z"),
        ("1d12h", "2030-02-02T00:00:00Z"),
        ("90m", "2030-01-31T13:30:00Z"),
        ("2030-02-01T00:00:00Z", "2030-02-01T00:00:00Z"),
        ("2030-02-01T02:00:00+02:00", "2030-02-01T00:00:00Z"),
    ],
)
def test_an_end_is_a_time_or_a_duration(typed: str, meant: str) -> None:
    assert renew.parse_not_after(typed, NOW) == meant


@pytest.mark.parametrize("typed", ["", "8", "h", "8x", "-8h", "2030-02-01T00:00:00", "tomorrow"])
def test_an_end_that_is_neither_is_refused(typed: str) -> None:
    with pytest.raises(ClientError, match="neither a duration"):
        renew.parse_not_after(typed, NOW)


def test_a_certificate_is_due_with_a_third_of_its_life_left_or_earlier() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    leaves = [issue(None, "foo.local", key, ["foo.local"], start=NOW, days=3) for _ in range(20)]
    moments = {planned_at(leaf) for leaf in leaves}
    assert NOW + timedelta(days=2) - timedelta(days=3) / 20 < min(moments)
    assert max(moments) <= NOW + timedelta(days=2)
    assert len(moments) == 20


@pytest.mark.parametrize(
    ("env", "uid", "config", "state"),
    [
        ({"HOME": "/home/me"}, 1000, "/home/me/.config/acme-iid", "/home/me/.local/state/acme-iid"),
        ({"HOME": "/root"}, 0, "/etc/acme-iid", "/var/lib/acme-iid"),
        ({"HOME": "/root", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, 0, "/c/acme-iid", "/s/acme-iid"),
        (
            {"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"},
            1000,
            "/home/me/.config/acme-iid",
            "/home/me/.local/state/acme-iid",
        ),
    ],
)
def test_files_live_where_they_belong(env: dict[str, str], uid: int, config: str, state: str) -> None:
    assert directories.find(env, uid) == directories.Directories(Path(config), Path(state))
    assert directories.find(env, uid, Path("/mine"), Path("/own")) == directories.Directories(
        Path("/mine"), Path("/own")
    )


@pytest.mark.parametrize("url", ["https://ban\u212a.local", "https://foo\u3002local:8443"])
def test_a_cas_address_is_ascii_before_its_host_is_lowered(url: str) -> None:
    with pytest.raises(ClientError, match="not a CA's address"):
        known_ca.parse_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://ca.local#x", "https://ca.local/a b", "https://ca.local/\x07", "https://ca.local/\u202e", "https://a:0"],
)
def test_a_cas_address_holds_nothing_that_misleads(url: str) -> None:
    with pytest.raises(ClientError, match="not a CA's address"):
        known_ca.parse_url(url)


@pytest.mark.parametrize("text", ["g" * 64, "a" * 63, "a" * 65, "", "\u0661" * 64])
def test_a_fingerprint_has_64_hex_digits(text: str) -> None:
    with pytest.raises(ClientError, match="fingerprint"):
        known_ca.parse_fingerprint(text)
