"""What is printed for other programs: each value reaches them as it is, whatever characters it has."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_ca
from running import Run
from scripted_ca import Reply, ScriptedCA

from acme_iid.simulator import aws, server
from acme_iid_client.cli import client_snippets
from acme_iid_client.errors import ClientError

KID = "x;touch${IFS}pwned;#'\"`touch${IFS}pwned`$(touch${IFS}pwned)&|<>"
HMAC = "a" * 43
SERVER = "https://ca.local/it's/$(touch${IFS}pwned)/acme/directory"
NAMES = ("foo.local", "*.bar.local")
FOLDER = "a b'c\"d\n;touch pwned\n$(touch pwned)`touch pwned`\\"


def given(root: Path, kid: str = KID, url: str = SERVER) -> client_snippets.Settings:
    return client_snippets.Settings(url, root, kid, HMAC, NAMES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root in a folder of an odd name."""
    file = tmp_path / FOLDER / "root_ca.crt"
    file.parent.mkdir()
    file.write_bytes(scripted_ca.new_issuer("Root").pem)
    return file


RECORD = r"""
record() { printf '%s\0' "${LEGO_CA_CERTIFICATES-}${REQUESTS_CA_BUNDLE-}" "$@" '|'; }
lego() { record "$@"; }
certbot() { record "$@"; }
uacme() { record "$@"; }
acme_sh() { record "$@"; }
"""


