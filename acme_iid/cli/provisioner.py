"""``acme-iid-ca provisioner``: the ``[[provisioner]]`` tables of ca.toml, written and shown."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.output import show
from acme_iid.cli.parameters import Checked

if TYPE_CHECKING:
    from acme_iid.config import Config


@click.group(short_help="Say whose instances get certificates.")
def provisioner() -> None:
    """Say whose instances get certificates, and under which rules."""


@provisioner.command("add", short_help="Add one to ca.toml.")
@click.argument("name", type=Checked("name"))
@click.option("--type", "kind", required=True, type=click.Choice(["AWS"], case_sensitive=False), help="The cloud.")
@click.option(
    "--aws-account",
    "accounts",
    multiple=True,
    type=Checked("aws_account"),
    help="An AWS account whose instances are admitted; may be repeated. Without one nobody would be.",
)
@click.option(
    "--instance-age",
    type=Checked("duration"),
    help="How long after its start an instance may prove itself for the first time, such as 1h.",
)
@click.option(
    "--iid-roots",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A PEM file of further certificates whose keys sign identity documents.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    help="A format of evidence to accept, most preferred first; may be repeated. "
    "Default: aws-rsa2048 and aws-signature; aws-pkcs7 only when it is named.",
)
@click.option(
    "--disable-custom-sans",
    is_flag=True,
    help="Only names that follow from the document: instance id, private name, private address.",
)
@click.option(
    "--disable-trust-on-first-use",
    is_flag=True,
    help="Do not tie an instance to the first account that proves it.",
)
@click.pass_obj
def add(
    home: Home,
    name: str,
    kind: str,
    accounts: tuple[str, ...],
    instance_age: str | None,
    iid_roots: Path | None,
    formats: tuple[str, ...],
    disable_custom_sans: bool,
    disable_trust_on_first_use: bool,
) -> None:
    """Add the provisioner NAME to ca.toml, keeping the file's comments."""
    if not accounts:
        raise click.UsageError(
            "give the AWS accounts whose instances are admitted: --aws-account ID. Any customer has valid "
            "identity documents, so a provisioner without owners admits nobody"
        )
    values: dict[str, object] = {"name": name, "type": kind.upper(), "accounts": list(dict.fromkeys(accounts))}
    if instance_age is not None:
        values["instance_age"] = instance_age
    if iid_roots is not None:
        values["iid_roots"] = str(iid_roots.absolute())
    if formats:
        values["formats"] = list(dict.fromkeys(formats))
    if disable_custom_sans:
        values["disable_custom_sans"] = True
    if disable_trust_on_first_use:
        values["disable_trust_on_first_use"] = True
    config = _append(home, name, values)
    click.echo(f"The provisioner {name!r} has been added to {config.home / 'ca.toml'}.")
    click.echo("A running server takes it up on SIGHUP.")
    if not disable_custom_sans and config.ca.domains:
        whose = "this account" if len(accounts) == 1 else "these accounts"
        click.echo(
            f"Warning: any instance of {whose} may hold any name in "
            f"{', '.join(config.ca.domains)}; --disable-custom-sans leaves only names that follow from its document.",
            err=True,
        )


@provisioner.command("list", short_help="Show those in ca.toml.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_(home: Home, as_json: bool) -> None:
    """Show the provisioners in ca.toml."""
    show(
        [
            {
                "name": entry.name,
                "type": entry.type,
                "accounts": list(entry.accounts),
                "formats": list(entry.formats),
                "instance_age": entry.instance_age,
                "iid_roots": None if entry.iid_roots is None else str(entry.iid_roots),
                "custom_sans": not entry.disable_custom_sans,
                "trust_on_first_use": not entry.disable_trust_on_first_use,
            }
            for entry in home.config().provisioners
        ],
        as_json=as_json,
        empty='There are no provisioners, so nobody is admitted; "acme-iid-ca provisioner add" adds one.',
    )


def _append(home: Home, name: str, values: dict[str, object]) -> Config:
    """Add a table with ``values`` to ca.toml and return the configuration that it now is."""
    import tomlkit

    from acme_iid import config

    with _locked(home.path):
        if any(entry.name == name for entry in home.config().provisioners):
            raise click.ClickException(f"there is a provisioner named {name!r} already; names are unique")
        file = (home.path / config.FILE_NAME).resolve()
        # A table at the end leaves everything that stands before it as it was written, comments too.
        text = f"{file.read_text().rstrip()}\n\n{tomlkit.dumps({'provisioner': [values]})}".encode()
        result = config.parse(text, home.path)
        _replace(file, text)
    return result


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold others who edit the same file until we are done."""
    from acme_iid.config import ConfigError

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"there is no CA in {folder} ({error.strerror}); 'acme-iid-ca init' makes one") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, data: bytes) -> None:
    """Give ``file`` new contents, whole or not at all."""
    from acme_iid.issuance.keys import write_new

    partial = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        write_new(partial, data, 0o600)
        partial.chmod(file.stat().st_mode & 0o777)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
