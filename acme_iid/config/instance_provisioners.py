"""The ``[[provisioner]]`` tables of ca.toml, read into rules and into where further keys come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from acme_iid.attestation.keysets import key_set
from acme_iid.attestation.trust import AzureTenant, TrustStore, WebIdentityIssuer
from acme_iid.config.parsers import duration, name, network, proof_lifetime
from acme_iid.config.table import Table
from acme_iid.config.trust_sources import TrustSources, WebIdentity
from acme_iid.policy.instances import ENROLMENT_LIFETIME, Provisioner
from acme_iid.policy.name_rules import Demand, NameRule, template
from acme_iid.policy.provisioner_types import KINDS, UNDATED, Kind, aws_account, kind
from acme_iid.protocol.identifiers import lowered

MAX_FILE_BYTES = 1024 * 1024


def read(table: Table, home: Path) -> tuple[Provisioner, TrustSources]:
    """Read one ``[[provisioner]]``: its rules, and where its further keys come from.

    :raises ConfigError: if it says what cannot be meant.
    """
    title = table.text("name", "the provisioner's name", name)
    type_ = table.text("type", f"one of {', '.join(KINDS)}", kind)
    known = KINDS[type_]
    demands = _demands(table, known)
    listed = {demand.key: demand for demand in demands}
    sources = _sources(table, title, type_, home, listed)
    formats = table.texts("formats", "a list of formats of evidence", lambda text: _format(text, type_))
    age = table.take("instance_age", str, 'a duration such as "1h"')
    provisioner = Provisioner(
        name=title,
        type=type_,
        demands=demands,
        formats=_default_formats(known, demands, sources) if formats is None else formats,
        instance_age=None if age is None else table.parsed("instance_age", age, duration),
        allow=_rules(table, "allow", known),
        allow_wildcards=_rules(table, "allow_wildcards", known) or (),
        networks=table.texts("networks", 'a list of networks such as ["10.0.0.0/8"]', network),
        disable_custom_sans=table.flag("disable_custom_sans"),
        disable_trust_on_first_use=table.flag("disable_trust_on_first_use"),
        profiles=table.texts("profiles", "a list of names of [profile.NAME] tables", str),
        enrolment_lifetime=table.text("enrolment_lifetime", 'a duration such as "7d"', duration, ENROLMENT_LIFETIME),
        proof_lifetime=table.text("proof_lifetime", 'a duration such as "24h"', proof_lifetime, 0),
    )
    table.done()
    _check(table, provisioner, sources, known)
    return provisioner, sources


def _demands(table: Table, known: Kind) -> tuple[Demand, ...]:
    found: list[Demand] = []
    for key, listed in known.lists.items():
        values = table.texts(key, f"a list of {key}", listed.parse)
        if values is not None:
            found.append(Demand(key, listed.facts, tuple(map(lowered, values))))
    return tuple(found)


def _check(table: Table, provisioner: Provisioner, sources: TrustSources, known: Kind) -> None:
    owners = [demand for demand in provisioner.demands if demand.key in known.owners]
    if not owners:
        # Any customer of the cloud passes a signature check, so no list can only mean nobody.
        raise table.error(known.owners[0], f"is missing; without {' or '.join(known.owners)} nobody would be admitted")
    for demand in provisioner.demands:
        if not demand.values:
            raise table.error(demand.key, "is empty, so nobody would be admitted; list values, or leave it out")
    if provisioner.profiles is not None and not provisioner.profiles:
        raise table.error("profiles", "is empty, so no certificate would be given; leave it out for all profiles")
    if not provisioner.formats:
        raise table.error("formats", "is empty, so no evidence would be accepted; leave it out for the usual ones")
    if provisioner.disable_custom_sans and (provisioner.allow is not None or provisioner.allow_wildcards):
        raise table.error(
            "disable_custom_sans", "leaves only names that follow from the evidence, so allow and allow_wildcards go"
        )
    if "aws-web-identity" in provisioner.formats and not sources.web_identity:
        raise table.error("web_identity", "is missing; evidence of format aws-web-identity takes each account's issuer")
    if "azure-managed-identity" in provisioner.formats and not (sources.tenants and sources.audience):
        key = "audience" if sources.tenants else "tenants"
        raise table.error(key, "is missing; evidence of format azure-managed-identity takes tenants and audience")
    for format_ in provisioner.formats:
        _check_format(table, provisioner, format_, known)


def _check_format(table: Table, provisioner: Provisioner, format_: str, known: Kind) -> None:
    """Refuse a format that is accepted and lets nobody in: whoever prefers to send it would learn it one by one."""
    for demand in provisioner.demands:
        if not _proves(known, format_, demand):
            others = [other for other in known.formats if _proves(known, other, demand)]
            raise table.error(
                demand.key,
                f"is not proven by {format_}, so nobody who sends that would be admitted; leave {format_} out of "
                f"formats: {' and '.join(others)} can prove it",
            )
    if provisioner.instance_age is not None and format_ in UNDATED:
        raise table.error(
            "instance_age",
            f"cannot be told from {format_}, which does not say when an instance was started; leave one of them out",
        )


def _proves(known: Kind, format_: str, demand: Demand) -> bool:
    return any(fact in known.formats[format_] for fact in demand.facts)


def _format(text: str, type_: str) -> str:
    formats = KINDS[type_].formats
    if text not in formats:
        raise ValueError(f"{text!r} is not a format of type {type_}; the formats are {', '.join(formats)}")
    return text


def _default_formats(known: Kind, demands: tuple[Demand, ...], sources: TrustSources) -> tuple[str, ...]:
    """The usual formats and those that a list or a setting asks for, less those that cannot prove all of the lists."""
    usual = set(known.default_formats)
    if sources.web_identity:
        usual.add("aws-web-identity")
    for demand in demands:
        if not any(_proves(known, format_, demand) for format_ in known.default_formats):
            usual |= {format_ for format_ in known.formats if _proves(known, format_, demand)}
    proving = [
        format_
        for format_ in known.formats
        if format_ in usual and all(_proves(known, format_, demand) for demand in demands)
    ]
    return tuple(proving) or known.default_formats


def _rules(table: Table, key: str, known: Kind) -> tuple[NameRule, ...] | None:
    """Names as texts, or as tables ``{ names = [...], when = { region = "us-east-1" } }``."""
    values = table.take(key, list, "a list of names and of tables with names and when")
    if values is None:
        return None
    rules: list[NameRule] = []
    for value in values:
        when: tuple[Demand, ...] = ()
        names: list[object] = [value]
        if isinstance(value, dict):
            inner = table.inner(f"{key} {value.get('names', '')!r}", value)
            names = list(inner.texts("names", "a list of names", str) or ())
            when = _when(inner.table("when"), known)
            inner.done()
            if not names or not when:
                raise table.error(
                    key, f"{value!r} needs names and when; names for every instance stand in the list as texts"
                )
        for text in names:
            if not isinstance(text, str):
                raise table.error(key, f"{text!r} is not a name")
            rules.append(
                NameRule(
                    table.parsed(
                        key, text, lambda t: template(t, known.placeholders, wildcards=key == "allow_wildcards")
                    ),
                    when,
                )
            )
    return tuple(rules)


def _when(table: Table, known: Kind) -> tuple[Demand, ...]:
    """Facts by their own names, each with the values that it must have one of."""
    found: list[Demand] = []
    for fact in sorted({fact for listed in known.lists.values() for fact in listed.facts} | set(known.placeholders)):
        values = table.one_or_more(fact, "a value, or a list of values")
        if values:
            found.append(Demand(fact, (fact,), tuple(map(lowered, values))))
    table.done()
    return tuple(found)


def _sources(table: Table, title: str, type_: str, home: Path, listed: Mapping[str, Demand]) -> TrustSources:
    """Where further keys come from. What cannot be loaded is an operator's to learn now, and not from a refused VM."""
    keys = KINDS[type_].sources
    found = TrustSources(
        title,
        type_,
        iid_roots=_file(table, "iid_roots", home) if "iid_roots" in keys else None,
        nitro_roots=_file(table, "nitro_roots", home) if "nitro_roots" in keys else None,
        jwks=_key_set(table, home) if "jwks" in keys else None,
        web_identity=_web_identity(table, title, home) if "web_identity" in keys else (),
        audience=table.take("audience", str, "the audience of tokens for this CA") if "audience" in keys else None,
        tenants=listed["tenants"].values if "tenants" in listed else (),
    )
    iid_roots = {title: found.iid_roots.read_bytes()} if found.iid_roots else {}
    try:
        TrustStore.load(
            iid_roots if type_ == "AWS" else None,
            azure_roots=iid_roots if type_ == "AZURE" else None,
            nitro_roots={title: found.nitro_roots.read_bytes()} if found.nitro_roots else None,
        )
    except ValueError as error:
        raise table.refusal(str(error)) from error
    if found.audience is not None:
        for tenant in found.tenants:
            table.parsed("audience", found.audience, partial(AzureTenant.of, title, tenant))
    return found


