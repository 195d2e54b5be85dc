"""``acme-iid-ca provisioner``: the ``[[provisioner]]`` tables of ca.toml, written, shown and tried."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import click

from acme_iid.attestation.trust import GivenKeys
from acme_iid.cli import Home, provisioner_edits
from acme_iid.cli.acting import reason_option, recording
from acme_iid.cli.output import show
from acme_iid.cli.parameters import Checked
from acme_iid.cli.provisioner_explain import test
from acme_iid.cli.provisioner_flags import FLAGS, TYPES, Command, apply, errors_by_flags, flags, removals
from acme_iid.config import findings, provisioner_settings
from acme_iid.config.settings import Config
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.hosts import CHALLENGES, TYPE, HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.policy.setting import Setting

# The \b keeps click from filling the lines.
_ADD_EXAMPLES = """\b
Examples:
  acme-iid-ca provisioner add Web --type AWS --aws-account 123456789042 \\
    --region us-east-1 --allow "{instance_id}.vm.internal" --instance-age 10m
  acme-iid-ca provisioner add Batch --type GCP --gcp-project my-project
  acme-iid-ca provisioner add VMs --type AZURE --azure-tenant TENANT_ID \\
    --azure-resource-group web --azure-audience api://my-ca
  acme-iid-ca provisioner add Racks --type ACME --challenge http-01 \\
    --challenge dns-01 --allow "*.racks.internal" --network 10.20.0.0/16
"""
_UPDATE_EXAMPLES = """\b
Examples:
  acme-iid-ca provisioner update Web --region eu-west-1 --remove-region us-east-1
  acme-iid-ca provisioner update Web --no-disable-custom-sans --unset instance_age
"""
_TAKEN_UP = "A running server takes it up on SIGHUP."


@click.group(short_help="Say whose instances get certificates.")
def provisioner() -> None:
    """Say whose instances get certificates, and under which rules.

    A provisioner admits the instances of one cloud that are on all of its lists, and says which names they
    may hold. An instance is tried with each of them, in their order in ca.toml. One of type ACME is for hosts in
    no cloud, which prove each of their names by a standard challenge.
    """


provisioner.add_command(test)


@provisioner.command("add", cls=Command, short_help="Add one to ca.toml.", epilog=_ADD_EXAMPLES)
@click.argument("name", type=Checked("name"))
@click.option(
    "--type",
    "type_",
    required=True,
    type=click.Choice(TYPES, case_sensitive=False),
    metavar="|".join(TYPES),
    help="The instances' cloud, or ACME for hosts in none.",
)
@flags
@reason_option()
@click.pass_obj
def add(home: Home, /, name: str, type_: str, act_reason: str | None, **options: Any) -> None:
    """Add the provisioner NAME to ca.toml, keeping the file's comments.

    It admits the instances that are on all of the lists given. One of these must list the instances' owners.
    Of type ACME, hosts prove their names by one of the challenges given.
    """
    values: dict[str, Any] = {"name": name, "type": type_}
    apply(values, type_, options)
    if type_ not in CLOUD_TYPES:
        if "challenges" not in values:
            raise click.UsageError(f"say how hosts prove their names: --challenge {' or '.join(CHALLENGES)}")
    elif not any(owner in values for owner in CLOUD_TYPES[type_].owners):
        named = " or ".join(f"--{flag.name}" for flag in FLAGS if flag.key in CLOUD_TYPES[type_].owners)
        raise click.UsageError(
            f"say whose instances are admitted: {named}. Any customer of the cloud has valid evidence, so a "
            "provisioner without owners admits nobody"
        )
    with recording(home, act_reason), errors_by_flags(name):
        made = provisioner_edits.add(home, values)
    click.echo(f"The provisioner {name!r} has been added to {made.file}.")
    click.echo(_TAKEN_UP)
    _warn(made, name)


@provisioner.command("update", cls=Command, short_help="Change one in ca.toml.", epilog=_UPDATE_EXAMPLES)
@click.argument("name")
@flags
@removals
@click.option("--unset", multiple=True, metavar="KEY", help="Take a setting out, by its key in ca.toml: instance_age.")
@reason_option()
@click.pass_obj
def update(home: Home, /, name: str, act_reason: str | None, **options: Any) -> None:
    """Change the provisioner NAME in ca.toml, keeping the file's comments.

    Flags that may be repeated add to their lists, and each has a --remove-... that takes a value out again
    (--remove-aws-account ID); only --format gives the whole list, as it is an order. Other flags replace what was
    there. Rules with conditions are edited in ca.toml itself.
    """
    if not any(value not in (None, ()) for value in options.values()):
        raise click.UsageError("say what to change; --help lists the flags")

    def edit(config: Config) -> provisioner_edits.Edit:
        type_ = TYPE if any(entry.name == name for entry in config.hosts) else _of(config, name).type

        def made(table: MutableMapping[str, Any]) -> None:
            apply(table, type_, options)

        return made

    with recording(home, act_reason), errors_by_flags(name):
        changed = provisioner_edits.change(home, name, edit)
    click.echo(f"The provisioner {name!r} has been changed in {changed.file}.")
    click.echo(_TAKEN_UP)
    _warn(changed, name)


@provisioner.command("remove", short_help="Remove one from ca.toml.")
@click.argument("name")
@reason_option()
@click.pass_obj
def remove(home: Home, name: str, act_reason: str | None) -> None:
    """Remove the provisioner NAME from ca.toml, with the comment directly above it.

    Certificates that were issued under it stay valid until they expire or are revoked.
    """
    with recording(home, act_reason):
        left = provisioner_edits.remove(home, name)
    click.echo(f"The provisioner {name!r} has been removed from {left.file}.")
    click.echo(_TAKEN_UP)


@provisioner.command("list", short_help="Show those in ca.toml.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_obj
def list_(home: Home, as_json: bool) -> None:
    """Show the provisioners in ca.toml, in the order in which they are tried."""
    config = home.config()
    by_name = {entry.name: _row(entry) for entry in config.all_provisioners}
    rows = [by_name[name] for name in config.names]
    if not as_json:
        # People are shown what somebody has set, and every row the same columns.
        heads = dict.fromkeys(head for row in rows for head, value in row.items() if value is not None)
        rows = [{head.replace("_", " "): _cell(row.get(head)) for head in heads} for row in rows]
    show(
        rows,
        as_json=as_json,
        empty='There are no provisioners, so nobody is admitted; "acme-iid-ca provisioner add" adds one.',
    )


def _row(entry: Provisioner | HostProvisioner) -> dict[str, object]:
    """A provisioner's settings by their keys."""
    if isinstance(entry, HostProvisioner):
        return {"name": entry.name, "type": TYPE} | _common(entry, provisioner_settings.of_hosts())
    row: dict[str, object] = {"name": entry.name, "type": entry.type}
    for setting in entry.cloud_type.settings:
        row |= _own(entry, setting)
    return row | _common(entry, provisioner_settings.of_instances(entry.cloud_type))


