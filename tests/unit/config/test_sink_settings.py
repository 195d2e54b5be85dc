"""The tables ``[[sink]]``: where events go, by addresses and secrets that an operator gave."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from acme_iid.config import ca_toml, findings
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError

HEAD = '[ca]\nname = "CA"\n[server]\nurl = "https://ca.local"\n'
SECRET = "a key that both sides share, 32 octets"
HOOK = '[[sink]]\nname = "siem"\nurl = "https://siem.local/events"\nsecret_file = "hook"\n'
SYSLOG = '[[sink]]\nname = "log"\nurl = "syslog+tls://log.local"\n'


def read(home: Path, text: str, secret: str = f"{SECRET}\n") -> Config:
    (home / "hook").write_text(secret)
    (home / "hook").chmod(0o600)
    return ca_toml.parse(f"{HEAD}{text}".encode(), home)


def test_sinks_are_read_with_their_secrets_and_never_show_them(tmp_path: Path) -> None:
    hook, syslog = read(tmp_path, HOOK + SYSLOG + 'drop_after = "30d"\n').sinks
    assert (hook.name, hook.secret, hook.header, hook.drop_after) == (
        "siem", SECRET.encode(), "X-Acme-Iid-Signature", None,
    )  # fmt: skip
    assert (syslog.scheme, syslog.host, syslog.drop_after) == ("syslog+tls", "log.local", 30 * 86400)
    assert SECRET not in repr(hook)
    # Processes of a server tell each other their settings.
    assert pickle.loads(pickle.dumps(hook)) == hook  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HOOK.replace("https", "http"), "is no place for events"),
        (HOOK.replace("siem.local", "me:hush@siem.local"), "this is no place for events"),
        (HOOK.replace("/events", "/services/hush#a"), "this is no place for events"),
        (HOOK + 'header = "X-Token: hush"\n', "this is no name for a header"),
        (HOOK.replace("/events", "/a b"), "is no place for events"),
        (HOOK.replace("/events", "/events#a"), "is no place for events"),
        (SYSLOG.replace("log.local", "log.local:0"), "is no place for events"),
        (SYSLOG.replace("log.local", "log.local/path"), "is no place for events"),
        (SYSLOG.replace('"log"', '"The Log"'), "is no name for a sink"),
        (SYSLOG + 'secret_file = "hook"\n', "is for a hook"),
        (SYSLOG + 'roots_file = "nowhere"\n', "cannot be used"),
        (SYSLOG + 'drop_after = "1h"\n', "must be at least 1d"),
        (HOOK.replace('secret_file = "hook"\n', ""), "is missing; it is the file of the key"),
        (HOOK.replace('"hook"', '"nowhere"'), "cannot be read"),
        (HOOK + 'header = "Content-Length"\n', "is no name for a header"),
        (HOOK + 'header = "a: b\\r\\nc"\n', "is no name for a header"),
        (HOOK + HOOK, "names are unique"),
        (HOOK + 'secret = "hush"\n', "unknown key 'secret'"),
    ],
)
def test_a_wrong_sink_is_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        read(tmp_path, text)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("secret", ["short\n", "x" * 5000])
def test_a_secret_has_a_length(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigError, match="and a key has from 16 to 4096"):
        read(tmp_path, HOOK, secret)


def test_a_secret_that_everybody_can_read_is_a_finding(tmp_path: Path) -> None:
    config = read(tmp_path, HOOK)
    assert not [found for found in findings.of_files(config) if found.code == "others-read"]
    (tmp_path / "hook").chmod(0o644)
    (found,) = [found for found in findings.of_files(config) if found.code == "others-read"]
    assert "everybody on this machine can read the secret in" in str(found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('events = "400d"', "events_export: is missing"),
        ('events_export = "exports"', "events_export: is of no use"),
        ('events = "7d"\nevents_export = "exports"', "must be at least 30d"),
    ],
)
def test_events_go_only_where_they_are_exported(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read(tmp_path, f"[retention]\n{text}\n")
    assert read(tmp_path, "").retention.events is None
