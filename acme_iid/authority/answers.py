"""The payload of an answer to an iid-01 challenge, read before anything in it is judged (rfc-notes/iid-01.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from acme_iid.attestation.identity import Evidence
from acme_iid.attestation.registry import VERIFIERS
from acme_iid.binding import EVIDENCE_FIELDS, MAX_ANSWER_BYTES
from acme_iid.errors import AcmeError, Problem

_FIELDS = frozenset({"format", "provisioner", *EVIDENCE_FIELDS})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's payload, read: evidence and the provisioner to try alone, if named."""

    evidence: Evidence
    provisioner: str | None
    digest: str
    """SHA-256 of the evidence in hex, for the record: the evidence itself is never kept. Hashed is a JSON object of
    the evidence's fields, sorted, without blanks, and without the line ends that AWS puts into base64: what else
    stands in the answer changes nothing."""


def parse(payload: Mapping[str, object], raw: bytes) -> Answer:
    """Read an answer; nothing in it is believed yet.

    :param raw: the payload's bytes, for their size.
    :raises AcmeError: ``malformed``: the challenge stays pending (RFC 8555 section 7.5.1).
    """
    if len(raw) > MAX_ANSWER_BYTES:
        raise AcmeError(Problem.MALFORMED, f"the answer is {len(raw)} bytes long; {MAX_ANSWER_BYTES} is the limit")
    fields: dict[str, str] = {}
    for name in _FIELDS & payload.keys():  # others are ignored, as RFC 8555 has it for every payload
        value = payload[name]
        if not isinstance(value, str):
            raise AcmeError(Problem.MALFORMED, f"the answer's {name!r} is not a string")
        fields[name] = value
    kind, provisioner = fields.pop("format", None), fields.pop("provisioner", None)
    if kind is None:
        raise AcmeError(Problem.MALFORMED, "the answer has no 'format'; the challenge's 'formats' says which it takes")
    if kind not in VERIFIERS:
        raise AcmeError(Problem.MALFORMED, f"evidence of format {kind[:32]!a} is not known to this server")
    return Answer(Evidence(kind, fields), provisioner, _digest(fields))


def _digest(fields: Mapping[str, str]) -> str:
    unbroken = {name: value.replace("\n", "") for name, value in fields.items()}
    text = json.dumps(unbroken, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
