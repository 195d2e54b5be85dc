"""The standard challenges: what a host shows to the network, looked for. Knows no store and no request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from acme_iid.policy.hosts import HostProvisioner
from acme_iid.validation import caa, dns01, dns_persist01, http01, tls_alpn01
from acme_iid.validation.attempt import Attempt

VALIDATORS: Mapping[str, Callable[[Attempt, HostProvisioner], int | None]] = {
    "http-01": http01.validate,
    "dns-01": dns01.validate,
    "tls-alpn-01": tls_alpn01.validate,
    "dns-account-01": dns01.validate_of_account,
    "dns-persist-01": dns_persist01.validate,
}
"""A challenge's type, and what takes one look; see :func:`validate`."""


def validate(attempt: Attempt, host: HostProvisioner) -> int | None:
    """Look once, for twice :data:`attempt.SECONDS` at most.

    :param host: the provisioner under which it is looked: where to connect to, and which DNS to ask.
    :returns: until when what was found may be relied on, seconds since the epoch; None for as long as ever.
    :raises ValidationError: if what is there is not what the challenge asks for, or nothing is.
    """
    until = VALIDATORS[attempt.kind](attempt, host)
    if host.caa:
        caa.check(attempt, host)
    return until
