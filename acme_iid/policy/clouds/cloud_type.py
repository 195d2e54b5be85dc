"""What the CA knows of a cloud: one description, from which everything that depends on the cloud follows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from acme_iid.protocol.identifiers import Identifier

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@()-]{0,255}\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")

Shape = Literal["list", "order", "text", "port", "source", "switch", "registers", "issuers", "issuer keys"]
"""How a setting stands in ca.toml. ``order`` is a list that is given whole; ``source`` is a file, or a URL."""


def plain(text: str) -> str:
    """Return an id or a name as it is.

    :raises ValueError: if it has characters that no cloud's ids have.
    """
    if not _PLAIN.match(text):
        raise ValueError(f"{text!r} has characters that none of these names has")
    return text


def uuid(text: str) -> str:
    """Return a UUID as it is.

    :raises ValueError: if it is none.
    """
    if not _UUID.match(text):
        raise ValueError(f"{text!r} is no id such as 8a205152-b25a-417f-a676-80465535a6c9")
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a provisioner, as the command line has it.

    :ivar flag: the flag's name, without its dashes.
    :ivar key: the key in ``[[provisioner]]``.
    :ivar help: a sentence.
    :ivar keys: of ``registers``, all of their keys; ``key`` is the first.
    """

    flag: str
    key: str
    shape: Shape
    metavar: str
    help: str
    keys: tuple[str, ...] = ()


# Settings that several clouds have.
REGION = Setting("region", "regions", "list", "NAME", "A region.")
ZONE = Setting("zone", "zones", "list", "NAME", "An availability zone.")
INSTANCE_ID = Setting("instance-id", "instance_ids", "list", "ID", "A single instance.")
DOCUMENT_ROOTS = Setting(
    "iid-roots", "iid_roots", "source", "FILE", "PEM file of further certificates to believe documents under."
)
TOKEN_KEYS = Setting(
    "jwks", "jwks", "source", "FILE|URL", "The key set of the cloud's tokens, for a CA that cannot reach its own."
)


@dataclass(frozen=True, slots=True)
class AllowList:
    """A list that says which instances are admitted.

    :ivar facts: what it is about; an instance is on the list if one of these facts is.
    :ivar parse: reads a value.
    """

    facts: tuple[str, ...]
    parse: Callable[[str], str] = plain


@dataclass(frozen=True, slots=True)
class EvidenceFormat:
    """A format of evidence.

    :ivar facts: what it may prove.
    :ivar default: whether it is accepted unless ``formats``, or a list that takes other formats, says otherwise.
    :ivar dated: whether it says when an instance was started, so that ``instance_age`` can let it in.
    :ivar bound: whether it holds something of the challenge; whoever has one that does not is the instance.
    :ivar quick: whether the server's loop verifies it by itself: one signature, no chain, no key set.
    :ivar needs: the keys in ca.toml without which it proves nothing.
    :ivar needed: what these give, in words.
    """

    facts: tuple[str, ...]
    default: bool = False
    dated: bool = False
    bound: bool = True
    quick: bool = False
    needs: tuple[str, ...] = ()
    needed: str = ""


@dataclass(frozen=True, slots=True)
class CloudType:
    """A cloud, as the CA knows it.

    :ivar type: what a provisioner of it has as ``type`` in ca.toml.
    :ivar cloud: the cloud's name in events, in instances' ids and in lists.
    :ivar lists: the lists that a provisioner may have, by their key in ca.toml.
    :ivar owners: the lists of which at least one says whose instances are admitted.
    :ivar owner: what owns an instance, in words.
    :ivar sources: the keys in ca.toml that say where further signing keys come from, or what tokens must say, each with
        its shape: ``file`` (PEM), ``key set``, ``issuers``, or for a text what it is.
    :ivar formats: the formats of evidence by their names, most preferred first.
    :ivar placeholders: the facts that names may be made of.
    :ivar settings: lists and sources on the command line.
    :ivar own_name: matches the names that the cloud gives to its instances. They follow from an instance's own facts,
        or a rule gives them: with such a domain among the CA's, an instance could otherwise take another's name.
    :ivar own_domains: the domains that such names are in, as far as they are in one: bare ids are not.
    :ivar instance_id: matches an instance's whole id, with the group ``owner``. Under any other spelling a block
        would never shut anything out.
    :ivar id_form: such an id, for people.
    :ivar extension_number: its number in the certificate extension that names the provisioner.
    :ivar describe: completes facts that were given by hand with what follows from them; returns these and the names
        that follow.
    :ivar knows_place: whether a region or a zone (the fact's name, and its value) is one of the cloud's.
    :ivar place_remedy: what else an operator can do about a place that is not known here.
    """

    type: str
    cloud: str
    lists: Mapping[str, AllowList]
    owners: tuple[str, ...]
    owner: str
    sources: Mapping[str, str]
    formats: Mapping[str, EvidenceFormat]
    placeholders: tuple[str, ...]
    settings: tuple[Setting, ...]
    own_name: re.Pattern[str]
    own_domains: tuple[str, ...]
    instance_id: re.Pattern[str]
    id_form: str
    extension_number: int
    describe: Callable[[Mapping[str, str]], tuple[Mapping[str, str], tuple[Identifier, ...]]]
    knows_place: Callable[[str, str], bool] = field(default=lambda _fact, _value: True)
    place_remedy: str = ""

    @property
    def default_formats(self) -> tuple[str, ...]:
        """The formats that are accepted unless something else is said."""
        return tuple(name for name, entry in self.formats.items() if entry.default)

    def proves(self, format_: str, facts: tuple[str, ...]) -> bool:
        """Whether a format may prove one of the facts."""
        return any(fact in self.formats[format_].facts for fact in facts)

    def provable(self) -> Iterator[str]:
        """All facts that some format may prove."""
        yield from dict.fromkeys(fact for entry in self.formats.values() for fact in entry.facts)
