"""``--key`` and ``--generate``: an issuer's key that stays in a token or behind a program."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from acme_iid.issuance.keys import PrivateKey
    from acme_iid.signing.keys import ForeignPlace

_F = TypeVar("_F", bound=Callable[..., Any])


class _ForeignPlace(click.ParamType["ForeignPlace"]):
    """Where a key is that stays there."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ForeignPlace:
        """Return the place that the text says."""
        from acme_iid.signing.places import FilePlace, PlaceError, parse

        try:
            place = parse(value)
        except PlaceError as error:
            self.fail(str(error), param, ctx)
        if isinstance(place, FilePlace):
            self.fail("a key in a file is made without --key, and kept in the home", param, ctx)
        return place


def key_place(command: _F) -> _F:
    """Give a command the options ``--key`` and ``--generate``."""
    command = click.option(
        "--generate",
        is_flag=True,
        help="Make the key of --key in the token, unless it is there and has no certificate.",
    )(command)
    return click.option(
        "--key",
        type=_ForeignPlace(),
        metavar="PLACE",
        help="Where the intermediate's key is and stays, in a token (pkcs11:...) or behind a program (exec:...).",
    )(command)


def require_fitting(place: ForeignPlace | None, *, generate: bool) -> None:
    """Refuse options that make no sense together.

    :raises click.UsageError: with which ones.
    """
    from acme_iid.signing.places import TokenPlace

    if generate and place is None:
        raise click.UsageError("--generate makes the key of --key; give its place too")
    if generate and not isinstance(place, TokenPlace):
        raise click.UsageError("--generate is for tokens; make the key of a program by its key service's own means")


def taker(
    place: ForeignPlace | None, key_type: str, taken: Callable[[], Collection[str]], *, generate: bool
) -> Callable[[], PrivateKey] | None:
    """Return what gives the key of a new issuer, and says where it is; None if it is to be in a file.

    :param taken: gives the ids of keys that issuers have.
    """
    from acme_iid.operations import issuer_keys
    from acme_iid.signing.places import TokenPlace

    if place is None:
        return None

    def take() -> PrivateKey:
        if not generate or not isinstance(place, TokenPlace):
            return issuer_keys.use(place, taken()).key
        found = issuer_keys.generate(place, key_type, taken())
        # At once: whatever happens from here on, the key is there, and costs money in some tokens.
        if found.made:
            click.echo(
                f"The key {place} was made. If this command fails, give it again: it takes up that key.", err=True
            )
        else:
            click.echo(f"The key {place} was there without a certificate, and is taken up.", err=True)
        return found.key

    return take
