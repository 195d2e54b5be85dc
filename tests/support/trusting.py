"""Trust stores for tests of evidence: pinned keys, and those that operators of provisioners give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from acme_iid.attestation.aws_trust import AwsTrust, WebIdentityIssuer
from acme_iid.attestation.azure_trust import AzureTenant, AzureTrust
from acme_iid.attestation.gcp_trust import GcpTrust
from acme_iid.attestation.identity import Claims, InstanceIdentity, Verifier
from acme_iid.attestation.keysets import KeySource
from acme_iid.attestation.trust import GivenKeys, TrustStore
from acme_iid.binding import Binding


def trusting(
    aws_roots: Mapping[str, bytes] | None = None,
    *,
    azure_roots: Mapping[str, bytes] | None = None,
    nitro_roots: Mapping[str, bytes] | None = None,
    gcp_keys: Mapping[str, KeySource] | None = None,
    google: bool = True,
    web_identity: Sequence[WebIdentityIssuer] = (),
    azure_tenants: Sequence[AzureTenant] = (),
) -> TrustStore:
    """The pinned keys of all clouds, and what is given to provisioners by their names.

    :param google: whether Google's own keys are believed, which are fetched when they are first needed.
    """
    documents = [GivenKeys(name, {"iid_roots": pem}) for name, pem in (aws_roots or {}).items()]
    nitro = [GivenKeys(name, {"nitro_roots": pem}) for name, pem in (nitro_roots or {}).items()]
    aws = AwsTrust.load([*documents, *nitro])
    azure = AzureTrust.load([GivenKeys(name, {"iid_roots": pem}) for name, pem in (azure_roots or {}).items()])
    sets = [GivenKeys(name, key_set=source) for name, source in (gcp_keys or {}).items()]
    gcp = GcpTrust.load([*([GivenKeys("google")] if google else []), *sets])
    return TrustStore(
        (replace(aws, web_identity=tuple(web_identity)), gcp, replace(azure, tenants=tuple(azure_tenants)))
    )


def judged(verifier: Verifier, claims: Claims, binding: Binding, now: int) -> InstanceIdentity:
    """The identity in claims that were found fresh and bound.

    :raises AttestationError: if they are not.
    """
    identity = verifier.identify(claims)
    verifier.judge(identity, claims, binding, now)
    return identity
