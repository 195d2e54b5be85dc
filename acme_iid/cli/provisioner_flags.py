"""The flags of ``provisioner add`` and ``update``, which follow from the settings' descriptions.

These stand in :mod:`acme_iid.policy.clouds` and :mod:`acme_iid.config.provisioner_settings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from acme_iid.cli.parameters import Checked
from acme_iid.config import provisioner_settings
from acme_iid.config.provisioner_settings import of_type
from acme_iid.config.reference import default_in_words
from acme_iid.config.table import ConfigError
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.setting import Setting, Shape

TYPES = provisioner_settings.types()
_SINGLE = ("text", "duration", "port", "switch", "file", "key set")
"""Shapes of settings whose flag is given once."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of ``provisioner add`` and ``update``.

    :ivar name: without its dashes.
    :ivar settings: the settings that it sets, by the types of provisioners.
    """

    name: str
    settings: Mapping[str, Setting]

    @property
    def setting(self) -> Setting:
        """The setting with the first of its types; on the command line, all of them have the same key and shape."""
        return next(iter(self.settings.values()))

    @property
    def key(self) -> str:
        """The key in ``[[provisioner]]``."""
        return self.setting.key

    @property
    def shape(self) -> Shape:
        """The form of its setting in ca.toml."""
        return self.setting.shape

    @property
    def types(self) -> tuple[str, ...]:
        """The types of provisioners that it is for."""
        return tuple(self.settings)

    @property
    def parameter(self) -> str:
        """The name of its values in click."""
        return self.name.replace("-", "_")

    @property
    def is_repeated(self) -> bool:
        """Whether it may be given several times."""
        return self.shape not in _SINGLE

    @property
    def help(self) -> str:
        """The help: its effect with each type of provisioners, and the default."""
        first, *further = dict.fromkeys(setting.meaning for setting in self.settings.values())
        others = [f" Of type {self.types[-1]}, {meaning[0].lower()}{meaning[1:]}" for meaning in further]
        default = "" if self.shape == "switch" else default_in_words(self.setting)
        return first + "".join(others) + (f" Default: {default}." if default else "")


def _flags() -> Iterator[Flag]:
    """The flags of the clouds' own settings, then the common ones, then those of hosts alone."""
    settings = [(type_, setting) for type_, cloud in CLOUD_TYPES.items() for setting in cloud.settings]
    settings += [(type_, setting) for type_ in TYPES for setting in of_type(type_)]
    by_flag: dict[str, dict[str, Setting]] = {}
    for type_, setting in settings:
        by_flag.setdefault(setting.flag, {})[type_] = setting
    return (Flag(name, by_type) for name, by_type in by_flag.items())


FLAGS = tuple(_flags())
"""In the order of ``--help``."""


_BY_KEY = {flag.key: f"--{flag.name}" for flag in reversed(FLAGS)}
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
        if flag.shape in ("list", "rules", "registers", "issuers"):
            command = click.option(f"--remove-{flag.name}", multiple=True, hidden=True)(command)
    return command


def _option(flag: Flag) -> Callable[[Callable[..., None]], Callable[..., None]]:
    if flag.shape == "switch":
        return click.option(f"--{flag.name}/--no-{flag.name}", default=None, help=flag.help)
    return click.option(
        f"--{flag.name}",
        multiple=flag.is_repeated,
        metavar=flag.setting.metavar,
        type=_type(flag),
        help=flag.help + (" May be repeated." if flag.is_repeated else ""),
    )


def _type(flag: Flag) -> click.ParamType[Any]:
    if flag.shape == "port":
        return click.IntRange(1, 65535)
    return Checked(flag.setting.parse) if flag.shape == "duration" else click.STRING


def apply(table: MutableMapping[str, Any], type_: str, options: Mapping[str, Any]) -> None:
    """Write flags into a ``[[provisioner]]``: lists grow and shrink, the rest is set.

    :param options: click's values by their parameters.
    :raises click.UsageError: for a flag of another type, or a value that cannot be.
    """
    _check_types(type_, options)
    for key in options.get("unset", ()):
        if key not in table or key in ("name", "type"):
            raise click.UsageError(f"--unset {key}: there is no such setting in {table['name']!r}")
        del table[key]
    for flag in FLAGS:
        for text in options.get(f"remove_{flag.parameter}", ()):
            _remove(table, flag, text)
    for flag in FLAGS:
        value = options.get(flag.parameter)
        if value is not None and value != ():
            _set(table, type_, flag, value)
    for key in CLOUD_TYPES[type_].lists if type_ in CLOUD_TYPES else ():
        if key in table and not table[key]:
            raise click.UsageError(f"{key} would be empty, so that nobody is admitted; --unset {key} takes it out")


