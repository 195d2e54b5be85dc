"""Refusals that only an operator can change, and how long a CA is left alone after one.

A rule that does not admit this machine, a block, a name that a revocation closed, an instance that is another
account's: such an answer stays what it is until a person acts, and each further request is a proof for the CA to check
and a refusal to record. So the next try is hours away, for the daemon and for a timer that starts ``acme-iid renew``
alike: the refusal is kept beside the records. It is about one certificate; once another one is in its place, it stands
no longer.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from acme_iid.errors import Remedy
from acme_iid_client.acme.connection import CaError
from acme_iid_client.storage import directories, records
from acme_iid_client.x509.certificates import fingerprint

_CODES = frozenset(
    {
        "badCSR",
        "badPublicKey",
        "externalAccountRequired",
        "invalidProfile",
        "rejectedIdentifier",
        "unauthorized",
        "unsupportedIdentifier",
        "userActionRequired",
    }
)
_STEP = re.compile(r"refused at step '([a-z ]+)'")
_PASSING_STEPS = frozenset({"decoding", "signature", "freshness", "binding"})
"""Steps at which the CA refuses evidence that a new request replaces (rfc-notes/iid-01.md, "Verification")."""
_AGAIN = ("make a new order", "order again")
_OPERATOR = "an operator"

_PAUSES = (3600.0, 7200.0, 14400.0)
"""Seconds until the next try: after the first refusal, the second, and each further one."""
_SPREAD = 1.25


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal that stands.

    :ivar text: the CA's sentence.
    :ivar code: the error type, as :class:`CaError` has it.
    :ivar tries: the number of requests in a row that were refused.
    :ivar until: when the CA is asked again, seconds since the epoch.
    """

    text: str
    code: str
    tries: int
    until: float


class RefusedError(CaError):
    """A refusal that only an operator can change.

    :ivar refusal: the refusal as it is kept.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text, refusal.code)
        self.refusal = refusal


def lasts(error: CaError) -> bool:
    """Whether only an operator, here or at the CA, can change a refusal."""
    if error.remedy is not None:
        return error.remedy is Remedy.OPERATOR
    text = str(error)
    if error.code not in _CODES or any(word in text for word in _AGAIN):
        return False
    step = _STEP.search(text)
    return step is None or step[1] not in _PASSING_STEPS or _OPERATOR in text


def keep(state: Path, certificate: Path, leaf: x509.Certificate, error: CaError, now: float) -> Refusal:
    """Keep a refusal to renew a certificate.

    :param certificate: its file.
    :param leaf: the certificate in the file.
    :param now: seconds since the epoch.
    """
    before = _load(state, certificate, leaf)
    tries = 1 if before is None else before.tries + 1
    pause = _PAUSES[min(tries, len(_PAUSES)) - 1] * random.uniform(1, _SPREAD)  # noqa: S311 - no secret
    refusal = Refusal(str(error), error.code, tries, now + pause)
    content = {
        "certificate": str(certificate.absolute()),
        "fingerprint": fingerprint(leaf),
        "text": refusal.text,
        "code": refusal.code,
        "tries": tries,
        "until": refusal.until,
    }
    # Without it, the CA is asked sooner than need be.
    with contextlib.suppress(OSError):
        directories.make_directory(_directory(state))
        directories.write_file(_file(state, certificate), json.dumps(content, indent=2).encode() + b"\n")
    return refusal


def standing(state: Path, certificate: Path, leaf: x509.Certificate, now: float) -> Refusal | None:
    """The refusal that keeps the CA from being asked now; None if no refusal stands.

    :param certificate: the certificate's file.
    :param leaf: the certificate in the file.
    :param now: seconds since the epoch.
    """
    refusal = _load(state, certificate, leaf)
    # One that would last longer than any was written by another clock.
    if refusal is None or not now < refusal.until <= now + _PAUSES[-1] * _SPREAD:
        return None
    return refusal


def forget(state: Path, certificate: Path) -> None:
    """A request was granted."""
    with contextlib.suppress(OSError):
        _file(state, certificate).unlink(missing_ok=True)


def _load(state: Path, certificate: Path, leaf: x509.Certificate) -> Refusal | None:
    try:
        content = json.loads(_file(state, certificate).read_bytes())
        if content["fingerprint"] != fingerprint(leaf):
            return None
        return Refusal(str(content["text"]), str(content["code"]), int(content["tries"]), float(content["until"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _directory(state: Path) -> Path:
    return state / "refusals"


def _file(state: Path, certificate: Path) -> Path:
    return records.file_of(_directory(state), certificate)
