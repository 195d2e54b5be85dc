"""Acts on ca.toml: what is unsafe in it, what a reload would do, and the reload. The API does not edit it."""

from __future__ import annotations

from typing import TypedDict

from acme_iid.admin.acts import Act, Context
from acme_iid.admin.parameters import Nothing
from acme_iid.admin.problems import RETRY_AFTER, Problem, ProblemError
from acme_iid.admin.roles import Role
from acme_iid.config import ca_toml
from acme_iid.config.locations import Location
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.errors import RequestError
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import issuers
from acme_iid.operations.descriptions import findings
from acme_iid.operations.descriptions.findings import FindingRow, ReloadOutlook
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store.chain import Event
from acme_iid.store.writes import Write, perform

_UNUSABLE = (CAFileError, ConfigError, OSError, RequestError)
"""What a configuration ends with that cannot be used."""


class CheckedConfiguration(TypedDict):
    """What a look at the configuration has found.

    :ivar findings: what somebody should look at.
    :ivar unusable: why ca.toml, or a file that it names, cannot be used; null if it can.
    :ivar unasked: why the store could not be asked; null if it could.
    """

    findings: list[FindingRow]
    unusable: str | None
    unasked: str | None


class ReloadAsked(TypedDict):
    """A reload that the server was asked for.

    :ivar asked: the time at which it was; the event server.reloaded says that it was done.
    """

    asked: str


class Look(TypedDict):
    """All that a look at ca.toml has found.

    :ivar check: what is unsafe in it.
    :ivar outlook: what a reload would do.
    """

    check: CheckedConfiguration
    outlook: ReloadOutlook


def look(location: Location, now: int) -> Look:
    """Look at ca.toml as it is now.

    :param location: where the CA is.
    :param now: seconds.
    """
    return {"check": _checked(location, now), "outlook": _outlook(location)}


def _loaded(location: Location) -> Config:
    """ca.toml as it is now, if it can be used.

    :raises CAFileError, ConfigError, OSError, RequestError: if it cannot.
    """
    config = ca_toml.load(location.home, location.file)
    issuers.require_permitting(config)
    return config


def _check(context: Context, _asked: Nothing) -> CheckedConfiguration:
    return _checked(context.location, context.now) if context.look is None else context.look()["check"]


def _try_reload(context: Context, _asked: Nothing) -> ReloadOutlook:
    return _outlook(context.location) if context.look is None else context.look()["outlook"]


def _checked(location: Location, now: int) -> CheckedConfiguration:
    try:
        found = findings.check(_loaded(location), None, now, without_keys=True)
    except _UNUSABLE as error:
        return {"findings": [], "unusable": str(error), "unasked": None}
    return {"findings": found.findings, "unusable": None, "unasked": found.unasked}


def _outlook(location: Location) -> ReloadOutlook:
    try:
        return findings.reload(_loaded(location), None, without_keys=True).outlook
    except _UNUSABLE as error:
        return {"refusal": str(error), "untried": None, "changes": [], "restart": []}


def _reload(context: Context, _asked: Nothing) -> ReloadAsked:
    if context.reload is None:
        detail = "this process has no server that it could ask"
        raise ProblemError(Problem.UNAVAILABLE, detail, headers={"Retry-After": RETRY_AFTER})
    event = Event("server.reload_asked", context.now)
    perform(context.database, lambda _reader: Write([], lambda _rows: None, [event]))
    context.reload()
    return {"asked": timestamp(context.now)}


ACTS = (
    Act(
        "check.findings", "GET", "/check", Role.ADMINISTRATOR, "What is unsafe in ca.toml as it is now.", _check,
        CheckedConfiguration,
        more="In the files that the CA rests on as well, and which of its certificates end soon. Nothing is changed.",
        problems=(Problem.CONFLICT,),
    ),
    Act(
        "check.reload", "GET", "/check/reload", Role.ADMINISTRATOR, "What a reload would refuse, and change.",
        _try_reload, ReloadOutlook, more="No key is tried. Nothing is changed.", problems=(Problem.CONFLICT,),
    ),
    Act(
        "server.reload", "POST", "/reload", Role.ADMINISTRATOR, "Have the server take ca.toml up again.", _reload,
        ReloadAsked, more="What cannot be used is refused by the server, and what runs stays in force.",
    ),
)  # fmt: skip
