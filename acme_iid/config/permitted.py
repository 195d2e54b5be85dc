"""What ca.toml promises has to be permitted by the chain that signs (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

from collections.abc import Sequence

from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.policy.clouds import CLOUD_TYPES
from acme_iid.policy.name_constraints import NameConstraints


def require(config: Config, constraints: Sequence[NameConstraints]) -> None:
    """Refuse domains, and names of the server itself, that a chain does not permit.

    :param constraints: those of the issuer that signs, and of the certificates above it.
    :raises ConfigError: with the first one and the remedy.
    """
    fault = refusal(config, constraints)
    if fault is not None:
        raise ConfigError(f"{config.file}: {fault}")


def refusal(config: Config, constraints: Sequence[NameConstraints]) -> str | None:
    """The reason why a chain does not fit a ca.toml, with the remedy; None if it does."""
    for entry in constraints:
        for domain in config.ca.domains:
            if (reason := entry.refusal_of_domain(domain)) is not None:
                remedy = f"Take it out, or {_wider(entry, f' --domain {domain}')}"
                return f"the domain {domain} in [ca] domains is wider than the name constraints: {reason}. {remedy}"
        for name in config.server.names:
            if (reason := entry.refusal(name)) is not None:
                remedy = f"Correct [server] url, or {_wider(entry, '')}"
                return f"the name constraints shut out the server itself, {name}: {reason}. {remedy}"
    return None


def unlisted(config: Config, constraints: Sequence[NameConstraints]) -> tuple[str, ...]:
    """The domains that a chain permits by name and ``[ca] domains`` does not list, nor a part of them.

    Not those of clouds and of the server itself, which every issuer permits.
    """
    own = (
        *(domain for cloud in CLOUD_TYPES.values() for domain in cloud.own_domains),
        *(name.value for name in config.namespace.reserved if name.type == "dns"),
    )
    named = (domain.removeprefix(".") for entry in constraints for domain in entry.permitted_domains or () if domain)
    return tuple(
        domain
        for domain in dict.fromkeys(named)
        if all(entry.refusal_of_domain(domain) is None for entry in constraints)
        and not any(_is_in(domain, listed) for listed in (*config.ca.domains, *own))
        and not any(_is_in(listed, domain) for listed in config.ca.domains)
    )


def _is_in(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _wider(constraints: NameConstraints, option: str) -> str:
    if not constraints.rotates:
        return f"have another certificate made in the place of {constraints.holder}"
    return (
        f"make an issuer that permits it (acme-iid-ca issuer rotate prepare{option}) and have it sign (issuer rotate "
        "activate)"
    )
