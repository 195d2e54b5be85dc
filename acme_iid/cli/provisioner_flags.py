"""What ``provisioner add`` and ``update`` take: a flag for each key, by step's word where it has one.

Clouds describe the flags of their own lists and keys (:mod:`acme_iid.policy.clouds`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import click

from acme_iid.cli.parameters import Checked
from acme_iid.config.table import ConfigError
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.clouds.cloud_type import Setting
from acme_iid.policy.hosts import CHALLENGES, TYPE

TYPES = (*CLOUD_TYPES, TYPE)


@dataclass(frozen=True, slots=True)
class Flag(Setting):
    """One flag, without its dashes, for one key of ``[[provisioner]]``.

    :ivar only: the types of provisioners that it is for, where clouds do not say so.
    """

    only: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """The types of provisioners that it is for."""
        of_clouds = tuple(
            type_ for type_, cloud in CLOUD_TYPES.items() if any(one.flag == self.flag for one in cloud.settings)
        )
        return self.only or of_clouds or tuple(CLOUD_TYPES)

    @property
    def parameter(self) -> str:
        """What click calls its values."""
        return self.flag.replace("-", "_")

    @property
    def repeated(self) -> bool:
        """Whether it may be given several times."""
        return self.shape not in ("text", "port", "source", "switch")


def _of_clouds() -> Iterator[Setting]:
    """The settings of all clouds; of those that several have, one."""
    settings = (one for cloud in CLOUD_TYPES.values() for one in cloud.settings)
    return iter({one.flag: one for one in settings}.values())


FLAGS = (
    *(Flag(*astuple(setting)) for setting in _of_clouds()),
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


_BY_KEY = {flag.key: f"--{flag.flag}" for flag in reversed(FLAGS)}
# A key as a word of its own: not where it is part of a value, nor after an article, which makes it plain English.
_KEY = re.compile(rf"(?<![\w.'{{-])(?<!the )(?:{'|'.join(_BY_KEY)})(?![\w.'}}-])")


class Command(click.Command):
    """A command whose ``--help`` shows the flags of each type together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, those of the command itself first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        titles = {
            flag.parameter: f"For {' and '.join(flag.types)}" for flag in FLAGS if len(flag.types) < len(CLOUD_TYPES)
        }
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
        if flag.shape in ("list", "registers", "issuers"):
            command = click.option(f"--remove-{flag.flag}", multiple=True, hidden=True)(command)
    return command


def _option(flag: Flag) -> Callable[[Callable[..., None]], Callable[..., None]]:
    if flag.shape == "switch":
        return click.option(f"--{flag.flag}/--no-{flag.flag}", default=None, help=flag.help)
    return click.option(
        f"--{flag.flag}",
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
    for key in CLOUD_TYPES[type_].lists if type_ in CLOUD_TYPES else ():
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
        for name in (flag.flag, f"remove-{flag.flag}"):
            if given.get(name.replace("-", "_")) not in (None, ()) and type_ not in flag.types:
                raise click.UsageError(f"--{name} is for type {' or '.join(flag.types)}, and this is of type {type_}")


def _set(table: MutableMapping[str, Any], type_: str, flag: Flag, value: Any) -> None:
    match flag.shape:
        case "list":
            _extend(table, flag.key, (_read(flag, type_, flag.key, text) for text in value))
        case "registers":
            for key, measured in (_register(flag, text) for text in value):
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
    key, wanted = _register(flag, text) if flag.shape == "registers" else (flag.key, text)
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
        f"--remove-{flag.flag}: {wanted!r} is not in {key}" + (f", which is {listed}" if listed else "")
    )


def _extend(table: MutableMapping[str, Any], key: str, values: Iterable[str]) -> None:
    if key not in table:
        table[key] = []
    for value in values:
        if not any(isinstance(known, str) and known.lower() == value.lower() for known in table[key]):
            table[key].append(value)


def _read(flag: Flag, type_: str, key: str, text: str) -> str:
    listed = CLOUD_TYPES[type_].lists.get(key) if type_ in CLOUD_TYPES else None
    try:
        return text if listed is None else listed.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{flag.flag}") from error


def _pair(flag: Flag, text: str) -> tuple[str, str]:
    first, equals, second = text.partition("=")
    if not equals or not first or not second:
        raise click.BadParameter(f"{text!r} is not {flag.metavar}", param_hint=f"--{flag.flag}")
    return first, second


def _register(flag: Flag, text: str) -> tuple[str, str]:
    index, measured = _pair(flag, text)
    key = flag.key.rstrip("0123456789") + index
    if key not in flag.keys:
        raise click.BadParameter(
            f"{index!r} is no register; they are 0 to {len(flag.keys) - 1}", param_hint=f"--{flag.flag}"
        )
    return key, measured


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
        raise click.UsageError(f"--{flag.flag}: {account!r} has no issuer here; give --web-identity-issuer too")
    entry = {"account": account, key: value}
    if "web_identity" in table:
        table["web_identity"].append(entry)
    else:
        table["web_identity"] = [entry]