def _own(entry: Provisioner, setting: Setting) -> dict[str, object]:
    """A setting that only its cloud has; of registers, of which there are many, those that are set."""
    demands = {demand.key: list(demand.values) for demand in entry.demands}
    if setting.shape == "registers":
        return {key: demands[key] for key in setting.keys if key in demands}
    return {setting.key: demands.get(setting.key) if setting.facts else _source(entry.keys, setting.key)}


def _common(entry: Provisioner | HostProvisioner, settings: Iterable[Setting]) -> dict[str, object]:
    """Settings that each provisioner has; one that disables something is shown as what it leaves."""
    row: dict[str, object] = {}
    for setting in settings:
        value = getattr(entry, setting.key)
        if setting.key.startswith("disable_"):
            row[setting.key.removeprefix("disable_")] = not value
        else:
            row[setting.key] = _shown(setting, value)
    return row


def _shown(setting: Setting, value: object) -> object:
    """A value as it is listed; None for a default, but where the default is a value that one can meet."""
    if setting.shape not in ("switch", "port") and value == setting.default:
        return None
    if isinstance(value, tuple):
        prefix = "*." if setting.key == "allow_wildcards" else ""
        return [prefix + str(one) for one in value]
    return value


def _source(keys: GivenKeys, key: str) -> object:
    if key not in keys.given:
        return None
    if key in keys.places:
        return str(keys.places[key])
    if key in keys.texts:
        return keys.texts[key]
    return keys.key_set if isinstance(keys.key_set, str) else [f"{one.account}={one.issuer}" for one in keys.issuers]


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value == [] else value


def _of(config: Config, name: str) -> Provisioner:
    return next(entry for entry in config.provisioners if entry.name == name)


def _warn(config: Config, name: str) -> None:
    """Say what ``acme-iid-ca check`` says of the provisioner."""
    for finding in findings.of_provisioner(config, name):
        click.echo(f"Warning: {finding}", err=True)