def words(text: str, folder: Path) -> list[list[str]]:
    """The commands that a shell runs for a text, each with the variables before it and its arguments."""
    done = subprocess.run(
        ["sh", "-eu", "-c", RECORD + text.replace("acme.sh -", "acme_sh -")],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert not list(folder.glob("**/pwned*"))
    return [one.split("\0")[:-1] for one in done.stdout.decode().split("|\0")[:-1]]


@pytest.mark.parametrize("kind", ["lego", "certbot"])
def test_a_shell_runs_one_command_with_the_values_as_they_are(kind: str, root: Path, tmp_path: Path) -> None:
    ((trusted, *arguments),) = words(client_snippets.FORMATS[kind](given(root)), tmp_path)
    assert trusted == str(root)
    assert SERVER in arguments
    assert any(argument.endswith(f"={KID}") for argument in arguments)
    assert set(NAMES) <= set(arguments)


@pytest.mark.parametrize("kind", ["acme.sh", "uacme"])
def test_a_shell_runs_two_commands_with_the_values_as_they_are(kind: str, root: Path, tmp_path: Path) -> None:
    register, order = words(client_snippets.FORMATS[kind](given(root)), tmp_path)
    assert SERVER in register
    assert SERVER in order
    assert KID in register or f"{KID}:{HMAC}" in register
    assert set(NAMES) <= set(order)


def test_variables_have_the_values_as_they_are(root: Path, tmp_path: Path) -> None:
    text = client_snippets.FORMATS["env"](given(root))
    show = 'printf \'%s\\0\' "$ACME_SERVER" "$ACME_CA_BUNDLE" "$ACME_EAB_KID" "$ACME_NAMES" \'|\''
    assert words(text + show, tmp_path) == [[SERVER, str(root), KID, " ".join(NAMES)]]


def test_dehydrated_reads_its_configuration_as_it_is(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="dehydrated cannot take the path"):
        client_snippets.FORMATS["dehydrated"](given(root))
    text = client_snippets.FORMATS["dehydrated"](given(Path("/etc/acme-iid/certs/root_ca.crt")))
    show = "printf '%s\\0' \"$CA\" $CURL_OPTS \"$EAB_KID\" '|'"
    assert words(text + show, tmp_path) == [[SERVER, "--cacert", "/etc/acme-iid/certs/root_ca.crt", KID]]


def test_yaml_has_the_values_in_double_quotes(root: Path) -> None:
    for kind, values in (("traefik", (SERVER, str(root), KID, HMAC)), ("cert-manager", (SERVER, KID, HMAC))):
        text = client_snippets.FORMATS[kind](given(root))
        scalars = [json.loads(scalar) for scalar in re.findall(r'"(?:[^"\\\n]|\\.)*"', text)]
        assert set(scalars) == set(values)
        assert "pwned" not in re.sub(r'"(?:[^"\\\n]|\\.)*"', "", text)


def test_a_caddyfile_has_the_values_in_quotes(root: Path) -> None:
    plain = Path("/it's a/root.crt")
    text = client_snippets.FORMATS["caddy"](given(plain, "kid", "https://ca.local/acme/directory"))
    assert '"/it\'s a/root.crt"' in text
    assert 'eab "kid"' in text
    assert "`/a\\b`" in client_snippets.FORMATS["caddy"](given(Path("/a\\b"), "kid", "https://ca.local"))
    for settings in (given(root), given(plain, "x{$HOME}", "https://ca.local")):
        with pytest.raises(ClientError, match="A Caddyfile cannot hold"):
            client_snippets.FORMATS["caddy"](settings)


def test_a_line_for_people_stays_one(root: Path) -> None:
    assert len(client_snippets.FORMATS["text"](given(root)).splitlines()) == 5


def test_acme_sh_is_to_look_more_often_than_certificates_end(root: Path) -> None:
    text = client_snippets.FORMATS["acme.sh"](given(root))
    assert " --days 1 " in text
    assert "# 23 */8 * * * acme.sh --cron\n" in text


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[ScriptedCA]:
    """A CA that enrols."""
    with scripted_ca.serve(tmp_path) as running:
        yield running


@pytest.fixture
def metadata() -> Iterator[str]:
    recording = {
        "cloud": "aws",
        "format": "rsa2048-pkcs7-sha256",
        "document": '{"instanceId": "i-1"}',
        "signature": "eA==",
    }
    with server.serve(aws.recorded(json.dumps(recording).encode())) as running:
        yield running.url


HONEST: dict[str, Any] = {
    "enrolment": "abc", "names": [{"type": "dns", "value": "foo.local"}], "until": "2030-01-01T00:00:00Z", "kid": KID,
    "hmacKey": HMAC, "expires": "2030-01-01T00:00:00Z",
}  # fmt: skip
LIES = {
    "an id with a blank": {"kid": "x y"},
    "an id with a line end": {"kid": "x\ny"},
    "no id": {"kid": None},
    "a key with a line end": {"hmacKey": HMAC + "\n"},
    "a key with shell text": {"hmacKey": HMAC + ";touch pwned"},
    "a short key": {"hmacKey": "a" * 21},
    "a key that is a list": {"hmacKey": [HMAC]},
    "a name with a scope": {"names": [{"type": "ip", "value": "fe80::1%;touch pwned"}]},
    "no name": {"names": []},
    "a time with shell text": {"expires": "2030-01-01T00:00:00Z\ntouch pwned"},
    "an end with shell text": {"until": "$(touch pwned)"},
    "an enrolment that is a path": {"enrolment": "../../x"},
}


def enroll(acme_iid: Run, ca: ScriptedCA, metadata: str, tmp_path: Path, **answer: object) -> tuple[int, str, str]:
    """Enrol by a CA that answers this."""
    root = tmp_path / "root.pem"
    root.write_bytes(ca.root.pem)
    directory = {name: f"{ca.url}/acme/{end}" for name, end in scripted_ca.DIRECTORY.items()}
    ca.once["/acme/directory"] = [Reply(body={**directory, "meta": {"iidEnrolment": f"{ca.url}/acme/enrol"}})] * 3
    ca.once["/acme/enrol"] = [Reply(201, HONEST | answer)]
    options = ("--ca-url", ca.url, "--root", root, "--metadata-url", metadata)
    done = acme_iid("enroll", "foo.local", "--format", "lego", *options)
    return done.returncode, done.stdout, done.stderr


def test_a_key_from_the_network_is_quoted(acme_iid: Run, ca: ScriptedCA, metadata: str, tmp_path: Path) -> None:
    code, text, _ = enroll(acme_iid, ca, metadata, tmp_path)
    assert code == 0
    ((_, *arguments),) = words(text, tmp_path)
    assert f"--kid={KID}" in arguments


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES)
def test_an_answer_that_is_no_enrolment_is_not_printed(
    answer: dict[str, object], acme_iid: Run, ca: ScriptedCA, metadata: str, tmp_path: Path
) -> None:
    code, text, errors = enroll(acme_iid, ca, metadata, tmp_path, **answer)
    assert code != 0
    assert text == ""
    assert "answer about the enrolment cannot be read" in errors
