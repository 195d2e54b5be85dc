"""``acme-iid-ca provisioner test``: explains admission and names by the rules in ca.toml, without a server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

import click

from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.registry import VERIFIERS, trust_store
from acme_iid.binding import MAX_ANSWER_BYTES, binding
from acme_iid.cli import Home, provisioner_hosts
from acme_iid.cli.explanation import Explanation, explain, identity_of
from acme_iid.config.settings import Config
from acme_iid.errors import AttestationError, Step
from acme_iid.issuance import name_constraints
from acme_iid.issuance.home import has_issuers
from acme_iid.operations import issuers
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.protocol import strict_json
from acme_iid.protocol.identifiers import Identifier, from_text

# The \b keeps click from filling the lines.
_EXAMPLES = """\b
Examples:
  ssh vm acme-iid evidence --raw | acme-iid-ca provisioner test --evidence - web.local
  acme-iid-ca provisioner test --fact account=123456789042 --fact region=us-east-1 web.local
  acme-iid-ca provisioner test db.racks.internal
"""
_WHICH = "say which instance: its --evidence, or facts about it (--fact account=123456789042)"
_NOBODYS = "provisioner.test"
"""A key authorization that no challenge has: nothing is bound to it."""


def _printable(text: str) -> str:
    # Facts come from outside and must not move a terminal's cursor.
    return "".join(character if character.isprintable() else "?" for character in text)


def _say(text: str) -> None:
    click.echo(_printable(text))


@click.command("test", short_help="See who is admitted, and to which names.", epilog=_EXAMPLES)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--evidence",
    "file",
    type=click.File("rb"),
    help='What "acme-iid evidence --raw" prints on the instance, or its document or token alone; - for standard input.',
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(VERIFIERS)),
    metavar="FORMAT",
    help="The format of a document or token alone; with --fact, the format that is thought to prove the facts.",
)
@click.option(
    "--fact",
    "facts",
    multiple=True,
    metavar="NAME=VALUE",
    help="A fact about an instance instead of evidence, such as account=123456789042; may be repeated.",
)
@click.option(
    "--type",
    "type_",
    type=click.Choice(list(CLOUD_TYPES), case_sensitive=False),
    metavar="|".join(CLOUD_TYPES),
    help="The cloud that the facts are of, if they leave that open.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def test(
    context: click.Context,
    names: tuple[str, ...],
    file: BinaryIO | None,
    format_: str | None,
    facts: tuple[str, ...],
    type_: str | None,
    as_json: bool,
) -> None:
    """Explain, rule by rule, which provisioners admit an instance and which names they give it.

    The instance is known by its --evidence, which is verified with the keys that the configuration trusts, or by
    facts given by hand. No server has to run, and nothing is recorded. Without a NAME, the names that the instance
    may hold are listed. NAMEs alone are explained for hosts in no cloud: which provisioners of type ACME let each be
    proven, and by which challenges.

    The exit status is 0 if one provisioner would give every NAME (without any, if one admits the instance), and
    1 if none would.
    """
    home: Home = context.obj
    if file is not None and facts:
        raise click.UsageError("give evidence or facts, not both: facts are read from evidence")
    if file is None and not facts and not names:
        raise click.UsageError(_WHICH)
    config = _config(home)
    if file is None and not facts:
        if not config.hosts:
            raise click.UsageError(_WHICH)
        context.exit(0 if provisioner_hosts.tell(config, tuple(map(_identifier, names)), as_json=as_json) else 1)
    identifiers = tuple(_identifier(name) for name in dict.fromkeys(names))
    report: dict[str, Any] = {"evidence": None}
    if file is not None:
        evidence = _evidence(file.read(MAX_ANSWER_BYTES + 1), format_)
        try:
            identity, report["evidence"] = _verified(evidence, config)
        except AttestationError as error:
            refused = {"format": evidence.format, "authentic": False, "step": error.step.value, "reason": error.detail}
            if as_json:
                click.echo(json.dumps({"evidence": refused, "given_by": None}, indent=2))
            raise click.ClickException(
                _printable(f"the evidence is refused at step {error.step.value!r}: {error.detail}")
            ) from error
    else:
        identity = _by_hand(facts, format_, type_)
    explained = explain(
        config, identity, identifiers, now=int(time.time()), as_preferred=file is None and format_ is None
    )
    if as_json:
        click.echo(json.dumps(report | explained.as_json(), indent=2))
    else:
        _tell(report["evidence"], explained)
    context.exit(0 if explained.given_by is not None else 1)


def _config(home: Home) -> Config:
    """The configuration, with the name constraints of the chain that signs, if there is one."""
    config = home.config()
    if not has_issuers(config.home):
        return config
    issuer, *above, root = issuers.chosen(config)
    constraints = name_constraints.of_chain(issuer, above, root)
    return replace(config, constraints=lambda: constraints)


def _identifier(name: str) -> Identifier:
    try:
        return from_text(name)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error


def _evidence(content: bytes, format_: str | None) -> Evidence:
    """The evidence in a file: an answer's members as JSON, or a document or token as text."""
    if len(content) > MAX_ANSWER_BYTES:
        raise click.ClickException(
            f"the evidence is longer than {MAX_ANSWER_BYTES} bytes, which the server takes at most"
        )
    text = content.strip()
    if text.startswith(b"{"):
        try:
            members = strict_json.loads(text)
        except ValueError as error:
            raise click.ClickException(f"the evidence is refused: {error}") from error
        assert isinstance(members, dict)  # it begins with a brace
        if format_ is not None:
            members.setdefault("format", format_)
        from acme_iid.authority import answers

        return answers.parse(members, text).evidence
    if format_ is None:
        raise click.UsageError("a document or token alone does not say what it is; give its --format")
    if not text.isascii():
        raise click.ClickException("the evidence is neither JSON nor text as metadata services give it")
    return Evidence(format_, {"evidence": text.decode("ascii")})


