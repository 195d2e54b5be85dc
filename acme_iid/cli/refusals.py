"""What lifts a refusal: the rule that refused, and the command by which an operator lets the same in the next time.

Events have the refusal in the words that clients were told. Those words name the rule; here they are read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from acme_iid.cli.provisioner_flags import FLAGS
from acme_iid.store.chain import Event

_PREPARE = "acme-iid-ca issuer rotate prepare"
_UPDATE = "acme-iid-ca provisioner update"


class Refused(NamedTuple):
    """A refusal's cause.

    :ivar rule: in few words, the same for all that it refuses.
    :ivar lift: the command, or the change of ca.toml, that lifts it; None if other evidence, or another request, does.
    """

    rule: str
    lift: str | None


def cause(event: Event) -> Refused:
    """The cause of a refusal.

    :param event: of one of :data:`~acme_iid.operations.status.REFUSALS`.
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
    flag = _flag(key)
    lift = f"add {match['value']} to {key} of {name} in ca.toml"
    if flag is not None:
        lift = f"{_UPDATE} {_quoted(name)} --{flag} {_quoted(match['value'])}"
    return Refused(f"{key} of {name}", lift)


def _flag(key: str) -> str | None:
    """The flag that adds a value to a list."""
    return next((flag.name for flag in FLAGS if flag.key == key and flag.shape == "list"), None)


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
