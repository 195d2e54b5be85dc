"""The standard challenges: each validates what a host shows to the network. It knows no store and no request."""

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
"""The functions that validate once, by the challenge's type; see :func:`validate`."""


def validate(attempt: Attempt, host: HostProvisioner) -> int | None:
    """Validate once, within twice :data:`attempt.SECONDS`.

    :param host: the provisioner, with the networks to connect to and the DNS to ask.
    :returns: the end of the time in which the proof may be relied on, seconds since the epoch; None for no end.
    :raises ValidationError: if the host does not show what the challenge asks for.
    """
    until = VALIDATORS[attempt.kind](attempt, host)
    if host.caa:
        caa.check(attempt, host)
    return until
