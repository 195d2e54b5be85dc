"""Refusals, as operators are shown them: the rule that refused, and the command that lets the same in the next time.

Events have the refusal in the words that clients were told. Those words name the rule; here they are read again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypedDict

from acme_iid.config.provisioner_settings import flag_of_list
from acme_iid.operations.descriptions.pages import Page, one_more, page
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store import events
from acme_iid.store.chain import Event
from acme_iid.store.listing import Filter, Position
from acme_iid.store.refusals import KINDS
from acme_iid.store.writes import Reader

_PREPARE = "acme-iid-ca issuer rotate prepare"
_UPDATE = "acme-iid-ca provisioner update"


class Refused(NamedTuple):
    """A refusal's cause.

    :ivar rule: in few words, the same for all that it refuses.
    :ivar lift: the command, or the change of ca.toml, that lifts it; None if other evidence, or another request, does.
    """

    rule: str
    lift: str | None


class RefusalRow(TypedDict):
    """A refusal.

    :ivar seq: the number of its event.
    :ivar at: a time.
    :ivar kind: the event's, such as ``challenge.refused``.
    :ivar step: the step at which evidence was refused.
    :ivar rule: the rule that refused, in few words.
    :ivar provisioner: the name of the provisioner whose rule it is.
    :ivar instance: the whole id of the instance that evidence names.
    :ivar proven: false where the evidence does not show who sent it.
    :ivar names: what was asked for.
    :ivar account: the id of the account that asked.
    :ivar remote: the address that the request came from.
    :ivar times: how often that was refused.
    :ivar reason: the words that the client was told.
    :ivar lifted_by: the command, or the change of ca.toml, that lifts it; None if nothing of that kind does.
    """

    seq: int
    at: str
    kind: str
    step: str | None
    rule: str
    provisioner: str | None
    instance: str | None
    proven: bool | None
    names: list[str] | None
    account: str | None
    remote: str | None
    times: int
    reason: str | None
    lifted_by: str | None


class Refusals(TypedDict):
    """The latest refusals of something.

    :ivar items: the latest first.
    :ivar certificate_since: the time at which the latest one's instance got a certificate after it; None without one.
    """

    items: list[RefusalRow]
    certificate_since: str | None


class RuleRow(TypedDict):
    """A rule that refuses.

    :ivar rule: in few words.
    :ivar times: how often it refused.
    :ivar lifted_by: the command, or the change of ca.toml, that lifts most of these; None if nothing of that kind does.
    :ivar other_lifts: the number of further commands like this one, for the rest.
    """

    rule: str
    times: int
    lifted_by: str | None
    other_lifts: int


def latest(reader: Reader, meant: Iterable[Filter], limit: int) -> Refusals:
    """The latest refusals, as far as events are followed (:mod:`acme_iid.store.lookups`).

    :param meant: what they are about, as :func:`acme_iid.operations.criteria.meant_by` says it.
    :param limit: how many at most.
    """
    every = {seq: event for criteria in meant for seq, event in _found(reader, replace(criteria, limit=limit))}
    found = sorted(every.items(), reverse=True)[:limit]
    return {"items": [row(seq, event) for seq, event in found], "certificate_since": timestamp(_since(reader, found))}


def listed(reader: Reader, criteria: Filter) -> Page[RefusalRow]:
    """A page of the refusals, the latest first.

    :param criteria: a :func:`~acme_iid.operations.criteria.numbered` filter.
    """
    found = sorted(_found(reader, one_more(criteria)), key=lambda entry: (entry[1].at, entry[0]), reverse=True)
    return page([(Position(event.at, seq), row(seq, event)) for seq, event in found], criteria)


def _found(reader: Reader, criteria: Filter) -> Iterator[tuple[int, Event]]:
    """The latest refusals of each kind under a filter; those of an instance are found as such, whatever it did else."""
    if criteria.instance is not None:
        yield from events.page(reader, replace(criteria, instance=None, refused=criteria.instance))
        return
    for kind in KINDS:
        yield from events.page(reader, replace(criteria, kind=kind))


def _since(reader: Reader, found: Sequence[tuple[int, Event]]) -> int | None:
    """When the instance of the latest refusal got a certificate after it; None if it did not."""
    if not found or found[0][1].instance is None:
        return None
    last, event = found[0]
    assert event.instance is not None
    issued = Filter(instance=event.instance.id, kind="certificate.issued", since=event.at, limit=1)
    return next((entry.at for seq, entry in events.page(reader, issued) if seq > last), None)


def row(seq: int, event: Event) -> RefusalRow:
    """A refusal.

    :param seq: the number of its event.
    """
    detail, refused = event.detail, cause(event)
    proven, identifiers = detail.get("proven"), detail.get("identifiers")
    asked = identifiers if isinstance(identifiers, list) else None
    return {
        "seq": seq,
        "at": timestamp(event.at),
        "kind": event.kind,
        "step": _text(detail.get("step")),
        "rule": refused.rule,
        "provisioner": _text(detail.get("provisioner")),
        "instance": None if event.instance is None else event.instance.id,
        "proven": proven if isinstance(proven, bool) else None,
        "names": asked if event.name is None else [event.name],
        "account": event.account_id,
        "remote": _text(detail.get("remote")),
        "times": _times(event),
        "reason": _text(detail.get("reason")),
        "lifted_by": refused.lift,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _times(event: Event) -> int:
    times = event.detail.get("refused", 1)
    return times if isinstance(times, int) else 1


def by_rule(refusals: Iterable[Event]) -> list[RuleRow]:
    """Refusals by their rules, those with the most first, each with the command that lifts most of them."""
    numbers: Counter[str] = Counter()
    lifts: dict[str, Counter[str]] = {}
    for event in refusals:
        refused = cause(event)
        numbers[refused.rule] += _times(event)
        if refused.lift is not None:
            lifts.setdefault(refused.rule, Counter())[refused.lift] += _times(event)
    return [
        {
            "rule": rule,
            "times": number,
            "lifted_by": lifts[rule].most_common(1)[0][0] if rule in lifts else None,
            "other_lifts": max(0, len(lifts.get(rule, ())) - 1),
        }
        for rule, number in numbers.most_common()
    ]


def cause(event: Event) -> Refused:
    """The cause of a refusal.

    :param event: of one of :data:`~acme_iid.store.refusals.KINDS`.
    """
    reason, step = str(event.detail.get("reason", "")), event.detail.get("step")
    for pattern, make in _RULES:
        if match := pattern.search(reason):
            return make(match, event)
    provisioner = event.detail.get("provisioner")
    words = str(step) if step is not None else event.kind.removesuffix(".refused")
    return Refused(f"{words} ({provisioner})" if provisioner else words, None)


def _embedded(rule: str) -> Callable[[re.Match[str], Event], Refused]:
    """A refusal whose words have the command."""
    return lambda match, _event: Refused(rule, match["command"])


def _blocked(_match: re.Match[str], event: Event) -> Refused:
    lift = None if event.instance is None else f"acme-iid-ca instance unblock {event.instance.id}"
    return Refused("blocked instance", lift)


def _unlisted(match: re.Match[str], _event: Event) -> Refused:
    name, key = match["name"], match["key"]
    flag = flag_of_list(key)
    lift = f"add {match['value']} to {key} of {name} in ca.toml"
    if flag is not None:
        lift = f"{_UPDATE} {_quoted(name)} --{flag} {_quoted(match['value'])}"
    return Refused(f"{key} of {name}", lift)


def _not_allowed(match: re.Match[str], _event: Event) -> Refused:
    name, wanted = match["name"], match["wanted"]
    return Refused(f"allow of {name}", f"{_UPDATE} {_quoted(name)} --allow {_quoted(wanted)}")


def _no_wildcard(match: re.Match[str], _event: Event) -> Refused:
    name, wanted = match["name"], match["wanted"]
    return Refused(f"allow_wildcards of {name}", f"{_UPDATE} {_quoted(name)} --allow-wildcard {_quoted(wanted)}")


def _no_chosen_names(match: re.Match[str], _event: Event) -> Refused:
    name = match["name"]
    return Refused(f"disable_custom_sans of {name}", f"{_UPDATE} {_quoted(name)} --no-disable-custom-sans")


def _format(match: re.Match[str], _event: Event) -> Refused:
    return Refused(f"formats of {match['name']}", f"add {match['format']} to formats of {match['name']} in ca.toml")


def _fixed(rule: str, lift: str | None) -> Callable[[re.Match[str], Event], Refused]:
    return lambda _match, _event: Refused(rule, lift)


def _quoted(text: str) -> str:
    """A word of a command line."""
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII) else "'" + text.replace("'", "'\\''") + "'"


_RELEASE = r"(?P<command>acme-iid-ca instance release \S+ --to \S+)"
_NAME = r"provisioner (?P<quote>['\"])(?P<name>(?:(?!(?P=quote)).)+)(?P=quote)"
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Event], Refused]], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (rf"first use; stop and start it.*{_RELEASE}", _embedded("instance_age")),
        (rf"belongs to another account key.*{_RELEASE}", _embedded("first use")),
        (rf"has been used as another VM.*{_RELEASE}", _embedded("first use")),
        (r"(?P<command>acme-iid-ca instance reopen \S+ \S+)", _embedded("closed name")),
        ("an operator blocked this instance", _blocked),
        ("this CA has no provisioner", _fixed("no provisioner", "acme-iid-ca provisioner add")),
        (rf"{_NAME} does not list \S+ (?P<value>.+?); an operator admits it by adding it to (?P<key>\w+)", _unlisted),
        (rf"{_NAME} does not accept evidence of format (?P<format>[\w-]+)", _format),
        (rf"{_NAME} does not give the wildcard (?P<wanted>\S+): its allow_wildcards", _no_wildcard),
        (rf"{_NAME} does not give (?P<wanted>\S+): its allow is", _not_allowed),
        (rf"{_NAME} has disable_custom_sans", _no_chosen_names),
        (r"makes an issuer for a further domain", _fixed("domains", f"{_PREPARE} --domain DOMAIN")),
        (r"is outside this CA's domains", _fixed("domains", "add a domain to [ca] domains in ca.toml")),
        (r"no provisioner gives wildcard names", _fixed("allow_wildcards", f"{_UPDATE} NAME --allow-wildcard NAME")),
        (r"is reserved: ", _fixed("names of the CA itself", None)),
    )
)
