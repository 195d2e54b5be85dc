"""The manual pages and the shells' completions, made out of the commands themselves.

The build makes them (``acme_iid_client.build_backend``), and ``python -m acme_iid_client.manual DIRECTORY`` makes them
anywhere else. It needs click, and no other library.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from acme_iid_client.cli import cli

_COMPLETIONS: dict[str, type[ShellComplete]] = {
    "bash-completion/completions/{}": BashComplete,
    "zsh/site-functions/_{}": ZshComplete,
    "fish/vendor_completions.d/{}.fish": FishComplete,
}


@dataclass(frozen=True)
class Program:
    """A program whose pages and completions are made.

    :ivar exit_status: what only the program's own page says, as do the next two.
    :ivar environment: variables that stand for no option.
    :ivar files: places with what is in them.
    """

    name: str
    command: click.Group
    exit_status: str
    environment: Mapping[str, str]
    files: Mapping[str, str]


_EXIT_STATUS = (
    "0: success. 2: wrong usage. 10: the CA refused, and will refuse again until something is changed. 11: the "
    "CA is away or busy. 12: something is wrong on this machine: its files, its metadata service, its clock, "
    "or the roots that it trusts. With --json, an error is an object on standard output too: error, detail, "
    "status (HTTP) and exit. needs-renewal has statuses of its own, which its page lists."
)

_ENVIRONMENT = {
    "HTTPS_PROXY, NO_PROXY": "The proxy to the CA, and the hosts that are reached without it. The metadata service is "
    "never asked through a proxy.",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE, AWS_EC2_METADATA_DISABLED": "Where "
    "EC2's metadata service is, IPv4 or IPv6, and whether it is to be left alone; as AWS's own tools have them.",
    "GCE_METADATA_HOST": "Where Compute Engine's metadata server is; as Google's own tools have it.",
    "AZURE_CLIENT_ID": "Which of the VM's managed identities is used; as Azure's own tools have it.",
    "AWS_ENDPOINT_URL_STS": "Where web identity tokens come from; as AWS's own tools have it.",
    "ACME_IID_NITRO_TPM_ATTEST": "The command that makes a NitroTPM's documents, if nitro-tpm-attest is not on PATH.",
    "ACME_IID_AZURE_INTERMEDIATES": "A PEM file with certificates to send along with Azure's documents.",
    "XDG_CONFIG_HOME, XDG_STATE_HOME": "Where the directories below are, if not in the usual places.",
    "NO_COLOR": "Leaves the check marks plain.",
}

_FILES = {
    "/etc/acme-iid, ~/.config/acme-iid": "The addresses and roots of the CAs that bootstrap has saved: root's, and "
    "another user's.",
    "/var/lib/acme-iid, ~/.local/state/acme-iid": "The account keys that this machine has made, and where its "
    "certificates are.",
}

CLIENT = Program("acme-iid", cli, _EXIT_STATUS, _ENVIRONMENT, _FILES)


def pages(version: str, program: Program = CLIENT) -> Iterator[tuple[str, str]]:
    """The manual pages, each with its file's name.

    :param version: the program's, for the pages' foot.
    """
    yield from _pages(program.command, click.Context(program.command, info_name=program.name), version, program)


def write(share: Path, version: str, program: Program = CLIENT) -> list[Path]:
    """Write everything below a directory that is laid out as /usr/share is; returns the files."""
    made = {Path("man", "man1", name): text for name, text in pages(version, program)}
    made |= {Path(path.format(program.name)): _completion(kind, program) for path, kind in _COMPLETIONS.items()}
    for file, text in made.items():
        (share / file).parent.mkdir(parents=True, exist_ok=True)
        (share / file).write_text(text, encoding="utf-8")
    return [share / file for file in made]


def _completion(kind: type[ShellComplete], program: Program) -> str:
    variable = f"_{program.name}_COMPLETE".replace("-", "_").upper()
    maker = kind(program.command, {}, program.name, variable)
    # Not source(), which for bash asks the bash of this machine for its version.
    return (maker.source_template % maker.source_vars()).strip() + "\n"


def _pages(command: click.Command, context: click.Context, version: str, program: Program) -> Iterator[tuple[str, str]]:
    name = context.command_path.replace(" ", "-")
    below = _below(command, context)
    yield f"{name}.1", "\n".join(_page(command, context, version, program, below)) + "\n"
    for child in below:
        yield from _pages(child, click.Context(child, context, child.name), version, program)


def _below(command: click.Command, context: click.Context) -> list[click.Command]:
    if not isinstance(command, click.Group):
        return []
    children = [command.get_command(context, name) for name in command.list_commands(context)]
    return [child for child in children if child is not None]


def _page(
    command: click.Command, context: click.Context, version: str, program: Program, below: list[click.Command]
) -> Iterator[str]:
    name = context.command_path.replace(" ", "-")
    yield f'.TH {_quoted(name.upper())} 1 "" {_quoted(f"{program.name} {version}")} "User commands"'
    yield ".SH NAME"
    yield f"{_text(name)} \\- {_text(command.get_short_help_str(200).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_text(context.command_path)}"
    yield _line(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from _paragraphs(command.help or "")
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            yield from _entry(*record)
    if below:
        yield ".SH COMMANDS"
        for child in below:
            yield from _entry(f"{context.command_path} {child.name}", child.get_short_help_str(200))
    if context.parent is None:
        yield from _ends(context, program)
    else:
        yield ".SH SEE ALSO"
        yield f".BR {_text(context.parent.command_path.replace(' ', '-'))} (1)"


def _ends(context: click.Context, program: Program) -> Iterator[str]:
    """The sections that only the program's own page has."""
    yield ".SH EXIT STATUS"
    yield from _paragraphs(program.exit_status)
    yield ".SH ENVIRONMENT"
    for variable, options in sorted(_variables(program.command, context).items()):
        yield from _entry(variable, f"Stands for {' and '.join(sorted(options))} where the option is not given.")
    for variable, text in program.environment.items():
        yield from _entry(variable, text)
    yield ".SH FILES"
    for path, text in program.files.items():
        yield from _entry(path, text)


def _variables(command: click.Command, context: click.Context) -> dict[str, set[str]]:
    variables: dict[str, set[str]] = {}
    for parameter in command.params:
        if isinstance(parameter.envvar, str):
            variables.setdefault(parameter.envvar, set()).add(parameter.opts[0])
    for child in _below(command, context):
        for variable, options in _variables(child, click.Context(child, context, child.name)).items():
            variables.setdefault(variable, set()).update(options)
    return variables


def _entry(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(term)}"
    yield from _paragraphs(text)


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield from (_line(line.strip()) for line in paragraph.splitlines())


def _line(text: str) -> str:
    """A line of text: a dot or a quote at its beginning would be a request to troff."""
    return f"\\&{_text(text)}" if text.startswith((".", "'")) else _text(text)


def _text(text: str) -> str:
    """Text as it is to be printed: hyphens that can be typed, and quotes that stay straight."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', '""') + '"'


def main() -> None:
    """``python -m acme_iid_client.manual DIRECTORY``."""
    from importlib.metadata import version  # noqa: PLC0415 - the build has no installed distribution to ask

    for file in write(Path(sys.argv[1]), version(CLIENT.name)):
        click.echo(file)


if __name__ == "__main__":
    main()
