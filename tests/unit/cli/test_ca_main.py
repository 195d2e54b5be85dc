from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner
from running import CA

from acme_iid.cli import COMMANDS, Main, main


def test_the_summaries_of_help_are_the_commands_own() -> None:
    context = click.Context(main)
    for name, (_, summary) in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.get_short_help_str(limit=200) == summary


def test_help_loads_no_command_and_no_cryptography() -> None:
    program = (
        "import sys; from acme_iid.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print([name for name in"
        " ('cryptography', 'flask', 'aiohttp', 'acme_iid.cli.init', 'acme_iid.config.ca_toml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *shown, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert all(any(line.split()[:1] == [name] for line in shown) for name in COMMANDS)


def test_an_unknown_command_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["serv"])
    assert done.exit_code == 2
    assert "No such command 'serv'" in done.output


def test_errors_of_the_system_and_faults_of_ours_are_sentences(tmp_path: Path) -> None:
    @click.command()
    @click.argument("kind")
    def failing(kind: str) -> None:
        if kind == "system":
            (tmp_path / "missing").read_text()
        raise KeyError("x")

    class Failing(Main):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            assert cmd_name == "failing", ctx
            return failing

    system, ours = (CliRunner().invoke(Failing("ca"), ["failing", kind]) for kind in ("system", "ours"))
    assert (system.exit_code, system.output) == (1, f"Error: {tmp_path}/missing: No such file or directory\n")
    assert ours.exit_code == 1
    expected = "Error: this is a fault in acme-iid-ca, please report it (KeyError: 'x', test_ca_main.py line "
    assert ours.output.startswith(expected)
    assert ours.output.count("\n") == 1


def test_serve_says_why_it_cannot_without_a_traceback(tmp_path: Path) -> None:
    def serve(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "acme_iid.cli", "--home", tmp_path, "serve", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stderr

    (tmp_path / "password").write_text("right")
    (tmp_path / "wrong").write_text("wrong")
    made = CliRunner().invoke(main, ["--home", str(tmp_path), "init", "--password-file", str(tmp_path / "password")])
    assert made.exit_code == 0
    key = CA(tmp_path).intermediate_key
    assert serve("--listen", "127.0.0.1:0") == (
        1,
        f"Error: the private key {key} is encrypted; give the file with its password: --password-file FILE\n",
    )
    assert serve("--listen", "127.0.0.1:0", "--password-file", str(tmp_path / "wrong")) == (
        1,
        f"Error: the password does not open the private key {key}\n",
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert serve("--listen", address, "--password-file", str(tmp_path / "password")) == (
            1,
            (
                f"Error: cannot listen on {address}: another process is listening there; stop it, or choose another "
                "address with --listen\n"
            ),
        )


def test_a_privileged_port_is_a_sentence_for_those_who_may_not(tmp_path: Path) -> None:
    made = CliRunner().invoke(main, ["--home", str(tmp_path), "init"])
    assert made.exit_code == 0
    # Root without the capability to bind low ports stands for any user: capability 10 dropped from the bounding set.
    program = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "class Header(ctypes.Structure): _fields_ = [('version', ctypes.c_uint32), ('pid', ctypes.c_int)]\n"
        "data = (ctypes.c_uint32 * 6)()\n"
        "header = Header(0x20080522, 0)\n"
        "assert libc.capget(ctypes.byref(header), data) == 0\n"
        "data[0] &= ~(1 << 10); data[1] &= ~(1 << 10)\n"
        "assert libc.capset(ctypes.byref(header), data) == 0\n"
        "from acme_iid.cli import main\n"
        "main(['--home', sys.argv[1], 'serve', '--listen', '127.0.0.1:443'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=30, check=False
    )
    # A machine that gives every port to everybody cannot show this, and says so by failing.
    assert (done.returncode, done.stderr) == (
        1,
        (
            "Error: cannot listen on 127.0.0.1:443: port 443 is for privileged processes; choose one from 1024 on with "
            "--listen, or run as root\n"
        ),
    )
