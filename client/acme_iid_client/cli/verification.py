"""Checking evidence offline, through the very functions that the CA uses.

The one module of the client that imports the verifiers; ``acme-iid verify`` alone needs it.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from dataclasses import dataclass

from acme_iid.attestation import cms, gcp
from acme_iid.attestation.azure_managed_identity import ManagedIdentityClaims
from acme_iid.attestation.identity import Claims, Evidence, InstanceIdentity
from acme_iid.attestation.registry import TRUST, VERIFIERS
from acme_iid.attestation.trust import GivenKeys, TokenIssuer, TrustStore
from acme_iid.binding import MAX_ANSWER_BYTES, base64url, binding, from_base64url
from acme_iid.errors import AttestationError, MalformedEvidenceError, Step
from acme_iid_client.errors import ClientError

MAX_BYTES = MAX_ANSWER_BYTES
"""The octets that are read of a file: what the CA would take."""

_GIVEN = "given"


@dataclass(frozen=True, slots=True)
class Believed:
    """The keys to believe besides those that the product carries.

    :ivar iid_roots: a PEM file's bytes: keys of AWS's documents, or roots and issuing authorities of Azure's.
    :ivar nitro_roots: a PEM file's bytes: roots of NitroTPM documents.
    :ivar jwks: the key set of a token's issuer, a JWK Set's bytes; without it, it is fetched from where the cloud
        publishes it.
    :ivar issuer: an AWS account's own issuer of web identity tokens, with ``account``.
    :ivar tenant: the tenant whose managed identity tokens count, with the ``audience`` that they have.
    """

    iid_roots: bytes | None = None
    nitro_roots: bytes | None = None
    jwks: bytes | None = None
    issuer: str | None = None
    account: str | None = None
    tenant: str | None = None
    audience: str | None = None

    def trust(self, kind: str) -> TrustStore:
        """The trust that evidence of a format is verified with.

        :raises ClientError: if something that it takes was not given, or a file holds no usable key.
        """
        if kind == "aws-web-identity" and (self.issuer is None or self.account is None):
            raise ClientError("A web identity token takes --issuer and --account: each account has its own.")
        if kind == "azure-managed-identity" and (self.tenant is None or self.audience is None):
            raise ClientError("A managed identity token takes --tenant, and --audience: the CA's resource.")
        issuers = () if self.issuer is None else (TokenIssuer(self.issuer, self.account or "", self.jwks),)
        given = GivenKeys(
            _GIVEN,
            {key: pem for key, pem in (("iid_roots", self.iid_roots), ("nitro_roots", self.nitro_roots)) if pem},
            self.jwks,
            issuers,
            texts={} if self.audience is None else {"audience": self.audience},
            lists={} if self.tenant is None else {"tenants": (self.tenant.lower(),)},
        )
        try:
            return TrustStore((TRUST[VERIFIERS[kind].cloud]([given]),))
        except ValueError as error:
            raise ClientError(f"{error}.") from error


@dataclass(frozen=True, slots=True)
class Verified:
    """Evidence that holds.

    :ivar given_key: whether the key that verified it is one that was given, not one that everybody believes.
    :ivar bound_to: the audience or nonce that it was made for; None if the format has neither.
    :ivar stale: why no CA takes it any more; None if one may.
    """

    identity: InstanceIdentity
    given_key: bool
    bound_to: str | None
    stale: str | None

    def as_json(self) -> dict[str, object]:
        """For programs to read: strings, and times in seconds."""
        identity = self.identity
        return {
            "verified": True,
            "cloud": identity.cloud,
            "format": identity.format,
            "id": identity.id,
            "facts": dict(identity.facts),
            "names": [str(name) for name in identity.names],
            "times": dict(identity.times),
            "key": identity.key_id,
            "key_from": "given" if self.given_key else "published",
            "binding": identity.binding,
            "bound_to": self.bound_to,
            "stale": self.stale,
        }

    def lines(self) -> list[str]:
        """For people to read."""
        identity = self.identity
        rows = [
            *((name.replace("_", " "), value) for name, value in identity.facts.items()),
            *(
                (name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value)))
                for name, value in identity.times.items()
            ),
            *(("name", str(name)) for name in identity.names),
            ("id", identity.id),
            ("signed by", f"{identity.key_id} ({'a key that was given' if self.given_key else 'the cloud'})"),
        ]
        if self.bound_to is not None:
            rows.append((identity.binding, self.bound_to))
        lines = [f"Verified: {identity.format}", *(f"  {label + ':':<15}{value}" for label, value in rows)]
        if self.bound_to is None:
            lines.append(
                "The evidence has no nonce, so it does not show when and by whom it was fetched. The CA ties "
                "the instance to the first account that sends it."
            )
        else:
            lines.append(
                f"Its {identity.binding} was not checked here: a CA compares it, and takes the evidence for one "
                "challenge and one account key only."
            )
        if self.stale is not None:
            lines.append(f"A CA refuses it now: {self.stale}.")
        return lines


def verify(content: bytes, kind: str | None, believed: Believed, now: int) -> Verified:
    """Authenticate evidence and read its facts. Whether it is fresh and bound is reported, and no condition.

    :param content: an answer to an iid-01 challenge as JSON, ``{"document": ..., "signature": ...}`` of AWS's or
        ``{"signature": ...}`` of Azure's metadata service as JSON, a token, or the base64 text of a CMS.
    :param kind: the format, where the content does not say it.
    :param now: seconds.
    :raises AttestationError: naming the step that refused it.
    :raises TrustUnavailableError: if a key set cannot be fetched.
    :raises ClientError: if the format is unknown, or a file of keys holds none.
    """
    if len(content) > MAX_BYTES:
        raise MalformedEvidenceError(f"the evidence is larger than {MAX_BYTES} octets, the most that the CA takes")
    evidence = read(content, kind)
    verifier = VERIFIERS.get(evidence.format)
    if verifier is None:
        raise ClientError(f"The format {evidence.format!r} is unknown; there are {', '.join(VERIFIERS)}.")
    claims = verifier.authenticate(evidence, believed.trust(evidence.format), now)
    identity = verifier.identify(claims)
    stale = None
    try:
        # The evidence was not asked for here, so it cannot be bound to a challenge from here.
        verifier.judge(identity, claims, binding("verify.offline"), now)
    except AttestationError as error:
        stale = error.detail if error.step is Step.FRESHNESS else None
    return Verified(identity, claims.scope is not None, _bound_to(claims, identity), stale)


def _bound_to(claims: Claims, identity: InstanceIdentity) -> str | None:
    """The audience or the nonce in verified claims, as text."""
    if identity.binding == "first use":
        return None
    inner = claims.attested if isinstance(claims, ManagedIdentityClaims) else claims
    value = None if inner is None else inner.document.get("aud" if identity.binding == "audience" else "nonce")
    return value.hex() if isinstance(value, bytes) else str(value)


def read(content: bytes, kind: str | None) -> Evidence:
    """The evidence in a file, and its format.

    :raises MalformedEvidenceError: if it is neither JSON with evidence nor text.
    """
    text = content.strip()
    if not text.startswith(b"{"):
        try:
            lines = text.decode("ascii")
        except UnicodeDecodeError as error:
            raise MalformedEvidenceError("the evidence is neither JSON nor text in base64") from error
        return Evidence(kind or _kind_of(lines), {"evidence": lines})
    try:
        members = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise MalformedEvidenceError(f"the evidence is not JSON: {error}") from error
    fields = dict(members)
    if len(fields) < len(members) or not all(isinstance(value, str) for value in fields.values()):
        raise MalformedEvidenceError("each member of the evidence has to be a string, and may occur once")
    named = fields.pop("format", None)
    fields.pop("provisioner", None)
    if kind is None and named is None:
        if fields.keys() == {"document", "signature"}:
            # As AWS's metadata service gives the two: the document is text there, and base64url in an answer.
            document = fields["document"].encode()
            fields["document"] = base64url(document)
            return Evidence("aws-signature", fields)
        if fields.keys() == {"encoding", "signature"}:
            return Evidence("azure-attested", {"evidence": fields["signature"]})
    return Evidence(kind or named or _kind_of(fields.get("evidence", "")), fields)


def _kind_of(text: str) -> str:
    """The format of a token or a CMS. A verifier refuses anything else."""
    if text.count(".") == 2:
        return "gcp-identity" if _issuer(text) == gcp.ISSUER else "aws-web-identity"
    try:
        read = cms.parse(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        return "aws-rsa2048"
    if read.digest == "sha1":
        return "aws-pkcs7"
    # AWS signs attributes, and Azure the content itself.
    return "azure-attested" if read.signed_attributes is None else "aws-rsa2048"


def _issuer(token: str) -> object:
    """The issuer that an unverified token names."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(from_base64url(payload))
    except (ValueError, RecursionError):
        return None
    return claims.get("iss") if isinstance(claims, dict) else None
