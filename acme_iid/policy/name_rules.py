"""An operator's rules over verified facts: lists that a fact must be on, and templates that give names.

A template is a name whose labels are literal, ``*`` (exactly one whole label), or hold one placeholder for
a fact. The maker of an instance chooses its facts, so no fact may become more than it is: a fact that
is not made of the characters of a label gives no name at all, and a label holds one placeholder only,
since in ``{a}-{b}`` two instances with different facts could share a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from acme_iid.protocol.identifiers import Identifier, dns, lowered

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_LABEL_PIECE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")
_ANY = "*"
_DASHED = {"private_ip": re.compile(r"[.:]"), "private_name": re.compile(r"[.]")}
"""Facts that verifiers read in a fixed form, whose separators become dashes: no two of them become the same label."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A list in ca.toml that one of an instance's facts must be on.

    :ivar key: the list's name in ca.toml (``projects``).
    :ivar facts: the facts of which one must be listed (``project``, ``project_number``).
    :ivar values: the listed values, in lower case, since clouds ignore case in them.
    """

    key: str
    facts: tuple[str, ...]
    values: tuple[str, ...]

    def refusal(self, facts: Mapping[str, str]) -> str | None:
        """The reason why an instance with ``facts`` is not on the list; None if it is."""
        proven = [facts[name] for name in self.facts if name in facts]
        if any(lowered(value) in self.values for value in proven):
            return None
        if not proven:
            return f"demands one of its {self.key}, and this evidence does not prove the {self.facts[0]}"
        return f"does not list {self.facts[0]} {proven[0]}; an operator admits it by adding it to {self.key}"


@dataclass(frozen=True, slots=True)
class Template:
    """A name with placeholders; made by :func:`template`.

    :ivar text: as it stands in ca.toml.
    """

    text: str

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The facts it takes."""
        return tuple(_PLACEHOLDER.findall(self.text))

    def gives(self, identifier: Identifier, facts: Mapping[str, str]) -> bool:
        """Whether it gives ``identifier`` to an instance with ``facts``. A ``*`` label stands for no literal ``*``."""
        expected = self._labels(facts)
        if identifier.type != "dns" or identifier.wildcard or expected is None:
            return False
        labels = identifier.value.split(".")
        return len(labels) == len(expected) and all(
            want in (_ANY, have) for want, have in zip(expected, labels, strict=True)
        )

    def name(self, facts: Mapping[str, str]) -> Identifier | None:
        """The one name that it gives to an instance with ``facts``, or None if it gives no name or several."""
        labels = self._labels(facts)
        if labels is None or _ANY in labels:
            return None
        try:
            return dns(".".join(labels))
        except ValueError:
            return None

    def filled(self, facts: Mapping[str, str]) -> str | None:
        """The template with the facts in it and each ``*`` as it is; None if one is missing or no part of a name."""
        labels = self._labels(facts)
        return None if labels is None else ".".join(labels)

    def _labels(self, facts: Mapping[str, str]) -> list[str] | None:
        """The labels with the facts in them, or None if a fact is missing or cannot stand in a name."""
        labels: list[str] = []
        for label in self.text.split("."):
            placeholder = _PLACEHOLDER.search(label)
            if placeholder is None:
                labels.append(label)
                continue
            value = lowered(facts.get(placeholder[1], ""))
            if placeholder[1] in _DASHED:
                value = _DASHED[placeholder[1]].sub("-", value)
            if not _LABEL_PIECE.match(value):
                return None
            labels.append(label[: placeholder.start()] + value + label[placeholder.end() :])
        return labels


def template(text: str, placeholders: Collection[str], *, wildcards: bool = False) -> Template:
    """Read a template from ca.toml.

    :param placeholders: those that this type of provisioner has facts for.
    :param wildcards: whether it is for wildcard certificates: its first label is a literal ``*``.
    :raises ValueError: with what is wrong, in words.
    """
    rest = text
    if wildcards:
        if not text.startswith("*."):
            raise ValueError(f"{text!r} does not begin with '*.'; allow_wildcards names wildcards")
        rest = text.removeprefix("*.")
        if _ANY in rest:
            raise ValueError(f"{text!r} has a second '*'; a wildcard certificate is named exactly")
    for label in rest.split("."):
        _check_label(text, label, placeholders)
    # With a letter for every fact it gives a name; otherwise it never gives one.
    trial = _PLACEHOLDER.sub("a", rest).replace(_ANY, "a")
    if dns(trial).value != trial:
        raise ValueError(f"{text!r} has capital letters; names are written in lower case")
    return Template(rest)


def _check_label(text: str, label: str, known: Collection[str]) -> None:
    if label == _ANY:
        return
    if _ANY in label:
        raise ValueError(f"{text!r} has a '*' beside other characters; '*' stands for exactly one whole label")
    placeholders = _PLACEHOLDER.findall(label)
    for name in placeholders:
        if name not in known:
            raise ValueError(f"{text!r} has the unknown placeholder {{{name}}}; known ones are {', '.join(known)}")
    if len(placeholders) > 1:
        raise ValueError(
            f"{text!r} has two placeholders in one label, where different facts could make the same name; "
            "put a dot between them"
        )
    if re.search(r"[{}]", _PLACEHOLDER.sub("", label)):
        raise ValueError(f"{text!r} has a brace that belongs to no placeholder")


@dataclass(frozen=True, slots=True)
class NameRule:
    """Names for the instances that are on all of ``when``'s lists."""

    template: Template
    when: tuple[Demand, ...] = ()

    def applies(self, facts: Mapping[str, str]) -> bool:
        """Whether the rule is for an instance with ``facts``."""
        return all(demand.refusal(facts) is None for demand in self.when)

    def __str__(self) -> str:
        conditions = "; ".join(f"{demand.key} {' or '.join(demand.values)}" for demand in self.when)
        return f"{self.template.text} (when {conditions})" if conditions else self.template.text
