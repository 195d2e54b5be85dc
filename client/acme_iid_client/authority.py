"""Which CA this machine trusts: its address and its root, settled once by ``acme-iid bootstrap``."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from acme_iid_client import places
from acme_iid_client.certificates import fingerprint, load_certificates, to_pem
from acme_iid_client.errors import ClientError
from acme_iid_client.trust import Deadline, PinnedSession, explain, fetch_unverified

_APPLICATION = re.compile(r"api://[A-Za-z0-9][A-Za-z0-9._/-]{0,254}\Z")
_FEDERATION = "api://azureadtokenexchange"


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA and what to trust it by.

    :ivar ca_url: its address, without a trailing slash.
    :ivar root: the file that holds its root certificate, PEM.
    :ivar azure_resource: what this CA takes managed identity tokens for, as the bootstrap settled it.
    """

    ca_url: str
    root: Path
    azure_resource: str | None = None

    @property
    def directory_url(self) -> str:
        """The ACME directory (RFC 8555 section 7.1.1)."""
        return f"{self.ca_url}/acme/directory"

    def check_health(self, deadline: Deadline) -> str:
        """Ask the CA how it is, over a connection that verifies under its root.

        :returns: the answer's text, ``ok``.
        :raises ClientError: if it cannot be reached, does not verify or is not well.
        """
        url = f"{self.ca_url}/health"
        try:
            with PinnedSession(self.root, deadline) as session:
                response = session.get(url)
        except requests.RequestException as error:
            raise explain(error, self.ca_url) from error
        text = response.text.strip()[:200]
        if response.status_code != requests.codes.ok:
            raise ClientError(f"The CA at {self.ca_url} is not well: status {response.status_code}, {text!r}.")
        return text


def parse_url(text: str) -> str:
    """The CA's address as it is kept: https, a host in lower case, no default port, no trailing slash.

    :raises ClientError: if it is anything else.
    """
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ClientError(
            f"{text!r} is not a CA's address, which looks like https://ca.local or https://ca.local:8443."
        )
    return f"https://{parts.netloc.lower().removesuffix(':443')}{parts.path.rstrip('/')}"


