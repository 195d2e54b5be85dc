"""Acts on many certificates or instances at once, as operators are shown them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from acme_iid.operations.bulk import Rebuilt, Task


class CountedAct(TypedDict):
    """An act that was counted and not done.

    :ivar count: the number of certificates, or instances, that it would be on.
    :ivar done: none.
    """

    count: int
    done: int


class DoneAct(CountedAct):
    """An act that was done, as far as it has come.

    :ivar bulk: its id, which each of its events has.
    :ivar done: the number of certificates, or instances, that it was done to.
    :ivar left_out: the number of those that nothing was done to: others had changed them, or they cannot be changed.
    :ivar stopped: whether it was stopped before its end.
    """

    bulk: str
    left_out: int
    stopped: bool


class RebuiltRow(TypedDict):
    """An instance whose account key was lost, as far as refusals show it.

    :ivar instance: its whole id.
    :ivar key: the thumbprint of the key that it would be released to; None if it is left out.
    :ivar left_out: the reason for that.
    """

    instance: str
    key: str | None
    left_out: str | None


def counted(count: int) -> CountedAct:
    """An act that was counted and not done."""
    return {"count": count, "done": 0}


def done(task: Task, count: int, changed: int, left_out: int, *, stopped: bool) -> DoneAct:
    """An act that was done, as far as it has come.

    :param count: the number of certificates, or instances, that it is on.
    :param changed: the number of those that it was done to.
    """
    return {"bulk": task.id, "count": count, "done": changed, "left_out": left_out, "stopped": stopped}


def rebuilt(entries: Iterable[Rebuilt]) -> list[RebuiltRow]:
    """The instances that a release of many is on, and those that it leaves out."""
    return [{"instance": entry.instance_id, "key": entry.thumbprint, "left_out": entry.left_out} for entry in entries]
