"""One finding about a configuration that can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["unsafe", "remark"]
"""``unsafe``: somebody may get a certificate or a right of another. ``remark``: somebody is left without their own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that an operator should look at.

    :ivar code: its name for scripts, which stays.
    :ivar where: the table of ca.toml, or the file.
    :ivar sentence: the danger.
    :ivar remedy: the remedy, a sentence too.
    """

    code: str
    severity: Severity
    where: str
    sentence: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}"
