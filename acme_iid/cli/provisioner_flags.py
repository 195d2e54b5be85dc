"""What ``provisioner add`` and ``update`` take: a flag for each key, by step's word where it has one.

Which type a flag is for, and how its values are read, follows from :data:`acme_iid.policy.provisioner_types.KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from acme_iid.cli.parameters import Checked
from acme_iid.config.table import ConfigError
from acme_iid.policy.hosts import CHALLENGES, TYPE
from acme_iid.policy.provisioner_types import KINDS, PCRS

TYPES = (*KINDS, TYPE)
Shape = Literal["list", "order", "text", "port", "source", "switch", "pcrs", "issuers", "issuer keys"]
"""How a flag's values stand in ca.toml. ``order`` is a list that is given whole; ``source`` is a file, or a URL."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, without its dashes, for one key of ``[[provisioner]]``.

    :ivar only: the types of provisioners that it is for, where that does not follow from :data:`KINDS`.
    """

    name: str
    key: str
    shape: Shape
    metavar: str
    help: str
    only: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """The types of provisioners that it is for."""
        lists = {kind: known.lists for kind, known in KINDS.items()}
        keyed = tuple(kind for kind, known in KINDS.items() if self.key in lists[kind] or self.key in known.sources)
        return self.only or keyed or tuple(KINDS)

    @property
    def parameter(self) -> str:
        """What click calls its values."""
        return self.name.replace("-", "_")

    @property
    def repeated(self) -> bool:
        """Whether it may be given several times."""
        return self.shape not in ("text", "port", "source", "switch")


FLAGS = (
    Flag("aws-account", "accounts", "list", "ID", "An account whose instances are admitted."),
    Flag("organization", "organizations", "list", "ID", "An organization whose instances are admitted."),
    Flag("gcp-project", "projects", "list", "ID", "A project, by id or number, whose instances are admitted."),
    Flag("gcp-service-account", "service_accounts", "list", "EMAIL", "A service account, by address or number."),
    Flag("azure-tenant", "tenants", "list", "ID", "A tenant whose managed identities are believed."),
    Flag("azure-subscription-id", "subscriptions", "list", "ID", "A subscription whose VMs are admitted."),
    Flag("azure-resource-group", "resource_groups", "list", "NAME", "A resource group."),
    Flag("azure-object-id", "object_ids", "list", "ID", "A managed identity, by its object id."),
    Flag(
        "azure-audience",
        "audience",
        "text",
        "RESOURCE",
        "The resource of this CA's own that managed identity tokens must be for.",
    ),
    Flag("region", "regions", "list", "NAME", "A region."),
    Flag("zone", "zones", "list", "NAME", "An availability zone."),
    Flag("image", "images", "list", "ID", "An image (AMI)."),
    Flag("instance-type", "instance_types", "list", "NAME", "An instance type."),
    Flag("instance-id", "instance_ids", "list", "ID", "A single instance."),
    Flag("vpc", "vpcs", "list", "ID", "A network that the instance is in; proven by aws-web-identity."),
    Flag("pcr", PCRS[0], "pcrs", "INDEX=HEX", "A measurement of the boot that is admitted; proven by aws-nitrotpm."),
    Flag(
        "web-identity-issuer",
        "web_identity",
        "issuers",
        "ACCOUNT=URL",
        "The issuer of an account's web identity tokens.",
    ),
    Flag(
        "web-identity-jwks",
        "web_identity",
        "issuer keys",
        "ACCOUNT=FILE|URL",
        "That issuer's keys, instead of where AWS publishes them.",
    ),
    Flag("iid-roots", "iid_roots", "source", "FILE", "PEM file of further certificates to believe documents under."),
    Flag("nitro-roots", "nitro_roots", "source", "FILE", "PEM file of further roots of NitroTPM documents."),
    Flag(
        "jwks", "jwks", "source", "FILE|URL", "The key set of the cloud's tokens, for a CA that cannot reach its own."
    ),
    Flag(
        "format",
        "formats",
        "order",
        "FORMAT",
        "A format of evidence to accept, most preferred first. Default: the usual ones that prove what is demanded.",
    ),
    Flag(
        "instance-age",
        "instance_age",
        "text",
        "DURATION",
        "How long after its start an instance may prove itself for the first time, such as 1h.",
    ),
    Flag(
        "enrolment-lifetime",
        "enrolment_lifetime",
        "text",
        "DURATION",
        "How long an instance's proof serves what it enrolled with 'acme-iid enroll'. Default: 7d.",
    ),
    Flag(
        "proof-lifetime",
        "proof_lifetime",
        "text",
        "DURATION",
        "How long an instance's proof serves further orders of its account, which then take three requests and no "
        "evidence: 30d at most. Default: 0, each order is proven anew.",
    ),
    Flag(
        "allow",
        "allow",
        "list",
        "NAME",
        'A name that instances may hold, with facts in braces and * for one whole label: "{instance_id}.vm.internal". '
        "Default: any name inside the CA's domains.",
        only=TYPES,
    ),
    Flag("allow-wildcard", "allow_wildcards", "list", "NAME", 'A wildcard that they may hold: "*.apps.internal".'),
    Flag(
        "network",
        "networks",
        "list",
        "CIDR",
        "Believe private addresses, and names made of them, inside this only. Of type ACME, where the hosts are: "
        "validation connects to nothing else.",
        only=TYPES,
    ),
    Flag(
        "profile",
        "profiles",
        "list",
        "NAME",
        "A certificate profile that they may have. Default: all.",
        only=TYPES,
    ),
    Flag("disable-custom-sans", "disable_custom_sans", "switch", "", "Only names that follow from the evidence."),
    Flag(
        "disable-trust-on-first-use",
        "disable_trust_on_first_use",
        "switch",
        "",
        "Do not tie an instance to the first account that proves it.",
    ),
    Flag(
        "challenge",
        "challenges",
        "list",
        "TYPE",
        f"A challenge by which hosts may prove names: {', '.join(CHALLENGES)}.",
        only=(TYPE,),
    ),
    Flag("allow-wildcards", "allow_wildcards", "switch", "", "Wildcards too, by challenges in the DNS.", only=(TYPE,)),
    Flag(
        "resolver",
        "resolver",
        "list",
        "ADDRESS[:PORT]",
        "A name server to ask. Default: the system's.",
        only=(TYPE,),
    ),
    Flag("http-port", "http_port", "port", "PORT", "Where http-01 is answered. Default: 80.", only=(TYPE,)),
    Flag("tls-port", "tls_port", "port", "PORT", "Where tls-alpn-01 is answered. Default: 443.", only=(TYPE,)),
    Flag("caa", "caa", "switch", "", "Heed CAA records (RFC 8659).", only=(TYPE,)),
)
"""In the order of ``--help``."""


_BY_KEY = {flag.key: f"--{flag.name}" for flag in reversed(FLAGS)}
# A key as a word of its own: not where it is part of a value, nor after an article, which makes it plain English.
_KEY = re.compile(rf"(?<![\w.'{{-])(?<!the )(?:{'|'.join(_BY_KEY)})(?![\w.'}}-])")


class Command(click.Command):
    """A command whose ``--help`` shows the flags of each type together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, those of the command itself first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        titles = {flag.parameter: f"For {' and '.join(flag.types)}" for flag in FLAGS if len(flag.types) < len(KINDS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(titles.get(parameter.name or "", "Options"), []).append(record)
        # The type comes first, as the choice that all others depend on.
        for title in sorted(sections, key=lambda title: (title != "Options", title.count(" and "))):
            with formatter.section(title):
                formatter.write_dl(sections[title])


def flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all of the flags."""
    for flag in reversed(FLAGS):
        command = _option(flag)(command)
    return command


def removals(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--remove-...`` for each list; ``--help`` speaks of them as a whole."""
    for flag in reversed(FLAGS):
        if flag.shape in ("list", "pcrs", "issuers"):
            command = click.option(f"--remove-{flag.name}", multiple=True, hidden=True)(command)
    return command


def _option(flag: Flag) -> Callable[[Callable[..., None]], Callable[..., None]]:
    if flag.shape == "switch":
        return click.option(f"--{flag.name}/--no-{flag.name}", default=None, help=flag.help)
    return click.option(
        f"--{flag.name}",
        multiple=flag.repeated,
        metavar=flag.metavar,
        type=_type(flag),
        help=flag.help + (" May be repeated." if flag.repeated else ""),
    )


def _type(flag: Flag) -> click.ParamType[Any]:
    if flag.shape == "port":
        return click.IntRange(1, 65535)
    if flag.key == "proof_lifetime":
        return Checked("proof_lifetime")
    return Checked("duration") if flag.key in ("instance_age", "enrolment_lifetime") else click.STRING


def apply(table: MutableMapping[str, Any], type_: str, given: Mapping[str, Any]) -> None:
    """Write the flags that were given into a ``[[provisioner]]``: lists grow and shrink, the rest is set.

    :param given: click's values by their parameters.
    :raises click.UsageError: for a flag of another type, or a value that cannot be.
    """
    _check_types(type_, given)
    for key in given.get("unset", ()):
        if key not in table or key in ("name", "type"):
            raise click.UsageError(f"--unset {key}: there is no such setting in {table['name']!r}")
        del table[key]
    for flag in FLAGS:
        for text in given.get(f"remove_{flag.parameter}", ()):
            _remove(table, flag, text)
    for flag in FLAGS:
        value = given.get(flag.parameter)
        if value is not None and value != ():
            _set(table, type_, flag, value)
    for key in KINDS[type_].lists if type_ in KINDS else ():
        if key in table and not table[key]:
            raise click.UsageError(f"{key} would be empty, so that nobody is admitted; --unset {key} takes it out")


@contextmanager
def said_by_flags(name: str) -> Iterator[None]:
    """Say what is wrong with the provisioner ``name`` by the flags that were typed, not by ca.toml's keys."""
    try:
        yield
    except ConfigError as error:
        if error.table != f"[[provisioner]] {name!r}" or error.key not in _BY_KEY:
            raise
        reason = _KEY.sub(lambda match: _BY_KEY[match[0]], error.reason)
        raise click.ClickException(f"{_BY_KEY[error.key]}: {reason}") from error


def _check_types(type_: str, given: Mapping[str, Any]) -> None:
    for flag in FLAGS:
        for name in (flag.name, f"remove-{flag.name}"):
            if given.get(name.replace("-", "_")) not in (None, ()) and type_ not in flag.types:
                raise click.UsageError(f"--{name} is for type {' or '.join(flag.types)}, and this is of type {type_}")


def _set(table: MutableMapping[str, Any], type_: str, flag: Flag, value: Any) -> None:
    match flag.shape:
        case "list":
            _extend(table, flag.key, (_read(flag, type_, flag.key, text) for text in value))
        case "pcrs":
            for key, measured in (_pcr(flag, text) for text in value):
                _extend(table, key, [_read(flag, type_, key, measured)])
        case "order":
            table[flag.key] = list(dict.fromkeys(value))
        case "source":
            table[flag.key] = _source(value)
        case "issuers" | "issuer keys":
            for account, text in (_pair(flag, text) for text in value):
                _set_issuer(table, account, flag, text)
        case "text" | "port" | "switch":
            table[flag.key] = value


def _remove(table: MutableMapping[str, Any], flag: Flag, text: str) -> None:
    key, wanted = _pcr(flag, text) if flag.shape == "pcrs" else (flag.key, text)
    values = table.get(key, [])
    for index, value in enumerate(values):
        known = value["account"] if flag.shape == "issuers" else value
        if isinstance(known, str) and known.lower() == wanted.lower():
            del values[index]
            if flag.shape == "issuers" and not values:
                del table[key]
            return
    listed = ", ".join(value for value in values if isinstance(value, str))
    raise click.UsageError(
        f"--remove-{flag.name}: {wanted!r} is not in {key}" + (f", which is {listed}" if listed else "")
    )


def _extend(table: MutableMapping[str, Any], key: str, values: Iterable[str]) -> None:
    if key not in table:
        table[key] = []
    for value in values:
        if not any(isinstance(known, str) and known.lower() == value.lower() for known in table[key]):
            table[key].append(value)


def _read(flag: Flag, type_: str, key: str, text: str) -> str:
    listed = KINDS[type_].lists.get(key) if type_ in KINDS else None
    try:
        return text if listed is None else listed.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{flag.name}") from error


def _pair(flag: Flag, text: str) -> tuple[str, str]:
    first, equals, second = text.partition("=")
    if not equals or not first or not second:
        raise click.BadParameter(f"{text!r} is not {flag.metavar}", param_hint=f"--{flag.name}")
    return first, second


def _pcr(flag: Flag, text: str) -> tuple[str, str]:
    index, measured = _pair(flag, text)
    if f"pcr{index}" not in PCRS:
        raise click.BadParameter(
            f"{index!r} is no register; they are 0 to {len(PCRS) - 1}", param_hint=f"--{flag.name}"
        )
    return f"pcr{index}", measured


def _source(text: str) -> str:
    # ca.toml may be read from anywhere.
    return text if "://" in text else str(Path(text).absolute())


def _set_issuer(table: MutableMapping[str, Any], account: str, flag: Flag, text: str) -> None:
    key, value = ("issuer", text) if flag.shape == "issuers" else ("jwks", _source(text))
    for entry in table.get("web_identity", ()):
        if entry["account"] == account:
            entry[key] = value
            return
    if key == "jwks":
        raise click.UsageError(f"--{flag.name}: {account!r} has no issuer here; give --web-identity-issuer too")
    entry = {"account": account, key: value}
    if "web_identity" in table:
        table["web_identity"].append(entry)
    else:
        table["web_identity"] = [entry]
