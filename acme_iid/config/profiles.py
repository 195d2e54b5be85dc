"""The reader of certificate profiles: the tables ``[profile.NAME]`` of ca.toml, and the lifetimes in ``[ca]``."""

from __future__ import annotations

import re
from functools import partial

from acme_iid.config import setting_reader
from acme_iid.config.parsers import duration, one_of
from acme_iid.config.table import Table
from acme_iid.issuance.profiles import (
    DEFAULT_KEY_USAGES,
    KEY_USAGES,
    MAX_LIFETIME,
    MIN_LIFETIME,
    USAGES,
    Lifetimes,
    Profile,
)
from acme_iid.policy.setting import Setting

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}\Z")
_MAX_DESCRIPTION = 200


def lifetime_settings(defaults: Lifetimes | None) -> tuple[Setting, Setting, Setting]:
    """The settings of lifetimes, in ``[ca]`` and in profiles.

    :param defaults: those of ``[ca]``; None in a profile, which has what is in ``[ca]``.
    """
    usual, minimum, maximum = (
        (None, None, None) if defaults is None else (defaults.usual, defaults.minimum, defaults.maximum)
    )
    absent = "as in [ca]" if defaults is None else ""
    return (
        Setting(
            "lifetime",
            "duration",
            "a duration",
            "The time that a certificate is valid, unless its order asks for another.",
            duration,
            default=usual,
            absent=absent,
        ),
        Setting(
            "minimum_lifetime",
            "duration",
            "a duration",
            "The shortest time that an order may ask for, at least 1m.",
            duration,
            default=minimum,
            absent=absent,
        ),
        Setting(
            "maximum_lifetime",
            "duration",
            "a duration",
            "The longest time that an order may ask for, at most 825d.",
            duration,
            default=maximum,
            absent=absent,
        ),
    )


def lifetimes(table: Table, defaults: Lifetimes) -> Lifetimes:
    """Take ``lifetime``, ``minimum_lifetime`` and ``maximum_lifetime`` out of a table.

    :raises ConfigError: if they are out of bounds or out of order.
    """
    values = setting_reader.read(table, lifetime_settings(defaults))
    times = Lifetimes(
        usual=values.get("lifetime", defaults.usual),
        minimum=values.get("minimum_lifetime", defaults.minimum),
        maximum=values.get("maximum_lifetime", defaults.maximum),
    )
    if times.minimum < MIN_LIFETIME:
        raise table.error("minimum_lifetime", "is below a minute, which no client can work with")
    if times.maximum > MAX_LIFETIME:
        raise table.error("maximum_lifetime", "is above 825 days, which TLS clients refuse")
    if not times.minimum <= times.usual <= times.maximum:
        raise table.error(
            "lifetime",
            f"{times.usual} seconds is not between minimum_lifetime ({times.minimum} seconds) "
            f"and maximum_lifetime ({times.maximum} seconds)",
        )
    return times


def _description(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
        raise ValueError(f"{text!r} is no description; it is one line of at most {_MAX_DESCRIPTION} characters")
    return text


SETTINGS = (
    Setting(
        "description",
        "text",
        "a sentence that says what the profile is for",
        "For people; the directory shows it: a line of at most 200 characters.",
        _description,
        required=True,
    ),
    Setting(
        "usages",
        "list",
        'a list of "server" and "client"',
        "The sides of TLS that certificates are for.",
        partial(one_of, words=USAGES),
        absent="both",
    ),
    Setting(
        "key_usages",
        "list",
        "a list of key usages",
        f"The uses of a certificate's key, of {', '.join(KEY_USAGES)}, as far as its kind of key has them.",
        partial(one_of, words=KEY_USAGES),
        absent=", ".join(DEFAULT_KEY_USAGES),
    ),
)
"""The settings of ``[profile.NAME]`` beside its lifetimes."""


def read(name: str, table: Table, defaults: Lifetimes) -> Profile:
    """Read one ``[profile.NAME]``.

    :param defaults: the lifetimes in ``[ca]``, for those that it does not give.
    :raises ConfigError: if it is invalid.
    """
    if not _NAME.match(name):
        raise table.file_error(
            f"{name!r} is no name for a profile; it has up to 48 letters, digits, '.', '_' and '-' and begins with "
            "a letter or digit"
        )
    profile = Profile(name=name, lifetimes=lifetimes(table, defaults), **setting_reader.read(table, SETTINGS))
    table.done()
    if not profile.usages:
        raise table.error("usages", 'is empty; a certificate is for "server", "client" or both')
    if "digitalSignature" not in profile.key_usages:
        raise table.error("key_usages", "lacks digitalSignature, without which no key can be used in TLS 1.3")
    return profile
