"""The descriptor of a cloud: everything in the CA that depends on the cloud follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from acme_iid.policy.setting import Setting
from acme_iid.protocol.identifiers import Identifier

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@()-]{0,255}\Z")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def plain(text: str) -> str:
    """Return an id or a name as it is.

    :raises ValueError: if it has characters that no cloud's ids have.
    """
    if not _PLAIN.match(text):
        raise ValueError(f"{text!r} has characters that no such name has")
    return text


def uuid(text: str) -> str:
    """Return a UUID as it is.

    :raises ValueError: if the text is not a UUID.
    """
    if not _UUID.match(text):
        raise ValueError(f"{text!r} is no id such as 8a205152-b25a-417f-a676-80465535a6c9")
    return text


def allow_list(
    key: str,
    facts: tuple[str, ...],
    flag: str,
    metavar: str,
    meaning: str,
    parse: Callable[[str], str] = plain,
) -> Setting:
    """Describe a list that says which instances are admitted.

    :param facts: its facts; an instance is on the list if one of these is.
    """
    return Setting(key, "list", f"a list of {key}", meaning, parse, flag=flag, metavar=metavar, facts=facts)


# Settings that several clouds have.
REGION = allow_list("regions", ("region",), "region", "NAME", "A region.")
ZONE = allow_list("zones", ("zone",), "zone", "NAME", "An availability zone.")
INSTANCE_ID = allow_list("instance_ids", ("instance_id",), "instance-id", "ID", "A single instance.")
DOCUMENT_ROOTS = Setting(
    "iid_roots",
    "file",
    "a file name",
    "PEM file of further certificates to believe documents under.",
    flag="iid-roots",
    metavar="FILE",
)
TOKEN_KEYS = Setting(
    "jwks",
    "key set",
    "a file name, or an https URL",
    "The key set of the cloud's tokens, for a CA that cannot reach its own.",
    flag="jwks",
    metavar="FILE|URL",
)


@dataclass(frozen=True, slots=True)
class EvidenceFormat:
    """A format of evidence.

    :ivar facts: the facts that it may prove.
    :ivar default: whether it is accepted unless ``formats``, or a list that takes other formats, says otherwise.
    :ivar dated: whether it says when an instance was started, so that ``instance_age`` can let it in.
    :ivar bound: whether it is tied to the challenge; evidence that is not is a bearer secret.
    :ivar quick: whether the server's loop verifies it by itself: one signature, no chain, no key set.
    :ivar needs: the keys in ca.toml without which it proves nothing.
    :ivar needed: these in words.
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

    :ivar type: the ``type`` of its provisioners in ca.toml.
    :ivar cloud: the cloud's name in events, in instances' ids and in lists.
    :ivar settings: the settings that only its provisioners have: lists that say which instances are admitted, and
        sources of further signing keys, or texts that tokens must have.
    :ivar owners: the lists of owners; a provisioner has at least one of them.
    :ivar owner: the owner of an instance, in words.
    :ivar owner_id: matches an owner's id, as it stands in an instance's whole id.
    :ivar formats: the formats of evidence by their names, most preferred first.
    :ivar placeholders: the facts that names may be made of.
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
    :ivar place_remedy: another remedy for a place that is not known here.
    """

    type: str
    cloud: str
    settings: tuple[Setting, ...]
    owners: tuple[str, ...]
    owner: str
    owner_id: re.Pattern[str]
    formats: Mapping[str, EvidenceFormat]
    placeholders: tuple[str, ...]
    own_name: re.Pattern[str]
    own_domains: tuple[str, ...]
    instance_id: re.Pattern[str]
    id_form: str
    extension_number: int
    describe: Callable[[Mapping[str, str]], tuple[Mapping[str, str], tuple[Identifier, ...]]]
    knows_place: Callable[[str, str], bool] = field(default=lambda _fact, _value: True)
    place_remedy: str = ""

    @property
    def lists(self) -> Mapping[str, Setting]:
        """The lists that say which instances are admitted, by their keys; each register is a list of its own."""
        lists: dict[str, Setting] = {}
        for setting in self.settings:
            if setting.shape == "registers":
                each = replace(setting, shape="list", keys=())
                lists |= {key: replace(each, key=key, value=f"a list of {key}", facts=(key,)) for key in setting.keys}
            elif setting.facts:
                lists[setting.key] = setting
        return lists

    @property
    def sources(self) -> Mapping[str, Setting]:
        """The other settings, by their keys: sources of further signing keys, and texts that tokens must have."""
        others = (setting for setting in self.settings if not setting.facts and setting.shape != "registers")
        return {setting.key: setting for setting in others if setting.shape != "issuer keys"}

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
