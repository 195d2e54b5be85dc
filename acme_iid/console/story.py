"""The story of one instance: its events in words, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from acme_iid.operations.descriptions.events import RecordedEvent
from acme_iid.operations.descriptions.refusals import RefusalRow

Sort = Literal["proof", "certificate", "refusal", "operator", "other"]

_KEPT = 3
_FOLDED = 8
"""The proofs and certificates in a row from which on those between the first and last ones are folded."""

_TITLES: Mapping[str, tuple[Sort, str]] = {
    "authorization.refused": ("refusal", "Refused ahead of an order"),
    "certificate.issued": ("certificate", "Got a certificate"),
    "certificate.renewal_asked": ("operator", "Asked to renew"),
    "certificate.revoked": ("operator", "Certificate revoked"),
    "challenge.refused": ("refusal", "Refused when it proved a name"),
    "challenge.valid": ("proof", "Proved a name"),
    "enrolment.ended": ("other", "Handed names on no more"),
    "enrolment.extended": ("other", "Handed names on for longer"),
    "enrolment.made": ("other", "Handed names on to a delegate"),
    "enrolment.refused": ("refusal", "Refused to hand names on"),
    "finalize.refused": ("refusal", "Refused a certificate for what it had proven"),
    "instance.blocked": ("operator", "Blocked"),
    "instance.released": ("operator", "Released to another account key"),
    "instance.reopened": ("operator", "A name was opened again"),
    "instance.unblocked": ("operator", "Unblocked"),
    "order.proven": ("proof", "Relied on its earlier proofs"),
    "order.refused": ("refusal", "Refused an order"),
}
_OWN = frozenset({"names", "identifiers", "actor"})
"""Facts that stand elsewhere on the page, or in the words of the event."""
_FIRST = (
    "rule",
    "provisioner",
    "step",
    "refused",
    "reason",
    "serial",
    "not_after",
    "released_to",
    "until",
    "remote",
    "by",
)
_WORDS = {
    "not_after": "ends",
    "remote": "from",
    "released_to": "to the key",
    "thumbprint": "account key",
    "old_thumbprint": "account key before",
    "evidence_sha256": "evidence (SHA-256)",
    "key_id": "signed with",
    "refused": "times",
    "proof_age": "oldest proof, seconds",
}


class Fact(NamedTuple):
    """A fact of an event, in a word and as the API gives it."""

    word: str
    value: object


@dataclass(frozen=True, slots=True)
class Moment:
    """An event in words.

    :ivar names: those that it is about.
    :ivar facts: the facts that matter most; ``details`` are the others.
    :ivar actor: who did it, and ``because`` the reason that was given; None for what no operator did.
    :ivar refusal: the refusal with its rule and the command that lifts it; None for others.
    :ivar remark: ``first use`` or ``latest certificate``.
    """

    seq: int
    at: str
    kind: str
    sort: Sort
    title: str
    names: Sequence[object]
    facts: Sequence[Fact]
    details: Sequence[Fact]
    actor: str | None = None
    because: object = None
    refusal: RefusalRow | None = None
    remark: str | None = None


class Chapter(NamedTuple):
    """Some moments of a story, folded if they are one like the other."""

    moments: Sequence[Moment]
    is_folded: bool


class GivenName(NamedTuple):
    """A name that an instance has proven, and the rule that gave it the last time."""

    name: str
    rule: object
    provisioner: object
    proven: str


def moments(
    rows: Iterable[RecordedEvent], refusals: Iterable[RefusalRow], first_used: str | None, *, has_latest: bool
) -> list[Moment]:
    """The events of an instance in words, the earliest first.

    :param rows: the latest first.
    :param refusals: those of the instance, for their rules and commands.
    :param has_latest: whether the latest event is among the rows.
    """
    by_seq = {refusal["seq"]: refusal for refusal in refusals}
    found: list[Moment] = []
    ordered = list(rows)[::-1]
    first = next((row for row in ordered if row["kind"] == "challenge.valid" and row["at"] == first_used), None)
    issued = [row for row in ordered if row["kind"] == "certificate.issued"] if has_latest else []
    for row in ordered:
        remark = "first use" if row is first else "latest certificate" if issued and row is issued[-1] else None
        found.append(_moment(row, by_seq, remark))
    return found


def _moment(row: RecordedEvent, refusals: Mapping[int, RefusalRow], remark: str | None) -> Moment:
    kind, detail = row["kind"], row["detail"]
    sort, title = _TITLES.get(kind, ("other", kind))
    actor = detail.get("actor")
    refusal = refusals.get(row["seq"]) if sort == "refusal" else None
    names = detail.get("names") or ([row["name"]] if row["name"] else detail.get("identifiers"))
    who, because = _actor(actor) if isinstance(actor, Mapping) else (None, None)
    if sort == "operator" and who is None and detail.get("by") not in (None, "operator"):
        sort = "other"
    if refusal is not None:
        detail = {"rule": refusal["rule"], **detail}
    facts = {key: value for key, value in detail.items() if key not in _OWN and value not in (None, [], "")}
    if who is not None:
        facts.pop("by", None)
    if because is not None and facts.get("reason") == because:
        del facts["reason"]
    return Moment(
        row["seq"],
        row["at"],
        kind,
        sort,
        title,
        names if isinstance(names, list | tuple) else [],
        [_fact(key, facts.pop(key)) for key in _FIRST if key in facts],
        [_fact(key, value) for key, value in sorted(facts.items())],
        who,
        because,
        refusal,
        remark,
    )


def _fact(key: str, value: object) -> Fact:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return Fact(_WORDS.get(key, key.replace("_", " ")), value)


def _actor(actor: Mapping[str, object]) -> tuple[str, object]:
    """Who acted, and the reason that they gave."""
    words = [str(actor.get("user") or f"uid {actor.get('uid')}")]
    for fact, word in (("claimed", "claiming to be"), ("host", "on"), ("role", "as"), ("via", "by")):
        if actor.get(fact):
            words += [word, str(actor[fact])]
    return " ".join(words), actor.get("reason")


def chapters(story: Sequence[Moment]) -> list[Chapter]:
    """A story with its long rows of proofs and certificates folded, but for the first and last ones of each."""
    found: list[Chapter] = []
    row: list[Moment] = []

    def close() -> None:
        if len(row) > _FOLDED:
            found.append(Chapter(row[:_KEPT], is_folded=False))
            found.append(Chapter(row[_KEPT:-_KEPT], is_folded=True))
            found.append(Chapter(row[-_KEPT:], is_folded=False))
        elif row:
            found.append(Chapter(tuple(row), is_folded=False))

    for entry in story:
        if entry.sort in ("proof", "certificate"):
            row.append(entry)
            continue
        close()
        row = []
        found.append(Chapter([entry], is_folded=False))
    close()
    return found


def given_names(proofs: Iterable[RecordedEvent]) -> list[GivenName]:
    """The names that were proven, each with the rule of its latest proof.

    :param proofs: events of the kind ``challenge.valid``, the latest first.
    """
    found: dict[str, GivenName] = {}
    for row in proofs:
        name = row["name"]
        if name is not None and name not in found:
            found[name] = GivenName(name, row["detail"].get("rule"), row["detail"].get("provisioner"), row["at"])
    return sorted(found.values(), key=lambda given: given.name)
