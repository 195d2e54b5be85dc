"""The errors that every package raises: typed here, turned into problem documents in web/problems.py.

Nothing in this module knows about HTTP responses or Flask. A layer below the web raises an
:class:`AcmeError` when the protocol has a name for what went wrong, and the verifiers raise an
:class:`AttestationError` that names the step at which the evidence is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

URN_PREFIX = "urn:ietf:params:acme:error:"


class Problem(Enum):
    """The ACME error types this server uses, each with its usual HTTP status.

    Source: RFC 8555 section 6.7 and the IANA registry "ACME Error Types"; ``alreadyReplaced`` is
    RFC 9773, ``invalidProfile`` the profiles draft. Where an RFC demands another status in one
    place, the raiser says so with ``AcmeError(status=...)``.
    """

    ACCOUNT_DOES_NOT_EXIST = ("accountDoesNotExist", 400)
    ALREADY_REPLACED = ("alreadyReplaced", 409)
    ALREADY_REVOKED = ("alreadyRevoked", 400)
    BAD_CSR = ("badCSR", 400)
    BAD_NONCE = ("badNonce", 400)
    BAD_PUBLIC_KEY = ("badPublicKey", 400)
    BAD_REVOCATION_REASON = ("badRevocationReason", 400)
    BAD_SIGNATURE_ALGORITHM = ("badSignatureAlgorithm", 400)
    CAA = ("caa", 400)
    CONNECTION = ("connection", 400)
    DNS = ("dns", 400)
    EXTERNAL_ACCOUNT_REQUIRED = ("externalAccountRequired", 403)
    INCORRECT_RESPONSE = ("incorrectResponse", 400)
    INVALID_CONTACT = ("invalidContact", 400)
    INVALID_PROFILE = ("invalidProfile", 400)
    MALFORMED = ("malformed", 400)
    ORDER_NOT_READY = ("orderNotReady", 403)
    RATE_LIMITED = ("rateLimited", 429)
    REJECTED_IDENTIFIER = ("rejectedIdentifier", 400)
    SERVER_INTERNAL = ("serverInternal", 500)
    TLS = ("tls", 400)
    UNAUTHORIZED = ("unauthorized", 403)
    UNSUPPORTED_CONTACT = ("unsupportedContact", 400)
    UNSUPPORTED_IDENTIFIER = ("unsupportedIdentifier", 400)
    USER_ACTION_REQUIRED = ("userActionRequired", 403)

    def __init__(self, code: str, status: int) -> None:
        self.code = code
        self.status = status

    @property
    def urn(self) -> str:
        """The error type as it stands in a problem document."""
        return URN_PREFIX + self.code


class Remedy(Enum):
    """The act that a refused request needs before it can be granted, where asking again is of no use.

    The value is the word in a problem document's member ``remedy`` (rfc-notes/iid-01.md, "Errors").
    """

    NEW_KEY = "newKey"
    """The client makes another key for the certificate."""
    OPERATOR = "operator"
    """An operator of the CA changes a rule, or releases, unblocks or reopens something."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: the reason why an order or challenge failed, or one of several faults in a request.

    ``identifier`` is the identifier that it concerns, as ``(type, value)`` on the wire (RFC 8555 section 6.7.1).
    """

    problem: Problem
    detail: str
    identifier: tuple[str, str] | None = None
    remedy: Remedy | None = None


class AcmeError(Exception):
    """A request failed in a way that ACME has a name for.

    :param problem: the error type.
    :param detail: a sentence for a person: what was wrong and what to do about it.
    :param status: the HTTP status where it is not the problem's usual one.
    :param subproblems: the single faults, where there are several.
    :param headers: further response headers (``Location``, ``Retry-After``, ``Allow``).
    :param members: further members of the problem document (``algorithms``).
    :param remedy: the act that is needed first; None where asking again may do.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str,
        *,
        status: int | None = None,
        subproblems: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.status = problem.status if status is None else status
        self.subproblems = tuple(subproblems)
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        self.remedy = remedy


class Step(Enum):
    """The steps in which evidence is judged, in their order (rfc-notes/iid-01.md, "Verification").

    The value is the word that error messages, events and ``acme-iid verify`` use.
    """

    DECODE = "decoding"
    SIGNATURE = "signature"
    FRESHNESS = "freshness"
    BINDING = "binding"
    ADMISSION = "admission"
    NAMES = "names"
    FIRST_USE = "first use"


class AttestationError(Exception):
    """Well-formed evidence that is refused: the challenge becomes invalid.

    :param step: the step at which it is refused.
    :param detail: the rule that refuses it, and an operator's remedy. It is shown to the sender of the
        evidence, so it never holds another instance's data.
    :param remedy: the act that is needed first; None where other evidence may do.
    """

    def __init__(self, step: Step, detail: str, remedy: Remedy | None = None) -> None:
        super().__init__(detail)
        self.step = step
        self.detail = detail
        self.remedy = remedy


class MalformedEvidenceError(AttestationError):
    """An answer that is not evidence at all: HTTP 400 ``malformed``, the challenge stays pending."""

    def __init__(self, detail: str) -> None:
        super().__init__(Step.DECODE, detail)


class TrustUnavailableError(Exception):
    """Our own trouble: a key set that is needed is not available now. HTTP 503, the challenge stays pending."""


class SignerError(Exception):
    """A key in a token or behind a program gives no signature now; the text names its place, and never a PIN.

    HTTP 503, nothing was changed.
    """


class SignerBusyError(SignerError):
    """So many wait for such a key already that it was not asked: this says nothing of the key."""


class StoreUnavailableError(Exception):
    """The store cannot take or give data now (busy, disk full, gone). HTTP 503, nothing was changed."""


class StoreBusyError(StoreUnavailableError):
    """Others were writing for as long as could be waited; the store itself has no fault. Nothing was changed."""


class StoreConflictError(StoreUnavailableError):
    """The store let another transaction go first, and nothing was changed: the whole use case can run again."""


class FencedError(StoreUnavailableError):
    """A newer release has changed the store, and this program may not write to it any more. Nothing was changed."""


class OutcomeUnknownError(StoreUnavailableError):
    """The store went away while it committed: the change may have been made. HTTP 503."""


class UnstorableTextError(Exception):
    """A text that no store can hold (it has a NUL in it), so that it names nothing: HTTP 400 ``malformed``."""


class RequestError(Exception):
    """An operator's request cannot be carried out; the text says why."""


class NotFoundError(RequestError):
    """An operator names something that is not there."""


class ConflictError(RequestError):
    """An operator asks for something that cannot be done as things are: it is done already, or was undone."""


class ServerError(Exception):
    """The server cannot start or go on; the text says why and what to do."""
