"""What operators look for, read from text: times, names, addresses, owners, serial numbers, places in lists.

Commands and the admin API read it here alone. A text that stands for nothing is a ValueError with a sentence that says
what to write.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from acme_iid.authority import accounts
from acme_iid.config import parsers
from acme_iid.errors import NotFoundError
from acme_iid.operations import instances
from acme_iid.operations.descriptions.chain import Kept
from acme_iid.operations.instances import MAX_REASON_LENGTH
from acme_iid.policy.clouds import CLOUD_TYPES, is_owner, is_whole_id, one_of
from acme_iid.protocol.identifiers import from_text
from acme_iid.protocol.resources import Certificate
from acme_iid.store import certificates, lookups
from acme_iid.store.database import Database
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Reader

ABOUT = (
    "cloud", "owner", "account", "instance", "name", "kind", "remote", "bulk", "image", "region", "profile",
    "provisioner",
)  # fmt: skip
"""The fields of a filter that say what something is about; the others are a time, and the place and size of a page."""
LATER = ("kind", "remote", "image", "region", "profile", "provisioner", "refused")
"""Filters that older events may not be found by until they were followed again."""
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# int() takes blanks, signs, low lines and the digits of all scripts, too.
_DECIMAL = re.compile(r"[0-9]+", re.ASCII)
_HEXADECIMAL = re.compile(r"0[xX]([0-9A-Fa-f]+)", re.ASCII)
_COLONS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+", re.ASCII)
_MOST_DIGITS = 100
_HEAD = re.compile(r"(?:([0-9]{1,18}):)?([0-9a-f]{64})")

FollowAgain = Callable[[Database], object]
"""Has older events be followed again, as :func:`acme_iid.store.lookups.follow_again` does."""


def moment(text: str, now: int) -> int:
    """A time in RFC 3339, a day (its beginning, UTC), or how long ago it was; in seconds.

    :raises ValueError: if it is none of these.
    """
    try:
        return now - parsers.duration(text)
    except ValueError:
        return _date(text)


def moment_ahead(text: str, now: int) -> int:
    """A time in RFC 3339, a day (its beginning, UTC), or how long it is until then; in seconds.

    :raises ValueError: if it is none of these.
    """
    try:
        return now + parsers.duration(text)
    except ValueError:
        return _date(text)


def _date(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is not None and _DAY.fullmatch(text):
        found = found.replace(tzinfo=UTC)
    if found is None or found.tzinfo is None:
        raise ValueError(f"{text!r} is no time; write for example 2h, 7d, 2030-01-02 or 2030-01-02T03:04:05Z")
    return int(found.timestamp())


def cloud(text: str) -> str:
    """A cloud by its name; hosts are in "acme".

    :raises ValueError: if there is no such cloud.
    """
    clouds = [*(entry.cloud for entry in CLOUD_TYPES.values()), "acme"]
    if text not in clouds:
        raise ValueError(f"{text!r} is no cloud; there are {', '.join(clouds)}")
    return text


def name(text: str) -> str:
    """A name as it stands in certificates, in its canonical form.

    :raises ValueError: if it is no name.
    """
    return from_text(text).value


def address(text: str) -> str:
    """A client's address, in its one spelling.

    :raises ValueError: if it is no address.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is no IP address") from None


def owner(text: str) -> str:
    """An owner's id as events have it. By a name, such as a project's, nothing would be found, as if there was nothing.

    :raises ValueError: if it is no owner's id.
    """
    found = text if is_owner(text) else text.lower()
    if not is_owner(found):
        raise ValueError(f"{text!r} is no {one_of([entry.owner for entry in CLOUD_TYPES.values()])}")
    return found


def place(text: str) -> Position:
    """The place where a page ended: TIME.KEY, as the page before had it.

    :raises ValueError: if it is no place.
    """
    seconds, _, key = text.partition(".")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12 and key):
        raise ValueError(f"{text!r} is no place in a list; copy it from the end of the page before")
    return Position(int(seconds), key)


def numbered(criteria: Filter) -> Filter:
    """The filter of a list whose places are numbers: that of certificates, or of events.

    :raises ValueError: if its place is no number.
    """
    if criteria.before is None:
        return criteria
    key = str(criteria.before.key)
    if not (key.isascii() and key.isdigit() and len(key) <= 18):
        raise ValueError(f"{key!r} is no number of this list")
    return replace(criteria, before=Position(criteria.before.time, int(key)))


