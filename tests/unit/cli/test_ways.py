"""Which way commands go: in the CA's home, at its admin socket, or where --admin-url says."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import open_program
import pytest
from click.testing import CliRunner, Result
from strangers import Ground, as_nobody, ground
from typed_commands import command, environment

from acme_iid.cli import AdminOptions, Home, main, ways
from acme_iid.cli.ways import DEFAULT_SOCKET, Look, look
from acme_iid.config.locations import Location

NO_ANSWER = "there is no admin socket"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "ca"), "init"])
    assert done.exit_code == 0, done.output
    return tmp_path / "ca"


def run(*arguments: str | Path, **env: str) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], env=env)


def placed(home: Path) -> Location:
    """A home with its ca.toml."""
    return Location(home, home / "ca.toml")


def append(home: Path, text: str) -> None:
    """Write at the end of ca.toml."""
    file = home / "ca.toml"
    file.write_text(file.read_text() + text)


def seen_by_nobody(folder: Path) -> list[str]:
    """What a user who owns nothing sees of a home, and where they would ask."""
    program = (
        "import sys; from pathlib import Path; from acme_iid.cli import Home, ways\n"
        "from acme_iid.config.locations import located\n"
        "place = located(Path(sys.argv[1]), None, {}, 0)\n"
        "seen = ways.look(place); print(seen.is_there, seen.is_denied, seen.socket)\n"
        "print(ways.place_of(Home(place, True)))"
    )
    done = subprocess.run(
        as_nobody(open_program.python(), "-c", program, folder), capture_output=True, text=True, check=True, cwd="/",
        env=environment(),
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.fixture
def open_ground() -> Iterator[Ground]:
    with ground() as place:
        yield place


def test_whoever_may_open_the_home_works_there(home: Path) -> None:
    append(home, '\n[admin]\nsocket = "admin.sock"\n')
    assert look(placed(home)) == Look(is_there=True, is_denied=False, socket=home / "admin.sock")
    assert ways.place_of(Home(placed(home), given=True)) is None
    done = run("--home", home, "instance", "list")
    assert (done.exit_code, done.stderr) == (0, "No such instance has been used here yet.\n")


def test_a_home_before_its_first_start_is_worked_in(home: Path) -> None:
    assert not (home / "ca.db").exists()
    assert ways.place_of(Home(placed(home), given=True)) is None


def test_a_ca_toml_that_is_wrong_is_said_by_the_command(home: Path) -> None:
    for text in ("no TOML", "\xff", "[store]\nurl = 5\n", "[admin]\nsocket = 5\n", "store = 1\n"):
        (home / "ca.toml").write_text(text, encoding="latin-1")
        assert ways.place_of(Home(placed(home), given=True)) is None
        assert run("--home", home, "instance", "list").exit_code == 1


def test_others_ask_where_ca_toml_says_or_at_the_usual_socket(open_ground: Ground) -> None:
    home = open_ground.own / "ca"
    assert CliRunner().invoke(main, ["--home", str(home), "init"]).exit_code == 0
    assert seen_by_nobody(home) == ["True True None", f"unix:{DEFAULT_SOCKET}"]
    home.chmod(0o755)
    (home / "ca.toml").chmod(0o644)
    # ca.toml can be read, and no store be made.
    assert seen_by_nobody(home) == ["True True None", f"unix:{DEFAULT_SOCKET}"]
    CliRunner().invoke(main, ["--home", str(home), "instance", "list"])
    append(home, '\n[admin]\nsocket = "/run/own.sock"\n')
    assert seen_by_nobody(home) == ["True True /run/own.sock", "unix:/run/own.sock"]
    (home / "ca.db").chmod(0o644)
    # A store that can only be read cannot be used.
    assert seen_by_nobody(home)[0].startswith("True True")
    (home / "ca.db").chmod(0o666)
    assert seen_by_nobody(home) == ["True False /run/own.sock", "None"]


def test_a_home_that_is_named_and_not_there_is_no_other_ca(tmp_path: Path) -> None:
    done = run("--home", tmp_path / "none", "instance", "list")
    assert (done.exit_code, "none/ca.toml does not exist" in done.stderr) == (1, True), done.stderr
    assert ways.place_of(Home(placed(tmp_path / "none"), given=True)) is None
    assert (ways.place_of(Home(placed(tmp_path / "none"), given=False)) is None) is not DEFAULT_SOCKET.exists()


def test_a_url_is_asked_also_by_those_who_may_open_the_home(home: Path) -> None:
    url = f"unix:{home}/none.sock"
    for done in (
        run("--home", home, "--admin-url", url, "instance", "list"),
        run("instance", "list", "--home", home, f"--admin-url={url}"),
        run("instance", "list", ACME_IID_CA_HOME=str(home), ACME_IID_CA_ADMIN_URL=url),
    ):
        assert done.exit_code == 1
        assert done.stderr.startswith(f"Error: {NO_ANSWER} {home}/none.sock: start the CA's server with socket")


@pytest.mark.parametrize("url", ["", "http://ca:1", "unix:relative", "/run/x.sock"])
def test_a_wrong_url_is_wrong_usage(home: Path, url: str) -> None:
    done = run("--home", home, "--admin-url", url, "instance", "list")
    assert (done.exit_code, "write unix:/PATH or https://HOST:PORT" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    "words", ["prune", "issuer list", "provisioner list", "fingerprint", "init", "issuer roots list"]
)
def test_what_is_done_in_a_home_goes_with_no_url(home: Path, words: str) -> None:
    done = run("--home", home, *words.split(), "--admin-url", f"unix:{home}/none.sock")
    assert (done.exit_code, "this is done in the CA's home" in done.stderr) == (2, True), done.stderr
    # A URL of the environment is for those commands that a server can be asked for.
    if words != "init":
        assert run("--home", home, *words.split(), ACME_IID_CA_ADMIN_URL="unix:/none.sock").exit_code == 0


def test_https_takes_a_certificate_a_key_and_roots(home: Path, tmp_path: Path) -> None:
    url = ("--admin-url", "https://127.0.0.1:1")
    pair = ("--admin-cert", tmp_path / "c.pem", "--admin-key", tmp_path / "k.pem")
    without = run("--home", home, *url, "instance", "list")
    assert (without.exit_code, "--admin-cert FILE --admin-key FILE" in without.stderr) == (2, True)
    rootless = run("--home", tmp_path / "none", *url, *pair, "instance", "list")
    assert (rootless.exit_code, "takes the CA's roots: --admin-ca FILE" in rootless.stderr) == (2, True)
    # Those in the home are taken where they can be read.
    missing = run("--home", home, *url, *pair, "instance", "list")
    assert (missing.exit_code, f"{tmp_path / 'c.pem'}" in missing.stderr) == (1, True), missing.stderr


def test_reload_says_that_it_takes_an_admin_socket(home: Path) -> None:
    done = run("--home", home, "reload")
    assert done.exit_code == 1
    assert NO_ANSWER in done.stderr


def test_a_socket_of_something_else_is_a_sentence(home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.settimeout(30)
        process = subprocess.Popen(
            command("instance", "list", "--admin-url", f"unix:{tmp_path}/s"), env={**os.environ}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"220 mail.internal ESMTP\r\n")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"Error: what answers at unix:{tmp_path}/s does not speak HTTP: BadStatusLine")
    del home


def test_the_options_are_of_the_command_as_a_whole() -> None:
    assert AdminOptions() == Home(placed(Path("/x")), given=True).admin
