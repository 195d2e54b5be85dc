"""The roles of operators: each may do all that the ones before it may."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """What somebody may ask for."""

    VIEWER = 1
    HELPDESK = 2
    OPERATOR = 3
    ADMINISTRATOR = 4

    @property
    def word(self) -> str:
        """Its name in ca.toml, in events and in answers."""
        return self.name.lower()
