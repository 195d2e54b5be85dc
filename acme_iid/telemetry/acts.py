"""One line of the log for each act: what was issued, refused or revoked, and what operators did.

A line is written after the commit, of the same facts as the event in the record (:mod:`acme_iid.telemetry.reports`).
"""

from __future__ import annotations

import logging

from acme_iid.telemetry import reports
from acme_iid.telemetry.reports import Fact

_log = logging.getLogger("acme_iid.acts")

QUIET = frozenset(
    {
        # Steps on the way to a certificate, whose own line follows.
        "account.agreed",
        "account.created",
        "account.key_changed",
        "challenge.valid",
        "enrolment.extended",
        "enrolment.made",
        "order.proven",
        # These have lines of their own: with the address, with a remedy.
        "expiry.warned",
        "server.reloaded",
        "server.started",
    }
)
"""Kinds of events whose lines are for level debug."""


def log_acts() -> None:
    """Have each act leave its line from now on."""
    reports.listen(log)


def log(fact: Fact) -> None:
    """Write the line of one fact."""
    level = logging.DEBUG if fact.kind in QUIET else logging.INFO
    if not _log.isEnabledFor(level):
        return
    instance = fact.instance
    facts: dict[str, object] = {
        "account": fact.account_id,
        "instance": None if instance is None else instance.id,
        "cloud": fact.cloud if instance is None else instance.cloud,
        "name": fact.name,
        **fact.detail,
    }
    if isinstance(serial := facts.get("serial"), str):
        facts["serial"] = str(int(serial, 16))  # as commands show it
    _log.log(level, fact.kind, extra={"facts": facts})
