"""Parameters of several commands: values checked by the configuration's own rules, and the password."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

KEY_TYPES = ("P-256", "P-384", "Ed25519", "RSA-3072", "RSA-4096")
"""The kinds of key that a CA can be made with, as :mod:`acme_iid.issuance.ceremony` knows them."""

password_file = click.option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file whose first line is the password of the private keys.",
)


class TakesRandomText(click.Command):
    """A command whose argument, a key's id or thumbprint, may begin with a dash and then the letter of any option."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments; -h by itself asks for help, as it does everywhere."""
        return super().parse_args(ctx, ["--help" if argument == "-h" else argument for argument in args])


class Checked(click.ParamType[Any]):
    """A text that the configuration would accept.

    :param rule: reads it; the name of a function stands for one of ``acme_iid.config.parsers``.
    :param keep: whether the command takes the text as it was typed, and not what the rule makes of it.
    """

    def __init__(self, rule: str | Callable[[str], Any], *, keep: bool = True) -> None:
        self.name = "text"
        self._rule = rule
        self._keep = keep

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text as it was typed, or what the rule makes of it."""
        from acme_iid.config import parsers

        if not isinstance(value, str):
            return value
        rule: Callable[[str], Any] = getattr(parsers, self._rule) if isinstance(self._rule, str) else self._rule
        try:
            parsed = rule(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value if self._keep else parsed


def _root_list_url(text: str) -> str:
    from acme_iid.config.status_settings import root_list_url

    return root_list_url(text)


root_crl_url = click.option(
    "--root-crl-url",
    type=Checked(_root_list_url),
    metavar="URL",
    help="Where the revocation list of the root that signs is; {root} in it stands for the root's id. By default what "
    "ca.toml says, if the root is one of this CA's.",
)


class Subject(click.ParamType[Any]):
    """A distinguished name as text (RFC 4514)."""

    name = "dn"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name that the text stands for."""
        from cryptography import x509

        if not isinstance(value, str):
            return value
        try:
            subject = x509.Name.from_rfc4514_string(value)
        except ValueError as error:
            self.fail(f'{value!r} is no distinguished name; write for example "CN=Issuing CA 1,O=Acme"', param, ctx)
            raise AssertionError from error
        if not list(subject):
            self.fail("the name is empty; a CA certificate has a subject", param, ctx)
        return subject


def password(file: Path | None) -> str | None:
    """Return the password in ``file``, None without one.

    :raises CAFileError: if it cannot be read or is empty.
    """
    from acme_iid.issuance.keys import read_password

    return None if file is None else read_password(file)
