"""Findings about a configuration that can be used: for ``check``, for the server's log and for ``provisioner add``.

An invalid ca.toml is refused (:mod:`acme_iid.config.ca_toml`). A finding is about one that is valid and most often a
mistake: it says what can happen and what an operator would do about it, in the same words wherever it is shown.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from acme_iid.config import admin_settings, former_keys, locations
from acme_iid.config.finding import Finding
from acme_iid.config.settings import Config
from acme_iid.issuance import key_places
from acme_iid.issuance.home import ROOT_CERTIFICATE, descriptions, issuer_files, places_elsewhere
from acme_iid.issuance.keys import CAFileError
from acme_iid.policy.hosts import OF_HOSTS, HostProvisioner
from acme_iid.policy.instances import Provisioner
from acme_iid.protocol.addresses import Network
from acme_iid.signing.keys import ForeignPlace
from acme_iid.signing.places import FilePlace, ProgramPlace, TokenPlace

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def of_configuration(config: Config) -> list[Finding]:
    """The findings about a ca.toml, in the order of its tables."""
    findings = [*former_keys.findings(config.former_keys)]
    findings += [*_of_ca(config), *_of_server(config), *_of_store(config)]
    if not config.all_provisioners:
        findings.append(
            Finding(
                "no-provisioner",
                "remark",
                "provisioner",
                "this CA has no provisioner, so it admits nobody.",
                "Add one with acme-iid-ca provisioner add.",
            )
        )
    for name in config.names:
        findings += of_provisioner(config, name)
    return [*findings, *admin_settings.findings(config.admin)]


def of_provisioner(config: Config, name: str) -> list[Finding]:
    """The findings about one provisioner."""
    for entry in config.provisioners:
        if entry.name == name:
            return [*_of_instances(config, entry), *_outside(config, entry)]
    return [finding for host in config.hosts if host.name == name for finding in _of_hosts(config, host)]


def of_files(config: Config, password_file: Path | None = None, uid: int | None = None) -> list[Finding]:
    """The findings about the files that the CA rests on, and about the directories above them.

    :param password_file: the file with the password of the intermediate's key, if there is one.
    :param uid: the user who may own them, beside root; None for the user of this process.
    """
    uid = os.geteuid() if uid is None else uid
    home = config.home
    files = [
        config.file,
        home / ROOT_CERTIFICATE,
        *issuer_files(home),
        *(path for place in places_elsewhere(home).values() for path in _behind(place)),
    ]
    files += [
        *config.ca.alternate_chains,
        *(path for entry in config.provisioners for path in entry.keys.places.values()),
        *(sink.roots_file for sink in config.sinks if sink.roots_file is not None),
        *([] if config.admin.client_ca is None else [config.admin.client_ca]),
        # Not the socket itself, which a group may write to.
        *([] if config.admin.socket is None else [config.admin.socket.parent]),
    ]
    if config.store.path is not None:
        files.append(config.store.path)
    secrets = [*config.secret_files, *([] if password_file is None else [password_file.absolute()])]
    files += secrets
    paths = dict.fromkeys(path for file in files for path in (*reversed(file.parents), file))
    trusted = {0, uid}
    if uid == 0 and (owner := _status(home)) is not None:
        trusted.add(owner.st_uid)  # root looks at the home of the user that the server runs as
    findings = [finding for path in paths for finding in _of_path(path, trusted)]
    findings += _of_place(home)
    findings += [finding for issuer, file in descriptions(home).items() for finding in _of_key(issuer, file)]
    for path in secrets:
        status = _status(path)
        if status is not None and status.st_mode & stat.S_IROTH:
            what = "the password of the CA's key" if path not in config.secret_files else "the secret"
            shown = path if password_file is None or path != password_file.absolute() else password_file
            findings.append(
                Finding(
                    "others-read",
                    "unsafe",
                    str(shown),
                    f"everybody on this machine can read {what} in {shown}.",
                    f"Make it private: chmod 600 '{shown}'",
                )
            )
    return findings


def _of_place(home: Path) -> Iterator[Finding]:
    """A home where only configuration should be."""
    if locations.is_former_home(home):
        yield Finding(
            "home-in-etc",
            "remark",
            str(home),
            f"the CA's keys and its store are beside its configuration in {home}, where the packaged server may write "
            "nothing.",
            f"Stop the server, move all but ca.toml from there to {locations.MACHINE.home}, and start it again.",
        )


# Keys in tokens and behind programs


def _behind(place: ForeignPlace) -> Iterator[Path]:
    """The files that a key is reached by; a PIN that systemd hands over is in none that is known here."""
    if isinstance(place, ProgramPlace):
        yield Path(place.command[0])
        return
    yield place.module
    if (file := place.pin_file) is not None:
        yield file


def _of_key(issuer: str, description: Path) -> Iterator[Finding]:
    """What keeps a key from signing, as far as this user may look; the key is not asked."""
    try:
        place = key_places.read(description)
    except CAFileError as error:
        yield Finding(
            "key-place", "remark", str(description), f"the issuer {issuer} cannot sign: {error}.", "Correct that file."
        )
        return
    for path in () if isinstance(place, FilePlace) else _behind(place):
        try:
            status = path.stat()
        except PermissionError:
            continue
        except OSError as error:
            yield Finding(
                "key-place",
                "remark",
                str(path),
                f"the issuer {issuer} cannot sign: {path}, by which its key is reached, cannot be used "
                f"({error.strerror}).",
                f"Put it there, or correct the key's place in {description}.",
            )
            continue
        if isinstance(place, TokenPlace) and path == place.pin_file and status.st_mode & 0o077:
            yield Finding(
                "others-read",
                "unsafe",
                str(path),
                f"other users of this machine can read the PIN of the issuer {issuer}'s key in {path}, so the server "
                "does not use it.",
                f"Make it private: chmod 600 '{path}'",
            )


# [ca] and [server]


def _of_ca(config: Config) -> Iterator[Finding]:
    for domain in config.ca.domains:
        if _is_public_suffix(domain):
            yield Finding(
                "public-suffix",
                "unsafe",
                "ca.domains",
                f"the domain {domain} is a public suffix: names below it belong to many strangers, and all who trust "
                "this CA would believe its certificates for all of them.",
                "Give domains that are yours alone, such as ca.example.com, or private ones, such as internal.",
            )


# Domains that are in nobody's public DNS: RFC 6761, RFC 6762 appendix G, RFC 8375, RFC 9476, ICANN's "internal".
_PRIVATE = re.compile(
    r"(?:.+\.)?(?:alt|corp|example|home|home\.arpa|internal|intranet|invalid|lan|local|localhost|private|test)\Z"
)


def _is_public_suffix(domain: str) -> bool:
    return not _PRIVATE.match(domain) and _public_suffixes().is_public(domain)


@cache
def _public_suffixes() -> PublicSuffixList:
    # Imported here: the list takes a third of a second to read, and most CAs have private domains.
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415

    return PublicSuffixList(accept_unknown=False)


def _of_server(config: Config) -> Iterator[Finding]:
    for network in _wide(config.server.proxies):
        yield Finding(
            "wide-proxies",
            "unsafe",
            "server.proxies",
            f"any client in {network} is believed about the sender of a request (X-Forwarded-For): it chooses the "
            "address that limits count and events name.",
            "List the addresses of the proxies themselves in proxies.",
        )


def _of_store(config: Config) -> Iterator[Finding]:
    if config.store.holds_password and config.store.url_file is None:
        yield Finding(
            "inline-secret",
            "unsafe",
            "store.url",
            "the password of the database stands in ca.toml: whoever reads it, or a backup, can write what the CA "
            "knows.",
            "Put the URL into a file that only the server's user reads, and give url_file in place of url in [store].",
        )


def _wide(networks: Collection[Network]) -> Iterator[Network]:
    """The networks that hold more than one operator's machines, those that are halves of one put together."""
    for version, private_bits, public_bits in ((4, 8, 16), (6, 16, 32)):
        of_version = [network for network in networks if network.version == version]
        merged: Iterator[Network] = ipaddress.collapse_addresses(of_version)  # type: ignore[type-var]
        for network in merged:
            if network.prefixlen < (private_bits if _all_private(network) else public_bits):
                yield network


