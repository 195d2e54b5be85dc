"""The fields of an answer: checks their names, decodes their text in its one exact form, and reads the documents."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from acme_iid.binding import MAX_ANSWER_BYTES, from_base64url
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid.protocol import strict_json

MAX_DOCUMENT_BYTES = 16 * 1024
"""The size of a signed document; the clouds' have about one thousand octets."""


def check(fields: Mapping[str, str], required: tuple[str, ...], name: str, optional: tuple[str, ...] = ()) -> None:
    """Refuse evidence whose fields are others than ``required`` and, at will, ``optional``.

    :param name: the format, for the sentence.
    :raises MalformedEvidenceError: naming the field.
    """
    for missing in required:
        if missing not in fields:
            raise MalformedEvidenceError(f"{name} evidence has the field {missing!r}, which is missing")
    for extra in fields:
        if extra in required or extra in optional:
            continue
        if extra == "document":
            raise MalformedEvidenceError(
                f"{name} evidence holds its document inside the CMS; the field 'document' beside it is never an "
                "alternative and has to go"
            )
        raise MalformedEvidenceError(f"the field {extra[:32]!a} does not belong to {name} evidence")


def decode_base64(text: str, field: str) -> bytes:
    """Standard base64 in one line or, as AWS's metadata service serves it, in lines that end with a newline.

    :raises MalformedEvidenceError: naming ``field``.
    """
    if text.startswith("\n") or "\n\n" in text:
        raise MalformedEvidenceError(f"the field {field!r} has an empty line")
    text = text.replace("\n", "")
    _check_length(text, field)
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise MalformedEvidenceError(f"the field {field!r} is not base64: {error}") from error
    # Decoders let unused bits pass.
    if base64.standard_b64encode(data) != text.encode("ascii"):
        raise MalformedEvidenceError(f"the field {field!r} is not base64 in its one exact form")
    return data


def decode_base64url(text: str, field: str) -> bytes:
    """base64url without padding, as everywhere in ACME (RFC 8555 section 6.1).

    :raises MalformedEvidenceError: naming ``field``.
    """
    if "=" in text:
        raise MalformedEvidenceError(f"the field {field!r} is padded; base64url in ACME has no '='")
    _check_length(text, field)
    try:
        return from_base64url(text)
    except ValueError as error:
        raise MalformedEvidenceError(f"the field {field!r} {error}") from error


def _check_length(text: str, field: str) -> None:
    if not text or len(text) > MAX_ANSWER_BYTES:
        raise MalformedEvidenceError(f"the field {field!r} is empty or longer than {MAX_ANSWER_BYTES} characters")


def json_document(content: bytes) -> dict[str, object]:
    """The members of a document that a cloud signed.

    :raises AttestationError: step decoding, if it is not one JSON object that every parser reads the same way.
    """
    try:
        document = strict_json.loads(content, max_depth=4, max_bytes=MAX_DOCUMENT_BYTES)
    except ValueError as error:
        raise AttestationError(Step.DECODE, f"the document is refused: {error}") from error
    if not isinstance(document, dict):
        raise AttestationError(Step.DECODE, "the document is not a JSON object")
    return document
