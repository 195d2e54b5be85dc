"""Where the keys that a CA believes come from, beside those that the product carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acme_iid.attestation.trust import AzureTenant, TrustStore, WebIdentityIssuer


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """One AWS account's issuer of web identity tokens, and where its keys are; None for where AWS publishes them."""

    issuer: str
    account: str
    jwks: Path | str | None = None


@dataclass(frozen=True, slots=True)
class TrustSources:
    """Where the further keys that one provisioner believes come from.

    :ivar iid_roots: a PEM file: AWS's document keys, Azure's roots and issuing authorities.
    :ivar nitro_roots: a PEM file of roots of NitroTPM documents.
    :ivar jwks: a key set instead of the cloud's own, for CAs without egress: a file, or a URL.
    :ivar audience: the audience of managed identity tokens that are meant for this CA.
    :ivar tenants: the tenants whose managed identity tokens are believed.
    """

    provisioner: str
    type: str
    iid_roots: Path | None = None
    nitro_roots: Path | None = None
    jwks: Path | str | None = None
    web_identity: tuple[WebIdentity, ...] = ()
    audience: str | None = None
    tenants: tuple[str, ...] = ()


def trust_store(sources: Sequence[TrustSources]) -> TrustStore:
    """The pinned keys, and those that the provisioners' own files and key sets hold. Nothing is fetched yet.

    :raises ValueError: if a file holds no usable key.
    :raises OSError: if a file cannot be read.
    """
    google = [entry for entry in sources if entry.type == "GCP"]
    return TrustStore.load(
        _roots(sources, "AWS"),
        azure_roots=_roots(sources, "AZURE"),
        nitro_roots={entry.provisioner: entry.nitro_roots.read_bytes() for entry in sources if entry.nitro_roots},
        gcp_keys={entry.provisioner: _keys(entry.jwks) for entry in google if entry.jwks is not None},
        # A CA that pins key sets for all of its provisioners never asks Google.
        google=any(entry.jwks is None for entry in google),
        web_identity=[
            WebIdentityIssuer.of(
                entry.provisioner, issuer.issuer, issuer.account, None if issuer.jwks is None else _keys(issuer.jwks)
            )
            for entry in sources
            for issuer in entry.web_identity
        ],
        azure_tenants=[
            AzureTenant.of(
                entry.provisioner, tenant, entry.audience or "", None if entry.jwks is None else _keys(entry.jwks)
            )
            for entry in sources
            if entry.audience is not None
            for tenant in entry.tenants
        ],
    )


def _roots(sources: Sequence[TrustSources], kind: str) -> dict[str, bytes]:
    return {
        entry.provisioner: entry.iid_roots.read_bytes() for entry in sources if entry.type == kind and entry.iid_roots
    }


def _keys(source: Path | str) -> bytes | str:
    return source.read_bytes() if isinstance(source, Path) else source
