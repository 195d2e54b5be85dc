"""Counts what is reported: facts that were committed, and questions to keys that are elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from acme_iid.binding import CHALLENGE_TYPE
from acme_iid.errors import Step
from acme_iid.signing import outcomes
from acme_iid.telemetry import instruments, reports
from acme_iid.telemetry.reports import Fact

_NONE, _OTHER = "none", "other"
_REFUSED = ".refused"
# Standard challenges have no steps: what was found in the network was not it.
_VALIDATION = "validation"
_STEPS = frozenset(step.value for step in Step)


_provisioners: frozenset[str] = frozenset()


def begin(provisioners: Collection[str]) -> None:
    """Count from now on, if anybody reads it.

    :param provisioners: the names that there are now; others are one label, so that no name of old makes series.
    """
    global _provisioners  # noqa: PLW0603 - of the process: while one application follows another, facts count once
    if instruments.folder() is None:
        return
    _provisioners = frozenset(provisioners)
    # A series that begins with its first certificate would hide that one from whoever looks for growth.
    for name in _provisioners:
        instruments.ISSUED.add(name, amount=0)
    reports.listen(count)
    outcomes.watch(count_answer)


def count(fact: Fact) -> None:
    """Count a fact."""
    if fact.kind == "order.created":
        instruments.ORDERS.add()
    elif fact.kind == "certificate.issued":
        instruments.ISSUED.add(_provisioner(fact))
    elif fact.kind == "certificate.revoked":
        instruments.REVOKED.add()
    elif fact.kind == "challenge.valid":
        instruments.VALIDATIONS.add(_challenge(fact), "valid")
    elif fact.kind.endswith(_REFUSED):
        instruments.REFUSED.add(_step(fact), _provisioner(fact))
        if fact.kind == "challenge.refused":
            instruments.VALIDATIONS.add(_challenge(fact), "refused")


def _provisioner(fact: Fact) -> str:
    name = fact.detail.get("provisioner")
    if name is None:
        return _NONE
    return name if isinstance(name, str) and name in _provisioners else _OTHER


def count_answer(seconds: float, is_good: bool) -> None:
    """Count an answer of a key that is elsewhere."""
    instruments.SIGNER_ASKED.add()
    instruments.SIGNER_SECONDS.observe(seconds)
    if not is_good:
        instruments.SIGNER_FAILED.add()


def _challenge(fact: Fact) -> str:
    type_ = fact.detail.get("type")
    return type_ if isinstance(type_, str) else CHALLENGE_TYPE


def _step(fact: Fact) -> str:
    """The step that refused: of evidence, its own; otherwise the request that was refused."""
    step = fact.detail.get("step")
    if isinstance(step, str) and step in _STEPS:
        return step
    if fact.kind == "challenge.refused":
        return _VALIDATION
    return fact.kind.removesuffix(_REFUSED)
