"""The name constraints of the CA's certificates, read for :mod:`acme_iid.policy.name_constraints`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from cryptography import x509

from acme_iid.issuance.alternates import AlternateChain
from acme_iid.issuance.keys import CAFileError
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.protocol.addresses import Network


def of_chains(
    root: x509.Certificate, intermediate: x509.Certificate, alternates: Iterable[AlternateChain] = ()
) -> tuple[NameConstraints, ...]:
    """The constraints in all chains that the CA hands out: a certificate is good where each of them permits its names.

    :param alternates: the chains from the intermediate to other roots.
    :raises CAFileError: if the extensions of a certificate cannot be read.
    """
    holders = [("the CA's certificate", intermediate), ("the CA's root", root)]
    for chain in alternates:
        holders += [
            (f"the certificate {certificate.subject.rfc4514_string()} of an alternate chain", certificate)
            for certificate in (*x509.load_pem_x509_certificates(chain.pem.encode()), chain.root)
        ]
    constraints = (_of_certificate(holder, certificate) for holder, certificate in holders)
    return tuple(entry for entry in constraints if entry is not None)


def _of_certificate(holder: str, certificate: x509.Certificate) -> NameConstraints | None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise CAFileError(f"{holder} has extensions that cannot be read: {error}") from error
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    return NameConstraints(
        holder,
        # A type of names without a permitted subtree is not constrained.
        permitted_domains=_domains(permitted) or None,
        excluded_domains=_domains(excluded),
        permitted_networks=_networks(permitted) or None,
        excluded_networks=_networks(excluded),
    )


def _domains(subtrees: Sequence[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(name.value.lower() for name in subtrees if isinstance(name, x509.DNSName))


def _networks(subtrees: Sequence[x509.GeneralName]) -> tuple[Network, ...]:
    values = (name.value for name in subtrees if isinstance(name, x509.IPAddress))
    return tuple(value for value in values if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network))
