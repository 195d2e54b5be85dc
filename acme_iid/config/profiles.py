"""The reader of certificate profiles: the tables ``[profile.NAME]`` of ca.toml, and the lifetimes in ``[ca]``."""

from __future__ import annotations

import re
from collections.abc import Collection

from acme_iid.config.parsers import duration
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

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}\Z")
_MAX_DESCRIPTION = 200


def lifetimes(table: Table, defaults: Lifetimes) -> Lifetimes:
    """Take ``lifetime``, ``minimum_lifetime`` and ``maximum_lifetime`` out of a table.

    :raises ConfigError: if they are out of bounds or out of order.
    """
    found = Lifetimes(
        usual=table.text("lifetime", "a duration", duration, defaults.usual),
        minimum=table.text("minimum_lifetime", "a duration", duration, defaults.minimum),
        maximum=table.text("maximum_lifetime", "a duration", duration, defaults.maximum),
    )
    if found.minimum < MIN_LIFETIME:
        raise table.error("minimum_lifetime", "is below a minute, which no client can work with")
    if found.maximum > MAX_LIFETIME:
        raise table.error("maximum_lifetime", "is above 825 days, which TLS clients refuse")
    if not found.minimum <= found.usual <= found.maximum:
        raise table.error(
            "lifetime",
            f"{found.usual} seconds is not between minimum_lifetime ({found.minimum} seconds) "
            f"and maximum_lifetime ({found.maximum} seconds)",
        )
    return found


def read(name: str, table: Table, defaults: Lifetimes) -> Profile:
    """Read one ``[profile.NAME]``.

    :param defaults: the lifetimes in ``[ca]``, for those that it does not give.
    :raises ConfigError: if it says what cannot be meant.
    """
    if not _NAME.match(name):
        raise table.refusal(
            f"{name!r} is no name for a profile; it has up to 48 letters, digits, '.', '_' and '-' and begins with "
            "a letter or digit"
        )
    usages = table.texts("usages", 'a list of "server" and "client"', lambda text: _one_of(text, USAGES))
    key_usages = table.texts("key_usages", "a list of key usages", lambda text: _one_of(text, KEY_USAGES))
    profile = Profile(
        name=name,
        description=table.text("description", "a sentence that says what the profile is for", _description),
        lifetimes=lifetimes(table, defaults),
        usages=tuple(USAGES) if usages is None else usages,
        key_usages=DEFAULT_KEY_USAGES if key_usages is None else key_usages,
    )
    table.done()
    if not profile.usages:
        raise table.error("usages", 'is empty; a certificate is for "server", "client" or both')
    if "digitalSignature" not in profile.key_usages:
        raise table.error("key_usages", "lacks digitalSignature, without which no key can be used in TLS 1.3")
    return profile


def _description(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
        raise ValueError(f"{text!r} is no description; it is one line of at most {_MAX_DESCRIPTION} characters")
    return text


def _one_of(text: str, known: Collection[str]) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is not one of {', '.join(known)}")
    return text
