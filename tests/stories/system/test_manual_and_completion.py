"""The manual pages as man prints them, and the completions as the shells run them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from programs import system

from acme_iid_client import manual


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share")
    manual.write(folder, "1.2.3")
    return folder


def test_every_page_is_printed_without_a_warning_and_is_known_by_its_name(share: Path) -> None:
    pages = sorted((share / "man/man1").iterdir())
    assert len(pages) > 15
    for page in pages:
        done = system("man", "--warnings", "-E", "UTF-8", "-l", page, env={"MANPAGER": "cat", "MANWIDTH": "100"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "SYNOPSIS" in done.stdout
        found = system("lexgrog", page)
        assert found.returncode == 0, found.stdout
        assert f'"{page.stem} - ' in found.stdout


def test_man_finds_the_page_of_a_command(share: Path) -> None:
    done = system("man", "-M", share / "man", "acme-iid-order", env={"MANPAGER": "cat"})
    assert done.returncode == 0, done.stderr
    assert "acme-iid order [OPTIONS] [NAME] [CRT] [KEY]" in done.stdout


TYPED = [
    ("acme-iid needs", "needs-renewal"),
    ("acme-iid account roll", "rollover"),
    ("acme-iid order --account", "--account-key"),
    ("acme-iid order --kty R", "RSA"),
]


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_bash_completes(share: Path, typed: str, completed: str) -> None:
    words = shlex.split(typed)
    script = f"""
        source {share}/bash-completion/completions/acme-iid
        complete -p acme-iid
        COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}
        _acme_iid_completion acme-iid {words[-1]} {words[-2]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = system("bash", "-euc", script)
    assert done.stderr == ""
    assert completed in done.stdout.splitlines()


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_fish_completes(share: Path, tmp_path: Path, typed: str, completed: str) -> None:
    script = f"source {share}/fish/vendor_completions.d/acme-iid.fish; complete -C {shlex.quote(typed)}"
    done = system("fish", "--no-config", "-c", script, env={"HOME": str(tmp_path)})
    assert done.stderr == ""
    assert completed in [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("typed", "completed"), TYPED)
def test_zsh_completes(share: Path, tmp_path: Path, typed: str, completed: str) -> None:
    # What the completion system would set and call; what would be offered is printed.
    script = f"""
        fpath=({share}/zsh/site-functions $fpath)
        autoload -Uz compinit && compinit -D -u
        [[ $_comps[acme-iid] == _acme-iid* ]] || exit 3
        compadd() {{ print -rl -- ${{(P)@[-1]}} $@ }}
        _describe() {{ print -rl -- ${{(P)@[-1]}} ${{(P)@[-2]}} }}
        words=({typed}); CURRENT={len(shlex.split(typed))}
        source {share}/zsh/site-functions/_acme-iid
        _acme_iid_completion
    """
    done = system("zsh", "-f", "-c", script, env={"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert completed in [line.split(":")[0] for line in done.stdout.split()], done.stdout + done.stderr
