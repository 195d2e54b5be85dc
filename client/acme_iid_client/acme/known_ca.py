"""Which CAs this machine trusts: their addresses and roots, each settled once by ``acme-iid bootstrap``.

The first one is what commands talk to without ``--ca-url``. Others stand beside it, each in a directory of its own,
and are chosen by their address; that is all there is to choose by.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AwayError, ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.account_options import Told
from acme_iid_client.transport.trust import PinnedSession, explain, fetch_unverified
from acme_iid_client.x509.certificates import fingerprint, load_certificates, to_pem

_APPLICATION = re.compile(r"api://[A-Za-z0-9][A-Za-z0-9._/-]{0,254}\Z")
_FEDERATION = "api://azureadtokenexchange"
_CONFIGURATION = "authority.json"
_OTHERS = "authorities"


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA and what to trust it by.

    :ivar ca_url: its address, without a trailing slash.
    :ivar root: the file that holds its root certificate, PEM.
    :ivar token_resource: what this CA takes managed identity tokens for, as the bootstrap settled it.
    :ivar account_key: the file with the account key that a person keeps; None is the key that this machine made.
    :ivar told: what the command was told about the account here.
    :ivar former: its addresses of before, as long as this machine knows it.
    """

    ca_url: str
    root: Path
    token_resource: str | None = None
    account_key: Path | None = None
    told: Told = field(default_factory=Told)
    former: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What everything about this CA is kept under: its root's fingerprint, for its address may change.

        :raises ClientError: if the root's file cannot be read as a certificate.
        """
        return fingerprint(load_certificates(self.root.read_bytes())[0])

    def has(self, url: str) -> bool:
        """Whether a resource that the CA has named is under its address of now."""
        return url.startswith(f"{self.ca_url}/acme/")

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
            raise AwayError(f"The CA at {self.ca_url} is not well: status {response.status_code}, {text!r}.")
        return text


def parse_url(text: str) -> str:
    """The CA's address as it is kept: https, a host in lower case, no default port, no trailing slash.

    :raises ClientError: if it is anything else.
    """
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        # Lowered, some characters outside ASCII would become those of another host.
        valid = valid and parts.netloc.isascii()
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ClientError(
            f"{text!r} is not a CA's address, which looks like https://ca.local or https://ca.local:8443."
        )
    # The address of the directory, which other clients are given, says as much.
    path = parts.path.rstrip("/").removesuffix("/acme/directory").rstrip("/")
    return f"https://{parts.netloc.lower().removesuffix(':443')}{path}"


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


def fetch_root(ca_url: str, expected: str, deadline: Deadline, notice: Callable[[str], None]) -> bytes:
    """Fetch the root over a connection that is not trusted yet, and check it and then the server.

    :param ca_url: as :func:`parse_url` returns it.
    :param expected: the root's fingerprint, as :func:`parse_fingerprint` returns it.
    :param notice: called with a sentence when the CA is waited for.
    :returns: the root, PEM.
    :raises ClientError: if the root is another one, or the server does not verify under it.
    """
    content = fetch_unverified(f"{ca_url}/root/{expected}", deadline, notice)
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


def different(where: directories.Places, ca_url: str, root: bytes) -> list[Path]:
    """The files that :func:`save` would change of what an earlier bootstrap for the same CA wrote."""
    changed = []
    try:
        home = _home(where, ca_url, root)
    except ClientError:
        # Which CA is the first cannot be read, so that it may be this one.
        home = where.config
        changed.append(_files(home)[1])
    root_file = _files(home)[0]
    if root_file.exists() and root_file.read_bytes() != root:
        changed.insert(0, root_file)
    return changed


def save(
    where: directories.Places, ca_url: str, root: bytes, token_resource: str | None = None, *, first: bool = False
) -> tuple[Path, Path]:
    """Save the root and, after it, the configuration that names it.

    :param token_resource: what the CA takes managed identity tokens for; without it, what is known of this CA stays.
    :param first: whether commands are to talk to this CA without ``--ca-url``, be another the first until now.
    :returns: the root's file and the configuration's.
    """
    try:
        home, before = _home(where, ca_url, root), _read(_files(where.config)[1])
    except ClientError:
        home, before = where.config, None
    known = before if home == where.config else _read(_files(home)[1])
    if token_resource is None and known is not None:
        token_resource = known.token_resource
    former = () if known is None else tuple(url for url in (known.ca_url, *known.former) if url != ca_url)
    ca = Authority(ca_url, _files(home)[0], token_resource, former=tuple(dict.fromkeys(former)))
    saved = _write(home, ca, root)
    if not first or home == where.config or before is None:
        return saved
    # At each of these steps, a crash leaves a first CA that can be used.
    if before.root.is_file():
        _write(_beside(where, before.ca_url), before, before.root.read_bytes())
    _write_configuration(_files(where.config)[1], ca, saved[0])
    return _write(where.config, ca, root)


def _write(home: Path, ca: Authority, root: bytes) -> tuple[Path, Path]:
    root_file, configuration = _files(home)
    # Both are public, and the programs that verify the certificates need the root.
    for directory in (home, root_file.parent):
        directories.make_directory(directory, public=True)
    directories.write_file(root_file, root, public=True)
    _write_configuration(configuration, ca, root_file)
    return root_file, configuration


def _write_configuration(configuration: Path, ca: Authority, root_file: Path) -> None:
    content = {
        "ca_url": ca.ca_url,
        "directory": ca.directory_url,
        "fingerprint": fingerprint(load_certificates(root_file.read_bytes())[0]),
        "root": str(root_file),
        **({} if ca.token_resource is None else {"azure_resource": ca.token_resource}),
        **({"former_urls": list(ca.former)} if ca.former else {}),
    }
    directories.write_file(configuration, json.dumps(content, indent=2).encode() + b"\n", public=True)


def load(where: directories.Places, ca_url: str | None = None, root: Path | None = None) -> Authority:
    """The CA that a command talks to.

    :param ca_url: what ``--ca-url`` says; without it, the CA of the first bootstrap.
    :param root: what ``--root`` says; without it, the root of that CA's bootstrap.
    :raises ClientError: if there is none, or no bootstrap was for ``ca_url`` and ``root`` is missing.
    """
    asked = None if ca_url is None else parse_url(ca_url)
    if root is not None and not root.is_file():
        raise ClientError(f"The root certificate {root} does not exist.")
    root = None if root is None else _in_pem(where, root)
    if asked is not None and root is not None:
        return Authority(asked, root, account_key=where.account_key, told=where.told)
    known = _read(_files(where.config)[1])
    if known is None:
        raise ClientError(
            "This machine does not know a CA yet. Run: acme-iid bootstrap --ca-url https://ca.local --fingerprint ..."
        )
    if asked is not None and asked != known.ca_url:
        others = known_to(where)
        # An address of now counts before one of before, which somebody else may have by now.
        known = next((ca for ca in others if ca.ca_url == asked), None)
        known = known or next((ca for ca in others if asked in ca.former), None)
    if known is None:
        raise ClientError(
            f"This machine knows {' and '.join(known.ca_url for known in known_to(where))}, and not {asked}. "
            "Give that CA's root certificate with --root, or run 'acme-iid bootstrap' for it."
        )
    if root is None and not known.root.is_file():
        raise ClientError(f"The root certificate {known.root} is gone. Run 'acme-iid bootstrap' again.")
    return replace(known, root=root or known.root, account_key=where.account_key, told=where.told)


def load_issuer(
    where: directories.Places, chain: list[x509.Certificate], ca_url: str | None = None, root: Path | None = None
) -> Authority:
    """The CA that a certificate comes from: of those that this machine knows, the one to whose root it chains.

    :param chain: what is in the certificate's file.
    :param ca_url: what ``--ca-url`` says, which counts before the root.
    :param root: what ``--root`` says.
    :raises ClientError: as :func:`load`.
    """
    if ca_url is None and root is None:
        for known in known_to(where):
            try:
                top = load_certificates(known.root.read_bytes())[0]
                chain[-1].verify_directly_issued_by(top)
            except (OSError, ClientError, ValueError, TypeError, InvalidSignature):
                continue
            return load(where, known.ca_url)
    return load(where, ca_url, root)


def known_to(where: directories.Places) -> list[Authority]:
    """The CAs that this machine was bootstrapped for, the first one first."""
    others = (where.config / _OTHERS).glob("*/" + _CONFIGURATION)
    found = [_read(file) for file in (where.config / _CONFIGURATION, *sorted(others))]
    return list({known.ca_url: known for known in reversed(found) if known is not None}.values())[::-1]


def _in_pem(where: directories.Places, root: Path) -> Path:
    """A root's file as the TLS library takes it; one in DER is written once more, below what this program keeps.

    :raises ClientError: if it holds no certificate.
    """
    content = root.read_bytes()
    certificates = load_certificates(content)
    if b"-----BEGIN" in content:
        return root
    copy = where.state / "roots" / f"{fingerprint(certificates[0])}.pem"
    if not copy.exists():
        directories.make_directory(copy.parent)
        directories.write_file(copy, to_pem(certificates[0]), public=True)
    return copy


def _home(where: directories.Places, ca_url: str, root: bytes) -> Path:
    """The directory of a CA's files: the first CA's are at the top.

    :param root: with which a CA that this machine knows by another address is the same CA.
    """
    first = _read(_files(where.config)[1])
    if first is None or first.ca_url == ca_url:
        return where.config
    homes = [where.config, *(file.parent for file in sorted((where.config / _OTHERS).glob("*/" + _CONFIGURATION)))]
    with_address = [home for home in homes if (known := _read(_files(home)[1])) and known.ca_url == ca_url]
    with_root = [home for home in homes if _has_root(home, root)]
    return (with_address or with_root or [_beside(where, ca_url)])[0]


def _has_root(home: Path, root: bytes) -> bool:
    file = _files(home)[0]
    return file.is_file() and file.read_bytes() == root


def _beside(where: directories.Places, ca_url: str) -> Path:
    """The directory of the files of a CA that is not the first."""
    return where.config / _OTHERS / directories.safe_name(ca_url.removeprefix("https://"))


def _files(home: Path) -> tuple[Path, Path]:
    """Where the root and the configuration are kept."""
    return home / "certs" / "root_ca.crt", home / _CONFIGURATION


def _read(configuration: Path) -> Authority | None:
    try:
        content = json.loads(configuration.read_bytes())
        resource = content.get("azure_resource")
        former = tuple(parse_url(url) for url in content.get("former_urls") or ())
        url, root = parse_url(content["ca_url"]), Path(content["root"])
        return Authority(url, root, resource and parse_resource(resource), former=former)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(
            f"{configuration} cannot be read. Run 'acme-iid bootstrap --force' to write it anew."
        ) from error
