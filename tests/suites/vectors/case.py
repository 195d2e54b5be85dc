"""One piece of evidence among the test vectors, and what must come of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """What evidence proves: the fields of the verifiers' ``InstanceIdentity``, written down by hand."""

    id: str
    owner: str
    instance_id: str
    credential_id: str
    binding: str
    facts: Mapping[str, str] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()
    times: Mapping[str, int] = field(default_factory=dict)
    started_at: int | None = None

    @property
    def vector(self) -> dict[str, object]:
        """As it stands in the file."""
        return {
            "id": self.id,
            "owner": self.owner,
            "instance_id": self.instance_id,
            "credential_id": self.credential_id,
            "binding": self.binding,
            "facts": dict(self.facts),
            "names": [{"type": kind, "value": value} for kind, value in self.names],
            "times": dict(self.times),
            "started_at": self.started_at,
        }


@dataclass(frozen=True, slots=True)
class Case:
    """Evidence for the challenge ``example``.

    :ivar fields: the answer's members besides ``format``.
    :ivar outcome: ``proven``, ``malformed`` (HTTP 400), or the step that refuses it.
    """

    name: str
    format: str
    fields: Mapping[str, str]
    outcome: str
    identity: Identity | None = None

    @property
    def vector(self) -> dict[str, object]:
        """As it stands in the file."""
        found: dict[str, object] = {
            "name": self.name,
            "format": self.format,
            "fields": dict(self.fields),
            "evidence_sha256": self._digest(),
            "outcome": self.outcome,
        }
        return found if self.identity is None else {**found, "identity": self.identity.vector}

    def _digest(self) -> str:
        unbroken = {name: value.replace("\n", "") for name, value in self.fields.items()}
        return hashlib.sha256(json.dumps(unbroken, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
