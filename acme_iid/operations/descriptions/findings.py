"""What is unsafe in ca.toml and what a reload would do, as operators are shown them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict, TypeVar

from acme_iid.config import findings
from acme_iid.config.finding import Finding, Severity
from acme_iid.config.settings import Config
from acme_iid.errors import StoreUnavailableError
from acme_iid.operations import expiry, reloading
from acme_iid.operations.presence import SEEN_SECONDS
from acme_iid.store import servers
from acme_iid.store.existing import existing
from acme_iid.store.writes import Reader

T = TypeVar("T")


class FindingRow(TypedDict):
    """Something that an operator should look at.

    :ivar code: its name for scripts, which stays.
    :ivar severity: unsafe or remark.
    :ivar where: the table of ca.toml, or the file.
    :ivar sentence: the danger.
    :ivar remedy: the remedy, a sentence too.
    """

    code: str
    severity: Severity
    where: str
    sentence: str
    remedy: str


class Checked(NamedTuple):
    """What a look at the configuration has found.

    :ivar unasked: the reason why the store could not be asked; None if it could.
    """

    findings: list[FindingRow]
    unasked: str | None


class ReloadOutlook(TypedDict):
    """What a reload would do.

    :ivar refusal: the reason why what runs would stay in force; None if there is none.
    :ivar untried: a remark on what could not be tried; None if all was.
    :ivar changes: the values that differ from those that were taken up last; secrets are masked.
    :ivar restart: the lines among them that take a restart.
    """

    refusal: str | None
    untried: str | None
    changes: list[str]
    restart: list[str]


class Tried(NamedTuple):
    """A reload that was tried beforehand.

    :ivar unasked: the reason why the store could not be asked; None if it could.
    """

    outlook: ReloadOutlook
    unasked: str | None


def check(config: Config, password_file: Path | None, now: int, *, without_keys: bool = False) -> Checked:
    """Find what is unsafe in a configuration and in the files that the CA rests on, and what ends soon.

    :param password_file: the file with the password of the private keys, which is looked at as well.
    :param now: seconds.
    :param without_keys: whether no file with a key may be opened.
    :raises CAFileError: if the home's certificates cannot be read.
    """
    found = [*findings.of_configuration(config), *findings.of_files(config, password_file)]
    ending, unasked = _asked(
        config, lambda reader: expiry.findings(config.home, reader, now, without_keys=without_keys)
    )
    found += ending
    found += _asked(config, lambda reader: _of_servers(reader, now))[0]
    return Checked([row(finding) for finding in found], unasked)


def row(finding: Finding) -> FindingRow:
    """A finding."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "where": finding.where,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def reload(config: Config, password: str | None, *, without_keys: bool = False) -> Tried:
    """Try what a server does when it reads its configuration again.

    :param password: of the private keys; without one, keys that need one are not tried.
    :param without_keys: whether no key may be tried at all.
    """
    found, unasked = _asked(
        config, lambda reader: reloading.outlook(config, reader, password, without_keys=without_keys)
    )
    outlook: ReloadOutlook = {
        "refusal": found.refusal,
        "untried": found.untried,
        "changes": list(found.changes),
        "restart": list(found.restart),
    }
    return Tried(outlook, unasked)


def _of_servers(reader: Reader | None, now: int) -> list[Finding]:
    """That servers which run have different configurations."""
    running = [] if reader is None else servers.seen(reader, now, SEEN_SECONDS)
    text = servers.difference(running)
    remedy = "Copy ca.toml to all of them, and reload them."
    return [] if text is None else [Finding("servers-differ", "remark", "servers", text, remedy)]


def _asked(config: Config, look: Callable[[Reader | None], T]) -> tuple[T, str | None]:
    """What a function finds in the store, or without it where it cannot be asked; and why it cannot."""
    try:
        with existing(config.store.url) as database:
            return look(database), None
    except StoreUnavailableError as error:
        return look(None), str(error)
