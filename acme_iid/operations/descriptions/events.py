"""Events, as operators are shown them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store import events
from acme_iid.store.chain import Event
from acme_iid.store.listing import Filter, Position
from acme_iid.store.writes import Reader

_TIMES = ("not_after", "until")
"""Further facts that are times, in seconds in the record."""
_TOLD = ("names", "provisioner", "rule", "step", "reason", "by", "actor", "released_to", "refused")
"""Further facts that :func:`in_words` has, in this order."""


class EventRow(TypedDict):
    """An event in a list; beside these it has the further facts of its kind, as docs/reference/events.md lists them.

    Times among them are in words, and the serial number is decimal. The number that ``events.removed`` calls ``seq`` is
    ``last`` here.

    :ivar seq: its number.
    :ivar at: the time at which it was decided.
    :ivar kind: its name, such as ``challenge.refused``.
    :ivar account: the id of the account that asked for it.
    :ivar instance: the whole id of the instance that it is about.
    :ivar name: the one name that it is about.
    """

    seq: int
    at: str
    kind: str
    account: str | None
    instance: str | None
    name: str | None


class RecordedEvent(TypedDict):
    """An event whose further facts are by themselves: one may be called as what every event has.

    :ivar seq: its number.
    :ivar at: the time at which it was decided.
    :ivar kind: its name, such as ``challenge.refused``.
    :ivar account: the id of the account that asked for it.
    :ivar instance: the whole id of the instance that it is about.
    :ivar name: the one name that it is about.
    :ivar detail: the further facts of its kind, by their names in docs/reference/events.md; times among them are in
        words, and serial numbers decimal.
    """

    seq: int
    at: str
    kind: str
    account: str | None
    instance: str | None
    name: str | None
    detail: dict[str, object]


def recorded(seq: int, event: Event) -> RecordedEvent:
    """An event with its further facts.

    :param seq: its number.
    """
    return {
        "seq": seq,
        "at": timestamp(event.at),
        "kind": event.kind,
        "account": event.account_id,
        "instance": None if event.instance is None else event.instance.id,
        "name": event.name,
        "detail": _spelled(event.detail),
    }


def flat(event: RecordedEvent) -> EventRow:
    """An event in a list, its further facts beside what every event has."""
    own: dict[str, object] = {key: value for key, value in event.items() if key != "detail"}
    return cast("EventRow", own | {"last" if key == "seq" else key: value for key, value in event["detail"].items()})


def _spelled(detail: Mapping[str, object]) -> dict[str, object]:
    """An event's further facts with its times and its serial number as all of this program's output has them."""
    spelled = dict(detail)
    if isinstance(serial := spelled.get("serial"), str):
        spelled["serial"] = str(int(serial, 16))
    for key in _TIMES:
        if isinstance(seconds := spelled.get(key), int):
            spelled[key] = timestamp(seconds)
    if isinstance(times := spelled.get("times"), dict):
        spelled["times"] = {name: timestamp(seconds) for name, seconds in times.items()}
    return spelled


def listed(reader: Reader, criteria: Filter) -> Page[RecordedEvent]:
    """A page of the events, the latest first.

    :param criteria: a :func:`~acme_iid.operations.criteria.numbered` filter.
    """
    found = events.page(reader, one_more(criteria))
    return page([(Position(event.at, seq), recorded(seq, event)) for seq, event in found], criteria)


def in_words(event: RecordedEvent) -> str:
    """An event's further facts in a line."""
    detail = dict(event["detail"])
    detail["name"] = event["name"] or detail.get("identifiers")
    actor = detail.get("actor")
    if isinstance(actor, dict) and actor.get("reason") == detail.get("reason"):
        # A block has its reason as well.
        detail["actor"] = {fact: value for fact, value in actor.items() if fact != "reason"}
    summary = "; ".join(
        f"{key} {_text(value)}" for key in ("name", *_TOLD) if (value := detail.get(key)) not in (None, [])
    )
    # Authentic evidence names the instance; being stale or bound elsewhere, it does not show who sent it.
    return f"{summary}; the instance is not proven" if detail.get("proven") is False else summary


def _text(value: object) -> str:
    if isinstance(value, dict):
        return _actor(value)
    return ", ".join(value) if isinstance(value, list) else str(value)


def _actor(actor: Mapping[str, object]) -> str:
    """Who acted, in some words."""
    words = [str(actor.get("user") or f"uid {actor.get('uid')}")]
    words += [
        f"{word} {actor[fact]}"
        for fact, word in (("claimed", "claiming to be"), ("host", "on"), ("role", "as"), ("reason", "because:"))
        if fact in actor
    ]
    return " ".join(words)
