"""Acts on ca.toml: what is unsafe in it, what a reload would do, and the reload. The API does not edit it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from acme_iid.admin.acts import Act, Context, Looked
from acme_iid.admin.parameters import Nothing
from acme_iid.admin.problems import RETRY_AFTER, Problem, ProblemError
from acme_iid.admin.roles import Role
from acme_iid.config import ca_toml
from acme_iid.config.table import ConfigError
from acme_iid.errors import ConflictError, RequestError
from acme_iid.issuance.keys import CAFileError
from acme_iid.operations import issuers
from acme_iid.operations.descriptions import findings
from acme_iid.operations.descriptions.findings import FindingRow, ReloadOutlook
from acme_iid.operations.descriptions.times import timestamp
from acme_iid.store.chain import Event
from acme_iid.store.writes import Write, perform


class CheckedConfiguration(TypedDict):
    """What a look at ca.toml has found.

    :ivar findings: what somebody should look at.
    :ivar unusable: why ca.toml, or a file that it names, cannot be used; null if it can.
    """

    findings: list[FindingRow]
    unusable: str | None


class ReloadAsked(TypedDict):
    """A reload that the server was asked for.

    :ivar asked: the time at which it was; the event server.reloaded says that it was done.
    """

    asked: str


def look(home: Path, now: int) -> Looked:
    """Look at ca.toml as it is now, and at what it names.

    :param now: seconds.
    :raises RequestError: if one of them cannot be used.
    """
    try:
        config = ca_toml.load(home)
        issuers.require_permitting(config)
        return {
            "findings": findings.check(config, None, now).findings,
            "outlook": findings.reload(config, None).outlook,
        }
    except (CAFileError, ConfigError, OSError) as error:
        raise RequestError(str(error)) from error


def _looked(context: Context) -> Looked | str:
    """What a look has found, or why ca.toml cannot be used.

    :raises ConflictError: if somebody else has it looked at just now.
    """
    try:
        return look(context.home, context.now) if context.check is None else context.check()
    except ConflictError:
        raise
    except RequestError as error:
        return str(error)


def _check(context: Context, _asked: Nothing) -> CheckedConfiguration:
    found = _looked(context)
    if isinstance(found, str):
        return {"findings": [], "unusable": found}
    return {"findings": found["findings"], "unusable": None}


def _outlook(context: Context, _asked: Nothing) -> ReloadOutlook:
    found = _looked(context)
    if isinstance(found, str):
        return {"refusal": found, "untried": None, "changes": [], "restart": []}
    return found["outlook"]


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
        _outlook, ReloadOutlook, more="Keys that need a password are not tried. Nothing is changed.",
        problems=(Problem.CONFLICT,),
    ),
    Act(
        "server.reload", "POST", "/reload", Role.ADMINISTRATOR, "Have the server take ca.toml up again.", _reload,
        ReloadAsked, more="What cannot be used is refused by the server, and what runs stays in force.",
    ),
)  # fmt: skip
