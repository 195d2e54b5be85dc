"""The ca.toml of a new CA, with its comments."""

from __future__ import annotations

import json
from collections.abc import Iterable

_CONFIGURATION = """\
# The CA's configuration. A running server reads it again on SIGHUP; one that cannot be used leaves the old in force.

[ca]
name = {name}
# The names that clients may choose stay inside these domains, whatever a provisioner allows.
domains = {domains}
# Nobody gets a certificate for the CA's own names: the host in url, issuer_domain, the address in listen, and these.
# reserved = ["proxy.local", "10.0.0.5"]
# How long certificates are valid, unless an order asks for another time between the two limits.
# lifetime = "24h"
# minimum_lifetime = "5m"
# maximum_lifetime = "24h"
# Which keys certificates may have, and which algorithms accounts may sign with; all of them by default.
# key_types = ["P-256", "P-384", "P-521", "Ed25519", "RSA"]
# minimum_rsa_bits = 2048
# Revocation lists and OCSP: certificates say where, and the server answers there.
# crl = true
# Chains to other roots, as acme-iid-ca cross-sign makes them.
# alternate_chains = ["certs/alternate.crt"]
# account_algorithms = ["ES256", "ES384", "ES512", "EdDSA", "RS256"]

[server]
# The URL that clients use. Every address in the protocol begins with it.
url = {url}
listen = {listen}

# Revocation lists and OCSP by plain HTTP, on an address of their own, as relying parties fetch them. The URLs are those
# that certificates say; by default they follow from the host in url above and the port in listen.
{status}
[store]
# The database: a file in this directory, or postgresql://user@host/database, for several servers. url_file names a
# file with the URL in it, where it has a password.
{store}

# How much may be asked for; these are the defaults, and "off" turns one off.
# [limits]
# accounts_per_address = "100/1h"
# orders_per_account = "300/1h"
# open_orders_per_account = 100
# certificates_per_instance = "100/1d"
# certificates_per_name = "off"

# How long things stay in the store after their end: what led to no certificate, and certificates with their orders.
# [retention]
# orders = "7d"
# certificates = "90d"

# Kinds of certificates that orders ask for by name; one that asks for none gets the first.
# [profile.server]
# description = "TLS servers"
# usages = ["server"]
# lifetime = "12h"

# Whose instances get certificates; acme-iid-ca provisioner add writes these tables.
# [[provisioner]]
# name = "AWS IID Provisioner"
# type = "AWS"
# accounts = ["123456789042"]
"""
_STATUS = """\
# [status]
# listen = "0.0.0.0:80"
# crl_url = "http://pki.example.com/crl/{issuer}"
# issuer_url = "http://pki.example.com/issuer/{issuer}.cer"
# ocsp_url = "http://pki.example.com/ocsp"
# root_crl_url = "http://pki.example.com/root-crl/{root}"
"""


def text(
    name: str, domains: Iterable[str], url: str, listen: str, root_crl_url: str | None, store: tuple[str, str]
) -> str:
    """Return the file's text.

    :param root_crl_url: where the root's revocation list will be, if that is known.
    :param store: the key in ``[store]`` that says where the store is, and its value.
    """
    key, place = store
    return _CONFIGURATION.format(
        name=_quoted(name),
        domains="[" + ", ".join(_quoted(domain) for domain in dict.fromkeys(domains)) + "]",
        url=_quoted(url),
        listen=_quoted(listen),
        status=_STATUS if root_crl_url is None else f"[status]\nroot_crl_url = {_quoted(root_crl_url)}\n",
        store=f"{key} = {_quoted(place)}",
    )


def _quoted(text: str) -> str:
    # For printable text, which is all that comes here, JSON's strings are TOML's.
    return json.dumps(text, ensure_ascii=False)