def parse_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as 64 lower-case hex digits; colons, as openssl prints them, are left out.

    :raises ClientError: if it is none.
    """
    digits = text.strip().replace(":", "").lower()
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise ClientError(
            f"{text!r} is not a fingerprint, which is 64 hex digits (SHA-256). "
            "'acme-iid-ca fingerprint' prints it on the CA."
        )
    return digits


def parse_resource(text: str) -> str:
    """The resource that managed identity tokens are asked for: an application of the CA's in the tenant.

    It comes from this machine's own configuration and never from a challenge, for a token opens whatever it was
    made for: a CA that could choose would ask for one for Azure's management or a vault, and be the VM there.
    For the same reason it is an application's own URI (``api://``) and never one of Microsoft's services; the one
    service that is called so exchanges tokens for those of any application that trusts the VM's identity.

    :raises ClientError: if it is anything else.
    """
    if not _APPLICATION.match(text) or text.lower().startswith(_FEDERATION):
        raise ClientError(
            f"{text!r} is not a resource of the CA's own: an application ID URI like "
            "api://4bb2ac60-35e5-4b9c-a52d-0f1a4d2d2a3d, as the CA's operator names it."
        )
    return text


def fetch_root(ca_url: str, expected: str, deadline: Deadline) -> bytes:
    """Fetch the root over a connection that is not trusted yet, and check it and then the server.

    :param ca_url: as :func:`parse_url` returns it.
    :param expected: the root's fingerprint, as :func:`parse_fingerprint` returns it.
    :returns: the root, PEM.
    :raises ClientError: if the root is another one, or the server does not verify under it.
    """
    content = fetch_unverified(f"{ca_url}/root/{expected}", deadline)
    try:
        certificates = load_certificates(content)
    except ClientError:
        raise ClientError(f"What {ca_url} sent as its root is no certificate. Is this the CA's address?") from None
    if len(certificates) != 1 or fingerprint(certificates[0]) != expected:
        raise ClientError(
            f"The root certificate that {ca_url} sent has the fingerprint {fingerprint(certificates[0])}, "
            f"not {expected}. Nothing was saved. Compare with what 'acme-iid-ca fingerprint' prints on the CA: "
            "if that is the one you gave, somebody else is answering at this address."
        )
    pem = to_pem(certificates[0])
    with tempfile.TemporaryDirectory() as directory:
        trial = Path(directory, "root.pem")
        trial.write_bytes(pem)
        Authority(ca_url, trial).check_health(deadline)
    return pem


def different(where: places.Places, ca_url: str, root: bytes) -> list[Path]:
    """The files of an earlier bootstrap that :func:`save` would change: none if it was for the same CA."""
    root_file, configuration = _files(where)
    changed = []
    if root_file.exists() and root_file.read_bytes() != root:
        changed.append(root_file)
    try:
        known = _read(configuration)
        if known is not None and known.ca_url != ca_url:
            changed.append(configuration)
    except ClientError:
        changed.append(configuration)
    return changed


def save(where: places.Places, ca_url: str, root: bytes, azure_resource: str | None = None) -> tuple[Path, Path]:
    """Save the root and, after it, the configuration that names it.

    :param azure_resource: what the CA takes managed identity tokens for; without it, what is known of this CA stays.
    :returns: the root's file and the configuration's.
    """
    root_file, configuration = _files(where)
    if azure_resource is None and not different(where, ca_url, root):
        known = _read(configuration)
        azure_resource = None if known is None else known.azure_resource
    # Both are public, and the programs that verify the certificates need the root.
    places.make_directory(where.config, public=True)
    places.make_directory(root_file.parent, public=True)
    places.write_file(root_file, root, public=True)
    content = {
        "ca_url": ca_url,
        "directory": Authority(ca_url, root_file).directory_url,
        "fingerprint": fingerprint(load_certificates(root)[0]),
        "root": str(root_file),
        **({} if azure_resource is None else {"azure_resource": azure_resource}),
    }
    places.write_file(configuration, json.dumps(content, indent=2).encode() + b"\n", public=True)
    return root_file, configuration


def load(where: places.Places, ca_url: str | None = None, root: Path | None = None) -> Authority:
    """The CA that a command talks to.

    :param ca_url: what ``--ca-url`` says; without it, the CA of the bootstrap.
    :param root: what ``--root`` says; without it, the root of the bootstrap.
    :raises ClientError: if there is none, or ``ca_url`` is another CA than the bootstrap's and ``root`` is missing.
    """
    asked = None if ca_url is None else parse_url(ca_url)
    if root is not None and not root.is_file():
        raise ClientError(f"The root certificate {root} does not exist.")
    if asked is not None and root is not None:
        return Authority(asked, root)
    known = _read(_files(where)[1])
    if known is None:
        raise ClientError(
            "This machine does not know a CA yet. Run: acme-iid bootstrap --ca-url https://ca.local --fingerprint ..."
        )
    if asked is not None and asked != known.ca_url:
        raise ClientError(
            f"This machine was bootstrapped for {known.ca_url}, not for {asked}. "
            "Give that CA's root certificate with --root, or run 'acme-iid bootstrap' for it."
        )
    if root is None and not known.root.is_file():
        raise ClientError(f"The root certificate {known.root} is gone. Run 'acme-iid bootstrap' again.")
    return Authority(known.ca_url, root or known.root, known.azure_resource)


def _files(where: places.Places) -> tuple[Path, Path]:
    """Where the root and the configuration are kept."""
    return where.config / "certs" / "root_ca.crt", where.config / "authority.json"


def _read(configuration: Path) -> Authority | None:
    try:
        content = json.loads(configuration.read_bytes())
        resource = content.get("azure_resource")
        return Authority(parse_url(content["ca_url"]), Path(content["root"]), resource and parse_resource(resource))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(
            f"{configuration} cannot be read. Run 'acme-iid bootstrap --force' to write it anew."
        ) from error