def _all_private(network: Network) -> bool:
    return network.is_private and network.prefixlen > 0


# Provisioners


def _of_instances(config: Config, entry: Provisioner) -> Iterator[Finding]:
    if entry.allow is None and not entry.disable_custom_sans and config.ca.domains:
        yield Finding(
            "any-name",
            "unsafe",
            str(entry),
            f"any instance that {entry.name!r} admits may hold any name in {', '.join(config.ca.domains)}.",
            "allow (--allow) says which names it may hold; disable_custom_sans (--disable-custom-sans) leaves those "
            "that follow from its evidence.",
        )
    unbound = [name for name in entry.formats if not entry.cloud_type.formats[name].bound]
    if entry.disable_trust_on_first_use and unbound:
        yield Finding(
            "first-use-off",
            "unsafe",
            str(entry),
            f"a thief of a document of an instance of {entry.name!r} can act as that instance for ever: "
            f"disable_trust_on_first_use is set, and {', '.join(unbound)} are bound to nothing else.",
            "Take disable_trust_on_first_use out, or accept only formats that are bound to the challenge.",
        )
    if entry.proof_lifetime > max(one.lifetimes.maximum for one in (config.profiles or (config.default_profile,))):
        yield Finding(
            "long-proof",
            "unsafe",
            str(entry),
            f"a thief of the account key of an instance of {entry.name!r} can renew, without the instance, for longer "
            "than any certificate lasts.",
            "Make proof_lifetime (--proof-lifetime) shorter than the longest certificate.",
        )
    for place in _unknown_places(entry):
        yield Finding(
            "unknown-region",
            "remark",
            str(entry),
            f"{entry.name!r} lists {place}, which is no region of {entry.type} that is known here: nobody is admitted "
            "from there.",
            f"Correct it{entry.cloud_type.place_remedy}.",
        )
    audience = entry.keys.texts.get("audience")
    if audience is not None and _is_foreign(audience, config):
        yield Finding(
            "foreign-audience",
            "unsafe",
            str(entry),
            f"tokens for the audience {audience} are made for somebody else, who could pass them on to this CA "
            f"as an instance of {entry.name!r}.",
            "Give an audience of this CA's own, such as api:// and a name that you registered for it.",
        )


