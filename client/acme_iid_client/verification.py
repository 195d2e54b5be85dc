"""Checking evidence offline, through the very functions that the CA uses.

The one module of the client that imports the verifiers; ``acme-iid verify`` alone needs it.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from acme_iid import iid01
from acme_iid.attestation import VERIFIERS, cms
from acme_iid.attestation.identity import Evidence, InstanceIdentity
from acme_iid.attestation.trust import TrustStore
from acme_iid.errors import MalformedEvidenceError
from acme_iid_client.errors import ClientError

MAX_BYTES = iid01.MAX_ANSWER_BYTES
"""The octets that are read of a file: what the CA would take."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Evidence that holds.

    :ivar operator_key: whether the key that verified it is one that ``--iid-roots`` gave, not a pinned one.
    """

    identity: InstanceIdentity
    operator_key: bool

    def as_json(self) -> dict[str, object]:
        """For programs to read: strings, and times in seconds."""
        found = self.identity
        return {
            "verified": True,
            "cloud": found.cloud,
            "format": found.format,
            "id": found.id,
            "facts": dict(found.facts),
            "names": [str(name) for name in found.names],
            "times": dict(found.times),
            "key": found.key_id,
            "key_from": "--iid-roots" if self.operator_key else "pinned",
            "binding": found.binding,
        }

    def lines(self) -> list[str]:
        """For people to read."""
        found = self.identity
        rows = [
            *((name.replace("_", " "), value) for name, value in found.facts.items()),
            *((name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))) for name, value in found.times.items()),
            *(("name", str(name)) for name in found.names),
            ("id", found.id),
            ("signed by", f"{found.key_id} ({'from --iid-roots' if self.operator_key else 'pinned'})"),
        ]
        lines = [f"Verified: {found.format}", *(f"  {label + ':':<15}{value}" for label, value in rows)]
        if found.binding == "first use":
            lines.append(
                "It carries no nonce, so nothing here says when it was fetched or by whom: "
                "the CA ties the instance to the first account that sends it."
            )
        return lines


def verify(content: bytes, kind: str | None, roots: Mapping[str, bytes], now: int) -> Verified:
    """Authenticate evidence and read its facts.

    :param content: an answer to an iid-01 challenge as JSON, ``{"document": ..., "signature": ...}`` as JSON, or
        the base64 text of a CMS.
    :param kind: the format, where the content does not say it; a CMS says it by its digest.
    :param roots: label -> PEM file with keys to believe besides the pinned ones.
    :param now: seconds.
    :raises AttestationError: naming the step that refused it.
    :raises ClientError: if the format is unknown, or a file of keys holds none.
    """
    if len(content) > MAX_BYTES:
        raise MalformedEvidenceError(f"it is larger than {MAX_BYTES} octets, which the CA does not take")
    evidence = read(content, kind)
    verifier = VERIFIERS.get(evidence.format)
    if verifier is None:
        raise ClientError(f"The format {evidence.format!r} is unknown; there are {', '.join(VERIFIERS)}.")
    try:
        trust = TrustStore.load(roots)
    except ValueError as error:
        raise ClientError(f"{error}.") from error
    claims = verifier.authenticate(evidence, trust, now)
    # Bound to nothing, as nobody asked for it; AWS's documents cannot be bound anyway.
    identity = verifier.judge(claims, iid01.binding("verify.offline"), now)
    return Verified(identity, claims.scope is not None)


def read(content: bytes, kind: str | None) -> Evidence:
    """The evidence in a file, and its format.

    :raises MalformedEvidenceError: if it is neither JSON with evidence nor text.
    """
    text = content.strip()
    if not text.startswith(b"{"):
        try:
            lines = text.decode("ascii")
        except UnicodeDecodeError as error:
            raise MalformedEvidenceError("it is neither JSON nor base64 text") from error
        return Evidence(kind or _kind_of_cms(lines), {"evidence": lines})
    try:
        members = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidenceError(f"it is not JSON: {error}") from error
    fields = dict(members)
    if len(fields) < len(members) or not all(isinstance(value, str) for value in fields.values()):
        raise MalformedEvidenceError("each member of it may be there once, and is a string")
    named = fields.pop("format", None)
    fields.pop("provisioner", None)
    if kind is None and named is None and fields.keys() == {"document", "signature"}:
        # As the metadata service gives the two: the document is text there, and base64url in an answer.
        document = fields["document"].encode()
        fields["document"] = base64.urlsafe_b64encode(document).rstrip(b"=").decode("ascii")
        return Evidence("aws-signature", fields)
    return Evidence(kind or named or _kind_of_cms(fields.get("evidence", "")), fields)


def _kind_of_cms(text: str) -> str:
    """Which of AWS's two CMS formats it is. What is no CMS at all is left to the verifier to refuse."""
    try:
        weak = cms.parse(base64.b64decode("".join(text.split()), validate=True)).digest == "sha1"
    except (binascii.Error, ValueError):
        weak = False
    return "aws-pkcs7" if weak else "aws-rsa2048"