def _verified(evidence: Evidence, config: Config) -> tuple[InstanceIdentity, dict[str, Any]]:
    """The instance that the evidence is about, and a report on the evidence.

    :raises AttestationError: if it is not authentic. Stale evidence and a binding to a challenge are only reported.
    """
    now = int(time.time())
    verifier = VERIFIERS[evidence.format]
    claims = verifier.authenticate(evidence, trust_store(config.given_keys), now)
    identity = verifier.identify(claims)
    report: dict[str, Any] = {
        "format": evidence.format,
        "authentic": True,
        "key": claims.key_id,
        "times": {name: timestamp(at) for name, at in identity.times.items()},
        "binding": identity.binding,
        "refused_now": None,
    }
    try:
        verifier.judge(identity, claims, binding(_NOBODYS), now)
    except AttestationError as error:
        # The challenge's own server judges the binding; here there is no challenge.
        if error.step is not Step.BINDING:
            report["refused_now"] = {"step": error.step.value, "reason": error.detail}
    return identity, report


def _by_hand(texts: tuple[str, ...], format_: str | None, type_: str | None) -> InstanceIdentity:
    facts: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--fact")
        if facts.setdefault(name, value) != value:
            raise click.BadParameter(f"{name} is given twice", param_hint="--fact")
    cloud_type = CLOUD_TYPES[_type_of(facts, format_, type_)]
    try:
        for setting in cloud_type.lists.values():
            # Of a list about two facts each has a form of its own, and a value may be either.
            if len(setting.facts) == 1 and setting.facts[0] in facts:
                setting.parse(facts[setting.facts[0]])
        return identity_of(cloud_type.cloud, facts, format_ or "")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fact") from error


def _type_of(facts: Mapping[str, str], format_: str | None, only: str | None) -> str:
    """The one type of provisioners whose evidence proves such facts."""
    types = [
        type_
        for type_, cloud_type in CLOUD_TYPES.items()
        if only in (None, type_) and format_ in (None, *cloud_type.formats) and _proven(type_) >= facts.keys()
    ]
    if not types:
        asked = [only] if only else list(CLOUD_TYPES)
        among = "; ".join(f"{type_}: {', '.join(sorted(_proven(type_)))}" for type_ in asked)
        raise click.BadParameter(f"no cloud's evidence proves all of these; there are {among}", param_hint="--fact")
    if len(types) > 1:
        raise click.UsageError(f"these facts may be of {' or '.join(types)}; say which with --type")
    return types[0]


def _proven(type_: str) -> set[str]:
    return set(CLOUD_TYPES[type_].provable())


def _tell(evidence: Mapping[str, Any] | None, explained: Explanation) -> None:
    identity = explained.identity
    if evidence is not None:
        _say(f"The evidence ({evidence['format']}) is authentic, signed with the key {evidence['key']}.")
        if evidence["refused_now"] is not None:
            refused = evidence["refused_now"]
            _say(f"It would be refused now, at step {refused['step']!r}: {refused['reason']}. Going on with its facts.")
        if evidence["binding"] != "first use":
            _say(f"Its {evidence['binding']} binds it to a challenge and an account key, which are not looked at here.")
    else:
        _say("Facts as they were given; nothing has been verified.")
    width = max(len(fact) for fact in identity.facts) + 2
    for fact, value in identity.facts.items():
        _say(f"  {fact:<{width}}{value}")
    for entry in explained.provisioners:
        click.echo()
        _say(f"Provisioner {entry.name!r} ({entry.type}) {'admits it' if entry.admits else 'does not admit it'}.")
        for rule in entry.rules:
            _say(f"  {'ok' if rule.met else 'NO':<4}{rule.said}")
        if not entry.admits:
            continue
        for name in entry.names:
            _say(f"  {'ok' if name.given else 'NO':<4}{name.name}: {name.why}")
        if entry.listed:
            _say(f"  It may hold: {', '.join(entry.listed)}{entry.further}")
    click.echo()
    _say(explained.outcome)