def _outside(config: Config, entry: Provisioner) -> Iterator[Finding]:
    domains = ", ".join(config.ca.domains) or "none"
    for rule in (*(entry.allow or ()), *entry.allow_wildcards):
        if not any(_may_be_inside(rule.template.text, domain) for domain in config.ca.domains):
            yield Finding(
                "outside-domains",
                "remark",
                str(entry),
                f"{rule.template.text} is in none of this CA's domains ({domains}), so nobody gets it.",
                "Add the domain to domains in [ca] of ca.toml.",
            )


def _may_be_inside(template: str, domain: str) -> bool:
    """Whether some name that the template gives is the domain or below it."""
    labels, ends = template.split("."), domain.split(".")
    return len(labels) >= len(ends) and all(
        label in (end, "*") or "{" in label for label, end in zip(labels[-len(ends) :], ends, strict=True)
    )


def _unknown_places(entry: Provisioner) -> Iterator[str]:
    """The regions and zones in a provisioner's lists, and in its rules' conditions, that nobody knows."""
    if "iid_roots" in entry.keys.given:
        return  # the operator knows places that nobody else does
    conditions = (demand for rule in (*(entry.allow or ()), *entry.allow_wildcards) for demand in rule.when)
    for demand in dict.fromkeys((*entry.demands, *conditions)):
        for value in demand.values if demand.facts[0] in ("region", "zone") else ():
            if not entry.cloud_type.knows_place(demand.facts[0], value):
                yield value


# Microsoft's own resources by their application ids (Graph, Azure AD, Key Vault and others; Azure Resource Manager).
_MICROSOFTS_OWN = re.compile(r"[0-9a-f]{8}-0000-0000-c000-000000000000\Z|797f4846-ba00-4fd7-ba43-dac1f8f63013\Z")


def _is_foreign(audience: str, config: Config) -> bool:
    """Whether an audience of managed identity tokens belongs to another: a URL of another host, or Microsoft's own."""
    text = audience.lower().rstrip("/")
    if _MICROSOFTS_OWN.match(text) or text.startswith("api://azureadtokenexchange"):
        return True
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        return False
    host = parts.hostname or ""
    own = {config.server.names[0].value, *config.ca.domains, *filter(None, [config.issuer_domain])}
    return not any(host == name or host.endswith("." + name) for name in own)


def _of_hosts(config: Config, host: HostProvisioner) -> Iterator[Finding]:
    connecting = [challenge for challenge in host.challenges if challenge in OF_HOSTS]
    if connecting and (host.networks is None or any(_wide(host.networks))):
        yield Finding(
            "hosts-anywhere",
            "unsafe",
            str(host),
            f"anybody who can point a name in {', '.join(config.ca.domains) or 'no domain'} to an address can have "
            f"this CA connect to it ({' and '.join(connecting)} of {host.name!r}), in your own networks too.",
            "networks (--network) says where the hosts are.",
        )


# Files


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _of_path(path: Path, trusted: Collection[int]) -> Iterator[Finding]:
    status = _status(path)
    if status is None:
        return
    # In a directory such as /tmp others make files, and cannot touch those that are there.
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not shared:
        who = "everybody on this machine" if status.st_mode & stat.S_IWOTH else "its whole group"
        yield Finding(
            "others-write",
            "unsafe",
            str(path),
            f"{who} can write {path}, and so decide what this CA does.",
            f"Take that away: chmod go-w '{path}'",
        )
    if status.st_uid not in trusted:
        yield Finding(
            "others-own",
            "unsafe",
            str(path),
            f"{path} belongs to another user (uid {status.st_uid}), who can decide what this CA does.",
            "Give it to root, or to the user that the server runs as, with chown.",
        )