@contextmanager
def errors_by_flags(name: str) -> Iterator[None]:
    """Name flags, and not keys of ca.toml, in an error about the provisioner ``name``."""
    try:
        yield
    except ConfigError as error:
        if error.table != f"[[provisioner]] {name!r}" or error.key not in _BY_KEY:
            raise
        reason = _KEY.sub(lambda match: _BY_KEY[match[0]], error.reason)
        raise click.ClickException(f"{_BY_KEY[error.key]}: {reason}") from error


def _check_types(type_: str, options: Mapping[str, Any]) -> None:
    for flag in FLAGS:
        for name in (flag.name, f"remove-{flag.name}"):
            if options.get(name.replace("-", "_")) not in (None, ()) and type_ not in flag.types:
                raise click.UsageError(f"--{name} is for type {' or '.join(flag.types)}, and this is of type {type_}")


def _set(table: MutableMapping[str, Any], type_: str, flag: Flag, value: Any) -> None:
    match flag.shape:
        case "list" | "rules":
            _extend(table, flag.key, (_read(flag, type_, text) for text in value))
        case "registers":
            for key, measured in (_register(flag, text) for text in value):
                _extend(table, key, [_read(flag, type_, measured)])
        case "order":
            table[flag.key] = list(dict.fromkeys(value))
        case "file" | "key set":
            table[flag.key] = _source(value)
        case "issuers" | "issuer keys":
            for account, text in (_pair(flag, text) for text in value):
                _set_issuer(table, account, flag, text)
        case "text" | "duration" | "port" | "switch":
            table[flag.key] = value


def _remove(table: MutableMapping[str, Any], flag: Flag, text: str) -> None:
    key, removed = _register(flag, text) if flag.shape == "registers" else (flag.key, text)
    values = table.get(key, [])
    for index, value in enumerate(values):
        listed = value["account"] if flag.shape == "issuers" else value
        if isinstance(listed, str) and listed.lower() == removed.lower():
            del values[index]
            if flag.shape == "issuers" and not values:
                del table[key]
            return
    left = ", ".join(value for value in values if isinstance(value, str))
    raise click.UsageError(
        f"--remove-{flag.name}: {removed!r} is not in {key}" + (f", which is {left}" if left else "")
    )


def _extend(table: MutableMapping[str, Any], key: str, values: Iterable[str]) -> None:
    if key not in table:
        table[key] = []
    for value in values:
        if not any(isinstance(listed, str) and listed.lower() == value.lower() for listed in table[key]):
            table[key].append(value)


def _read(flag: Flag, type_: str, text: str) -> str:
    """A value of a list that says who is admitted, checked; what others may hold is checked with the whole file."""
    setting = flag.settings[type_]
    if (setting.shape == "list" and setting.facts) or setting.shape == "registers":
        try:
            setting.parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=f"--{flag.name}") from error
    return text


def _pair(flag: Flag, text: str) -> tuple[str, str]:
    first, equals, second = text.partition("=")
    if not equals or not first or not second:
        raise click.BadParameter(f"{text!r} is not {flag.setting.metavar}", param_hint=f"--{flag.name}")
    return first, second


def _register(flag: Flag, text: str) -> tuple[str, str]:
    index, measured = _pair(flag, text)
    key = flag.key.rstrip("0123456789") + index
    if key not in flag.setting.keys:
        raise click.BadParameter(
            f"{index!r} is no register; they are 0 to {len(flag.setting.keys) - 1}", param_hint=f"--{flag.name}"
        )
    return key, measured


def _source(text: str) -> str:
    # ca.toml may be read from anywhere.
    return text if "://" in text else str(Path(text).absolute())


def _set_issuer(table: MutableMapping[str, Any], account: str, flag: Flag, text: str) -> None:
    member, value = ("issuer", text) if flag.shape == "issuers" else ("jwks", _source(text))
    for entry in table.get(flag.key, ()):
        if entry["account"] == account:
            entry[member] = value
            return
    if member == "jwks":
        raise click.UsageError(f"--{flag.name}: {account!r} has no issuer here; give {_BY_KEY[flag.key]} too")
    entry = {"account": account, member: value}
    if flag.key in table:
        table[flag.key].append(entry)
    else:
        table[flag.key] = [entry]
