"""An external account key in the forms that other people's clients take it."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from acme_iid_client.errors import ClientError

_PLAIN_PATH = re.compile(r"[A-Za-z0-9._/+-]+\Z")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a client.

    :ivar server: the directory's URL.
    :ivar root: the file with the CA's root, which the client has to trust for this server.
    """

    server: str
    root: Path
    kid: str
    hmac_key: str
    names: tuple[str, ...]


def _text(settings: Settings) -> str:
    values = {
        "Server": settings.server,
        "CA bundle": str(settings.root),
        "Key id": settings.kid,
        "HMAC key": settings.hmac_key,
        "Names": ", ".join(settings.names),
    }
    return "".join(f"{name + ':':<11}{_line(value)}\n" for name, value in values.items())


def _env(settings: Settings) -> str:
    values = {
        "ACME_SERVER": settings.server,
        "ACME_CA_BUNDLE": str(settings.root),
        "ACME_EAB_KID": settings.kid,
        "ACME_EAB_HMAC_KEY": settings.hmac_key,
        "ACME_NAMES": " ".join(settings.names),
    }
    return "".join(f"{name}={_shell(value)}\n" for name, value in values.items())


def _caddy(settings: Settings) -> str:
    # The issuer is named, or Caddy would make certificates for names below .local and .internal by itself.
    return (
        f"{', '.join(map(_site, settings.names))} {{\n"
        "\ttls {\n"
        f"\t\tissuer acme {_token(settings.server)} {{\n"
        f"\t\t\ttrusted_roots {_token(str(settings.root))}\n"
        f"\t\t\teab {_token(settings.kid)} {_token(settings.hmac_key)}\n"
        "\t\t}\n"
        "\t}\n"
        "}\n"
    )


def _traefik(settings: Settings) -> str:
    return (
        "certificatesResolvers:\n"
        "  acme-iid:\n"
        "    acme:\n"
        f"      caServer: {_yaml(settings.server)}\n"
        f"      caCertificates: [{_yaml(str(settings.root))}]\n"
        "      eab:\n"
        f"        kid: {_yaml(settings.kid)}\n"
        f"        hmacEncoded: {_yaml(settings.hmac_key)}\n"
        "      storage: acme.json\n"
        "      tlsChallenge: {}\n"
    )


def _domains(settings: Settings, option: str) -> str:
    return " ".join(f"{option} {_shell(name)}" for name in settings.names)


def _lego(settings: Settings) -> str:
    email = f"acme@{settings.names[0].removeprefix('*.')}"
    return (
        f"LEGO_CA_CERTIFICATES={_shell(str(settings.root))} lego --accept-tos --server {_shell(settings.server)} "
        f"--email {_shell(email)} --eab --kid={_shell(settings.kid)} --hmac={_shell(settings.hmac_key)} "
        f"{_domains(settings, '--domains')} --http run\n"
    )


def _acme_sh(settings: Settings) -> str:
    trusting = f"--server {_shell(settings.server)} --ca-bundle {_shell(str(settings.root))}"
    key = f"--eab-kid {_shell(settings.kid)} --eab-hmac-key {_shell(settings.hmac_key)}"
    # acme.sh renews after 60 days, and looks once a day, unless it is told otherwise.
    return (
        f"acme.sh --register-account {trusting} {key}\n"
        f"acme.sh --issue {trusting} --standalone --days 1 {_domains(settings, '--domain')}\n"
        "# For certificates of a day, this line goes in the place of acme.sh's own, once a day, in 'crontab -e':\n"
        "# 23 */8 * * * acme.sh --cron\n"
    )


def _cert_manager(settings: Settings) -> str:
    bundle = base64.b64encode(settings.root.read_bytes()).decode("ascii")
    return (
        "apiVersion: v1\n"
        "kind: Secret\n"
        "metadata: {name: acme-iid-eab}\n"
        f"stringData: {{secret: {_yaml(settings.hmac_key)}}}\n"
        "---\n"
        "apiVersion: cert-manager.io/v1\n"
        "kind: Issuer\n"
        "metadata: {name: acme-iid}\n"
        "spec:\n"
        "  acme:\n"
        f"    server: {_yaml(settings.server)}\n"
        f"    caBundle: {bundle}\n"
        "    privateKeySecretRef: {name: acme-iid-account}\n"
        "    externalAccountBinding:\n"
        f"      keyID: {_yaml(settings.kid)}\n"
        "      keySecretRef: {name: acme-iid-eab, key: secret}\n"
        "    solvers:\n"
        "      - http01: {ingress: {}}\n"
    )


def _certbot(settings: Settings) -> str:
    return (
        f"REQUESTS_CA_BUNDLE={_shell(str(settings.root))} certbot certonly --standalone --agree-tos "
        f"--register-unsafely-without-email --server {_shell(settings.server)} --eab-kid={_shell(settings.kid)} "
        f"--eab-hmac-key={_shell(settings.hmac_key)} {_domains(settings, '--domain')}\n"
    )


def _uacme(settings: Settings) -> str:
    names = " ".join(map(_shell, settings.names))
    # A path stands in no comment: a line end in it would end the comment.
    return (
        f"ROOT={_shell(str(settings.root))}\n"
        '# uacme trusts what the system does: cp "$ROOT" /usr/local/share/ca-certificates/ && update-ca-certificates\n'
        f"uacme --acme-url {_shell(settings.server)} --eab {_shell(f'{settings.kid}:{settings.hmac_key}')} --yes new\n"
        f"uacme --acme-url {_shell(settings.server)} issue {names}\n"
    )


def _dehydrated(settings: Settings) -> str:
    root = str(settings.root)
    # dehydrated splits the options where blanks are, and has curl look for nothing else than options in them.
    if not _PLAIN_PATH.match(root):
        raise ClientError(
            f"dehydrated cannot take the path {root!r}, because of characters in it that the shell reads. Copy the "
            "file to a path of letters, digits and ._/+-, and name that with --root and --ca-url."
        )
    return (
        f"CA={_shell(settings.server)}\n"
        f"CURL_OPTS={_shell(f'--cacert {root}')}\n"
        f"EAB_KID={_shell(settings.kid)}\n"
        f"EAB_HMAC_KEY={_shell(settings.hmac_key)}\n"
    )


def _line(value: str) -> str:
    """A value that ends no line, for people."""
    return "".join(character if character.isprintable() else "?" for character in value)


def _shell(value: str) -> str:
    """A word of a POSIX shell."""
    return shlex.quote(value)


def _yaml(value: str) -> str:
    """A double-quoted scalar, which YAML reads as JSON does."""
    return json.dumps(value)


def _token(value: str) -> str:
    """A token of a Caddyfile: in double quotes, or in backticks, where a backslash is a backslash.

    :raises ClientError: for what no token can hold: Caddy puts variables in the place of braces, in quotes too.
    """
    if "{" in value or ("`" in value and ("\\" in value or '"' in value)):
        raise ClientError(f"A Caddyfile cannot hold {value!r}; '--format json' prints it for other programs.")
    return f"`{value}`" if "\\" in value or '"' in value else f'"{value}"'


def _site(name: str) -> str:
    """A name as the address of a site in a Caddyfile."""
    return f"[{name}]" if ":" in name else name


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
"""The writer for each client. Every value is quoted, since a shell may read what is printed here."""