def head(text: str) -> Kept:
    """A place in the chain of events that somebody has kept: NUMBER:HASH, or the hash alone.

    :raises ValueError: if it is no place.
    """
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ValueError("write a head as a check gave it: NUMBER:HASH, or the hash alone")
    return Kept(None if match[1] is None else int(match[1]), match[2])


def serial_number(text: str) -> int:
    """A serial number as people meet it: decimal, hexadecimal after 0x, or openssl's pairs with colons.

    :raises ValueError: if it is none.
    """
    number = _number(text)
    # 20 octets at most (RFC 5280 section 4.1.2.2).
    if number is None or number >= 1 << 160:
        raise ValueError("a serial number is decimal, or hexadecimal after 0x")
    return number


def _number(text: str) -> int | None:
    """The number in a text; None if the text is not a number."""
    # More digits than this are no serial number, and take long to read.
    if len(text) > _MOST_DIGITS:
        return None
    if match := _HEXADECIMAL.fullmatch(text):
        return int(match[1], 16)
    if _COLONS.fullmatch(text):
        return int(text.replace(":", ""), 16)
    return int(text) if _DECIMAL.fullmatch(text) else None


def certificate(reader: Reader, serial: int) -> Certificate:
    """The certificate with a serial number.

    :raises NotFoundError: if none was issued here.
    """
    found = certificates.by_serial(reader, f"{serial:x}")
    if found is None:
        raise NotFoundError(f"no certificate with the serial number {serial} was issued here")
    return found


def reason(text: str) -> str:
    """The reason for an act: one line.

    :raises ValueError: if it is none.
    """
    if not text.strip() or len(text) > MAX_REASON_LENGTH or not text.isprintable():
        raise ValueError(f"a reason is one line of printable text, of 1 to {MAX_REASON_LENGTH} characters")
    return text


def instance_called(database: Database, word: str, follow_again: FollowAgain = lookups.follow_again) -> str:
    """The whole id of an instance that was used, blocked or refused here.

    :param word: the whole id, which is taken as it is, or the cloud's own.
    :raises RequestError: if it is no one instance.
    """
    if ":" in word:
        return word
    if not instances.called(database, word):
        follow_again(database)
    return instances.one_called(database, word)


def filter_of(
    database: Database, criteria: Mapping[str, Any], follow_again: FollowAgain = lookups.follow_again
) -> Filter:
    """The filter that an operator asks for, over events that are all followed.

    :param criteria: fields of a :class:`Filter`, each as the functions above read it; an account may be named by its
        key's thumbprint, and an instance by the cloud's own id.
    :raises RequestError: if there is no such account, or no one such instance.
    :raises StoreUnavailableError: if the store cannot be used now.
    """
    fields = dict(criteria)
    lookups.follow(database)
    if any(fields.get(field) is not None for field in LATER):
        follow_again(database)
    if fields.get("account") is not None:
        fields["account"] = accounts.by_id_or_thumbprint(database, fields["account"]).id
    if fields.get("instance") is not None:
        fields["instance"] = instance_called(database, fields["instance"], follow_again)
    return Filter(**fields)


def meant_by(reader: Reader, word: str) -> list[Filter]:
    """What an operator may mean by a word: an instance, a client's address, a name.

    :raises ValueError: if it can be none of these.
    """
    ids = instances.called(reader, word) or ([word] if is_whole_id(word) else [])
    meant = [Filter(instance=instance_id) for instance_id in ids]
    with suppress(ValueError):
        meant.append(Filter(remote=address(word)))
    with suppress(ValueError):
        meant.append(Filter(name=name(word)))
    if not meant:
        raise ValueError(f"{word!r} is neither an instance that was seen here, nor a name, nor an address")
    return meant


def require_some(criteria: Filter, *, every: bool, prefix: str = "") -> None:
    """Refuse an act on everything that nobody has asked for, and a filter that a script has left empty.

    :param every: whether all was asked for, by a parameter of the name ``all``.
    :param prefix: what stands before the names of parameters, such as dashes.
    :raises ValueError: with what to ask for.
    """
    filters = {field: value for field in ABOUT if (value := getattr(criteria, field)) is not None}
    if empty := [f"{prefix}{field}" for field, value in filters.items() if not str(value).strip()]:
        raise ValueError(f"{' and '.join(empty)} is empty; nothing was done")
    if every and filters:
        raise ValueError(f"{prefix}all is for all of them, and goes with no filter that leaves some out")
    if not every and not filters:
        raise ValueError(f"say which, by a filter such as {prefix}owner; {prefix}all is for all of them")
