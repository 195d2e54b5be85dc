"""An external account key in the forms that other people's clients take it."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client is told.

    :ivar server: the directory's URL.
    :ivar root: the file with the CA's root, which the client has to trust for this server.
    """

    server: str
    root: Path
    kid: str
    hmac_key: str
    names: tuple[str, ...]


def _text(given: Settings) -> str:
    return (
        f"Server:    {given.server}\n"
        f"CA bundle: {given.root}\n"
        f"Key id:    {given.kid}\n"
        f"HMAC key:  {given.hmac_key}\n"
        f"Names:     {', '.join(given.names)}\n"
    )


def _env(given: Settings) -> str:
    values = {
        "ACME_SERVER": given.server,
        "ACME_CA_BUNDLE": str(given.root),
        "ACME_EAB_KID": given.kid,
        "ACME_EAB_HMAC_KEY": given.hmac_key,
        "ACME_NAMES": " ".join(given.names),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _caddy(given: Settings) -> str:
    # The issuer is named, or Caddy would make certificates for names below .local and .internal by itself.
    return (
        f"{', '.join(given.names)} {{\n"
        "\ttls {\n"
        f"\t\tissuer acme {given.server} {{\n"
        f'\t\t\ttrusted_roots "{given.root}"\n'
        f"\t\t\teab {given.kid} {given.hmac_key}\n"
        "\t\t}\n"
        "\t}\n"
        "}\n"
    )


def _traefik(given: Settings) -> str:
    return (
        "certificatesResolvers:\n"
        "  acme-iid:\n"
        "    acme:\n"
        f"      caServer: {given.server}\n"
        f"      caCertificates: ['{given.root}']\n"
        "      eab:\n"
        f"        kid: '{given.kid}'\n"
        f"        hmacEncoded: '{given.hmac_key}'\n"
        "      storage: acme.json\n"
        "      tlsChallenge: {}\n"
    )


def _domains(given: Settings, option: str) -> str:
    return " ".join(f"{option} {shlex.quote(name)}" for name in given.names)


def _lego(given: Settings) -> str:
    return (
        f"LEGO_CA_CERTIFICATES={shlex.quote(str(given.root))} lego --accept-tos --server {given.server} "
        f"--email acme@{given.names[0].removeprefix('*.')} --eab --kid {given.kid} --hmac {given.hmac_key} "
        f"{_domains(given, '--domains')} --http run\n"
    )


def _acme_sh(given: Settings) -> str:
    trusting = f"--server {given.server} --ca-bundle {shlex.quote(str(given.root))}"
    return (
        f"acme.sh --register-account {trusting} --eab-kid {given.kid} --eab-hmac-key {given.hmac_key}\n"
        f"acme.sh --issue {trusting} --standalone {_domains(given, '--domain')}\n"
    )


def _cert_manager(given: Settings) -> str:
    bundle = base64.b64encode(given.root.read_bytes()).decode("ascii")
    return (
        "apiVersion: v1\n"
        "kind: Secret\n"
        "metadata: {name: acme-iid-eab}\n"
        f"stringData: {{secret: '{given.hmac_key}'}}\n"
        "---\n"
        "apiVersion: cert-manager.io/v1\n"
        "kind: Issuer\n"
        "metadata: {name: acme-iid}\n"
        "spec:\n"
        "  acme:\n"
        f"    server: {given.server}\n"
        f"    caBundle: {bundle}\n"
        "    privateKeySecretRef: {name: acme-iid-account}\n"
        "    externalAccountBinding:\n"
        f"      keyID: '{given.kid}'\n"
        "      keySecretRef: {name: acme-iid-eab, key: secret}\n"
        "    solvers:\n"
        "      - http01: {ingress: {}}\n"
    )


def _certbot(given: Settings) -> str:
    return (
        f"REQUESTS_CA_BUNDLE={shlex.quote(str(given.root))} certbot certonly --standalone --agree-tos "
        f"--register-unsafely-without-email --server {given.server} --eab-kid {given.kid} "
        f"--eab-hmac-key {given.hmac_key} {_domains(given, '--domain')}\n"
    )


def _uacme(given: Settings) -> str:
    names = " ".join(map(shlex.quote, given.names))
    return (
        f"# uacme trusts what the system does: cp {shlex.quote(str(given.root))} /usr/local/share/ca-certificates/ "
        "&& update-ca-certificates\n"
        f"uacme --acme-url {given.server} --eab {given.kid}:{given.hmac_key} --yes new\n"
        f"uacme --acme-url {given.server} issue {names}\n"
    )


def _dehydrated(given: Settings) -> str:
    return (
        f"CA={given.server}\n"
        f"CURL_OPTS={shlex.quote(f'--cacert {given.root}')}\n"
        f"EAB_KID={given.kid}\n"
        f"EAB_HMAC_KEY={given.hmac_key}\n"
    )


FORMATS: Mapping[str, Callable[[Settings], str]] = {
    "text": _text,
    "env": _env,
    "caddy": _caddy,
    "traefik": _traefik,
    "lego": _lego,
    "acme.sh": _acme_sh,
    "cert-manager": _cert_manager,
    "certbot": _certbot,
    "uacme": _uacme,
    "dehydrated": _dehydrated,
}
"""How the key is written for whom; names and keys have no characters that would need quoting in YAML or a Caddyfile."""