def _file(table: Table, key: str, home: Path) -> Path | None:
    value = table.take(key, str, "a file name")
    return None if value is None else table.parsed(key, value, lambda text: _readable(home / text))


def _key_set(table: Table, home: Path) -> Path | str | None:
    value = table.take("jwks", str, "a file name, or an https URL")
    if value is None:
        return None
    source = value if "://" in value else table.parsed("jwks", value, lambda text: _readable(home / text))
    table.parsed("jwks", value, lambda _: key_set(source.read_bytes() if isinstance(source, Path) else source))
    return source


def _web_identity(table: Table, title: str, home: Path) -> tuple[WebIdentity, ...]:
    found: list[WebIdentity] = []
    for entry in table.tables("web_identity"):
        account = entry.text("account", "the account's id", aws_account)
        issuer = entry.text("issuer", "the account's own issuer URL", str)
        entry.parsed("issuer", issuer, partial(_issuer, title, account))
        if any(issuer == other.issuer or account == other.account for other in found):
            raise entry.error("issuer", "an account has one issuer, and an issuer one account")
        found.append(WebIdentity(issuer, account, _key_set(entry, home)))
        entry.done()
    return tuple(found)


def _issuer(title: str, account: str, text: str) -> WebIdentityIssuer:
    return WebIdentityIssuer.of(title, text, account)


def _readable(path: Path) -> Path:
    """``path`` if it can be read now."""
    try:
        with path.open("rb") as stream:
            if len(stream.read(MAX_FILE_BYTES + 1)) > MAX_FILE_BYTES:
                raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    return path
