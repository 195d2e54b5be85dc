"""acme-iid account: the account that stands for this machine at the CA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories

if TYPE_CHECKING:
    from acme_iid_client.acme.known_ca import KnownCA
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.storage.account_keys import Account


def _known(
    where: Directories, ca_url: str | None, root: Path | None, metadata_url: str | None, deadline: Deadline
) -> tuple[Account, KnownCA]:
    import os

    from acme_iid_client import clouds
    from acme_iid_client.acme import known_ca, registration
    from acme_iid_client.cli.terminal import notice

    ca = known_ca.load(where, ca_url, root)
    account = registration.known_here(where.state, ca, lambda: clouds.here(os.environ, metadata_url, notice=notice))
    return registration.settled(account, ca, deadline, notice), ca


@click.group("account")
def command() -> None:
    """Show the account that stands for this machine at the CA, give it another key, or end it.

    The account's key is made at the first order. The machine renews with it, and the CA ties the instance to it.
    """


@command.command("show", short_help="Show this machine's account.")
@options.ca_url
@options.root
@options.account_key
@options.metadata_url
@options.timeout
@options.json
@click.pass_obj
def show(
    where: Directories, ca_url: str | None, root: Path | None, metadata_url: str | None, timeout: float, as_json: bool
) -> None:
    """Show this machine's account: its key here, and what the CA says about it.

    'acme-iid-ca instance release --to' takes the thumbprint of the key on the CA.
    """
    import json

    from acme_iid_client.acme import registration
    from acme_iid_client.cli.terminal import notice, printable
    from acme_iid_client.deadline import Deadline

    deadline = Deadline(timeout)
    account, ca = _known(where, ca_url, root, metadata_url, deadline)
    account, standing = registration.standing(account, ca, deadline, notice)
    facts = {
        "ca": ca.ca_url,
        "account": account.url,
        "status": standing.status,
        "contact": list(standing.contact),
        "instance": account.instance or None,
        "thumbprint": account.thumbprint,
        "key_file": str(account.file),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else value
        if text:
            click.echo(printable(f"{name.replace('_', ' ').capitalize() + ':':<13}{text}").replace("Ca:", "CA:", 1))


@command.command("rollover", short_help="Give the account a new key.")
@options.ca_url
@options.root
@options.account_key
@options.metadata_url
@options.timeout
@options.json
@click.pass_obj
def rollover(
    where: Directories, ca_url: str | None, root: Path | None, metadata_url: str | None, timeout: float, as_json: bool
) -> None:
    """Give this machine's account a new key. Instances and certificates stay the account's.

    The new key is saved before the CA is asked to take it, and the old one is kept until the CA has: if anything is cut
    off, the next command that signs finishes it.
    """
    import json

    from acme_iid_client.acme import registration
    from acme_iid_client.cli.terminal import notice
    from acme_iid_client.deadline import Deadline

    deadline = Deadline(timeout)
    account, ca = _known(where, ca_url, root, metadata_url, deadline)
    account = registration.roll_over(account, ca, deadline, notice)
    if as_json:
        facts = {"account": account.url, "thumbprint": account.thumbprint, "key_file": str(account.file)}
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"The account {account.url} has a new key, saved in {account.file}.")
    click.echo(f"Its thumbprint is {account.thumbprint}.")


@command.command("deactivate", short_help="End the account for good.")
@click.option("--force", is_flag=True, help="Do it without asking.")
@options.ca_url
@options.root
@options.account_key
@options.metadata_url
@options.timeout
@click.pass_obj
def deactivate(
    where: Directories, force: bool, ca_url: str | None, root: Path | None, metadata_url: str | None, timeout: float
) -> None:
    """End this machine's account at the CA for good, and set its key aside.

    Certificates stay valid until they expire, and are not renewed any more. The next order makes another account, and
    the CA gives it nothing before an operator has released the instance to it.
    """
    from acme_iid_client.acme import registration
    from acme_iid_client.cli.terminal import confirm, notice
    from acme_iid_client.deadline import Deadline

    deadline = Deadline(timeout)
    account, ca = _known(where, ca_url, root, metadata_url, deadline)
    confirm(
        f"This ends the account of {account.instance or account.file} at {ca.ca_url} for good, "
        "and its certificates are not renewed any more.",
        force,
    )
    aside = registration.deactivate(account, ca, deadline, notice)
    click.echo(f"The account at {ca.ca_url} has been deactivated.")
    if aside is not None:
        click.echo(f"Its key has been moved to {aside}.")
