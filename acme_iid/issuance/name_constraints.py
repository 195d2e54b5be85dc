"""The name constraints of the CA's certificates: made for new ones, and read for the policy.

The constraints of an issuer limit the names that it can vouch for, whoever holds its key. They are critical, and stand
in the intermediate: some verifiers ignore those of a root (RFC 5280 section 6.1.1 takes a trust anchor's as optional),
and each new domain would ask for a new root.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from cryptography import x509

from acme_iid.issuance.keys import CAFileError
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.name_constraints import NameConstraints
from acme_iid.protocol.addresses import Network
from acme_iid.protocol.identifiers import Identifier

PRIVATE_NETWORKS: tuple[Network, ...] = (
    *map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    ipaddress.IPv6Network("fc00::/7"),
)
"""The addresses that are permitted unless something else is said (RFC 1918, RFC 4193)."""

_NO_URI = x509.UniformResourceIdentifier("uri.invalid")
"""A host that nobody has (RFC 2606). With it as the only permitted one, no URI is: some OpenSSL let a URI whose host is
an address pass where URIs are only excluded."""
_ALL_ADDRESSES = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))


def of_chain(
    issuer: x509.Certificate, above: Sequence[x509.Certificate], root: x509.Certificate
) -> tuple[NameConstraints, ...]:
    """Return the constraints in one chain: a certificate is good where each of them permits its names.

    :param above: the certificates between the issuer and the root.
    :raises CAFileError: if the extensions of a certificate cannot be read.
    """
    return read(
        [
            ("the CA's certificate", issuer),
            *(("a CA above this one", certificate) for certificate in above),
            ("the CA's root", root),
        ],
        rotating=issuer,
    )


def read(
    holders: Iterable[tuple[str, x509.Certificate]], rotating: x509.Certificate | None = None
) -> tuple[NameConstraints, ...]:
    """Return the constraints of certificates, of which each comes with its name in words.

    :param rotating: the one that the operator can replace by a next issuer.
    :raises CAFileError: if the extensions of a certificate cannot be read.
    """
    found = (_of_certificate(holder, certificate, certificate is rotating) for holder, certificate in holders)
    return tuple(entry for entry in found if entry is not None)


def are_about_subjects(certificates: Iterable[x509.Certificate]) -> bool:
    """Whether the constraints of one of several certificates are about directory names.

    Such constraints apply to the subject of a certificate below, unless it is empty (RFC 5280 section 4.2.1.10).

    :raises CAFileError: if the extensions of a certificate cannot be read.
    """
    return any(
        isinstance(name, x509.DirectoryName)
        for certificate in certificates
        if (extension := _extension("a CA certificate", certificate)) is not None
        for name in (*(extension.permitted_subtrees or ()), *(extension.excluded_subtrees or ()))
    )


def _of_certificate(holder: str, certificate: x509.Certificate, rotates: bool) -> NameConstraints | None:
    constraints = _extension(holder, certificate)
    if constraints is None:
        return None
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    return NameConstraints(
        holder,
        # A type of names without a permitted subtree is not constrained.
        permitted_domains=_domains(permitted) or None,
        excluded_domains=_domains(excluded),
        permitted_networks=_networks(permitted) or None,
        excluded_networks=_networks(excluded),
        rotates=rotates,
    )


def _extension(holder: str, certificate: x509.Certificate) -> x509.NameConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise CAFileError(f"{holder} has extensions that cannot be read: {error}") from error


def _domains(subtrees: Sequence[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(name.value.lower() for name in subtrees if isinstance(name, x509.DNSName))


def _networks(subtrees: Sequence[x509.GeneralName]) -> tuple[Network, ...]:
    values = (name.value for name in subtrees if isinstance(name, x509.IPAddress))
    return tuple(value for value in values if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network))


def constraints(
    domains: Iterable[str], networks: Sequence[Network], server: Iterable[Identifier] = ()
) -> x509.NameConstraints:
    """Return the constraints of an issuer (RFC 5280 section 4.2.1.10).

    The names that clouds give to their instances are permitted, too, but for bare ids: no domain covers these.

    :param domains: canonical dns names; each is permitted with all names below it.
    :param networks: the addresses that are permitted. Without any, and without an address of the server, all addresses
        are excluded: constraints that say nothing of addresses leave every address free.
    :param server: the CA's own names and addresses.
    """
    own = tuple(server)
    names = dict.fromkeys(
        (
            *domains,
            *(domain for cloud in CLOUD_TYPES.values() for domain in cloud.own_domains),
            *(identifier.value for identifier in own if identifier.type == "dns"),
        )
    )
    addresses = dict.fromkeys(
        (*networks, *(ipaddress.ip_network(identifier.value) for identifier in own if identifier.type == "ip"))
    )
    permitted: list[x509.GeneralName] = [
        *(x509.DNSName(domain) for domain in _widest(names)),
        *(x509.IPAddress(network) for network in _largest(addresses)),
    ]
    return x509.NameConstraints(
        permitted_subtrees=[*permitted, _NO_URI],
        # An exclusion beats every permission, so there is one only where nothing is permitted.
        excluded_subtrees=None if addresses else [x509.IPAddress(network) for network in _ALL_ADDRESSES],
    )


def _widest(domains: Iterable[str]) -> list[str]:
    """Domains without those that others of them cover."""
    every = list(domains)
    return [domain for domain in every if not any(domain.endswith(f".{other}") for other in every)]


def _largest(networks: Iterable[Network]) -> list[Network]:
    """Networks without those that others of them cover."""
    every = list(networks)
    return [network for network in every if not any(_covers(other, network) for other in every)]


def _covers(network: Network, other: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return network != other and other.subnet_of(network)
    if isinstance(network, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return network != other and other.subnet_of(network)
    return False


def permitted_texts(constraints: x509.NameConstraints) -> list[str]:
    """Return what constraints as :func:`constraints` makes them permit: domains, and then networks."""
    return [str(name.value) for name in constraints.permitted_subtrees or () if name != _NO_URI]


def described(certificate: x509.Certificate) -> list[str]:
    """Return a certificate's name constraints as texts, such as ``+local`` and ``-0.0.0.0/0``; none if it has none."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    return [
        f"{sign}{getattr(name, 'value', name)}"
        for sign, names in (("+", extension.permitted_subtrees), ("-", extension.excluded_subtrees))
        for name in names or ()
    ]
