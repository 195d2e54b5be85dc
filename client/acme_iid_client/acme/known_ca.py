"""The CAs that this machine knows: their addresses and roots, as ``acme-iid bootstrap`` has saved them.

Commands without ``--ca-url`` talk to the first CA. The others have directories of their own beside it, and a command
chooses one of them by its address. A CA can have several roots, for the time in which one replaces another: they stand
in one PEM file, and each of them is trusted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests
from cryptography import x509

from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AwayError, ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.account_options import AccountOptions
from acme_iid_client.transport.trust import PinnedSession, request_error
from acme_iid_client.x509.authorities import Revocations, is_issued_by, is_list_of, load_lists
from acme_iid_client.x509.certificates import fingerprint, load_certificates, to_pem

_APPLICATION = re.compile(r"api://[A-Za-z0-9][A-Za-z0-9._/-]{0,254}\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")
_FEDERATION = "api://azureadtokenexchange"
CONFIGURATION = "authority.json"
ROOTS = Path("certs", "root_ca.crt")
"""The file of a CA's roots below its directory; it has the name that it had when there was one root."""
LISTS = "root_lists.pem"
"""The file of the roots' lists of revoked issuers, beside that of the roots."""
OTHERS = "authorities"

Roots = tuple[x509.Certificate, ...]
"""Root certificates, at least one, each once."""


class UnusableRootsError(ClientError):
    """A file of root certificates is there and cannot be used."""


@dataclass(frozen=True, slots=True)
class KnownCA:
    """A CA and what to trust it by.

    :ivar ca_url: its address, without a trailing slash.
    :ivar roots: its root certificates. A server or a certificate is the CA's if it verifies under any of them.
    :ivar roots_file: the PEM file with these certificates, for libraries and programs that take a file.
    :ivar identity: the fingerprint under which accounts, enrolments and conditions of this CA are kept. It is that of
        the first root that this machine knew it by, and stays when the address changes or one root replaces another.
    :ivar token_resource: the resource for which this CA takes managed identity tokens, as the bootstrap settled it.
    :ivar account_key: the file with the account key that a person keeps; None is the key that this machine made.
    :ivar account_options: those of the command that runs.
    :ivar revoked: the roots' lists of revoked issuers.
    """

    ca_url: str
    roots: Roots
    roots_file: Path
    identity: str
    token_resource: str | None = None
    account_key: Path | None = None
    account_options: AccountOptions = field(default_factory=AccountOptions)
    revoked: Revocations = ()

    def session(self, deadline: Deadline) -> PinnedSession:
        """Connections that verify under one of its roots, and under no issuer that a root has revoked."""
        return PinnedSession(self.roots_file, deadline, self.revoked)

    def has(self, url: str) -> bool:
        """Whether a resource that the CA has named is under its address of now."""
        return url.startswith(f"{self.ca_url}/acme/")

    @property
    def directory_url(self) -> str:
        """The ACME directory (RFC 8555 section 7.1.1)."""
        return _directory_url(self.ca_url)

    def check_health(self, deadline: Deadline) -> str:
        """Ask the CA how it is, over a connection that verifies under one of its roots.

        :returns: the answer's text, ``ok``.
        :raises ClientError: if it cannot be reached, does not verify or is not well.
        """
        url = f"{self.ca_url}/health"
        try:
            with self.session(deadline) as session:
                response = session.get(url)
        except requests.RequestException as error:
            raise request_error(error, self.ca_url) from error
        text = response.text.strip()[:200]
        if response.status_code != requests.codes.ok:
            raise AwayError(f"The CA at {self.ca_url} is not well: status {response.status_code}, {text!r}.")
        return text


@dataclass(frozen=True, slots=True)
class SavedCA:
    """A CA as a configuration file has it; its roots are read when they are needed.

    :ivar identity: the CA's identity, as long as it has one of the roots in ``fingerprints``.
    :ivar fingerprints: those of its roots when the file was written.
    :ivar former: its earlier addresses, as long as this machine knows it.
    :ivar version: that of the list of roots that was taken up last; 0 before the first.
    """

    ca_url: str
    roots_file: Path
    identity: str | None = None
    fingerprints: tuple[str, ...] = ()
    token_resource: str | None = None
    former: tuple[str, ...] = ()
    version: int = 0

    def identity_with(self, roots: Roots) -> str:
        """The CA's identity if these are its roots now; without any root that was recorded, it is another CA."""
        fingerprints = [fingerprint(root) for root in roots]
        if self.identity is not None and set(fingerprints) & set(self.fingerprints):
            return self.identity
        return fingerprints[0]

    def encode(self, roots_file: Path, roots: Roots) -> bytes:
        """The configuration file, for roots in a file."""
        fingerprints = [fingerprint(root) for root in roots]
        content = {
            "ca_url": self.ca_url,
            "directory": _directory_url(self.ca_url),
            "fingerprint": fingerprints[0],
            "fingerprints": fingerprints,
            "root": str(roots_file),
            **({} if self.identity_with(roots) == fingerprints[0] else {"identity": self.identity}),
            **({} if self.token_resource is None else {"azure_resource": self.token_resource}),
            **({"former_urls": list(self.former)} if self.former else {}),
            **({"roots_version": self.version} if self.version else {}),
        }
        return json.dumps(content, indent=2).encode() + b"\n"


def parse_url(text: str) -> str:
    """The CA's address as it is kept: https, a host in lower case, no default port, no trailing slash.

    :raises ClientError: if the text is anything else.
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

    :raises ClientError: if the text is not a fingerprint.
    """
    digits = text.strip().replace(":", "").lower()
    if not _FINGERPRINT.match(digits):
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
            f"{text!r} is not a resource of the CA's own. The CA's operator knows its application ID URI, like "
            "api://4bb2ac60-35e5-4b9c-a52d-0f1a4d2d2a3d."
        )
    return text


def read_roots(file: Path, advice: str = "") -> Roots:
    """The root certificates in a PEM file, or the one in a DER file.

    :param advice: a sentence for the end of the message.
    :raises UnusableRootsError: if the file is empty, or anything in it is not a certificate that can be read.
    :raises OSError: if it cannot be opened.
    """
    content = file.read_bytes()
    try:
        return tuple(dict.fromkeys(load_certificates(content)))
    except ClientError:
        problem = "it has no certificate, or one that cannot be read" if content.strip() else "it is empty"
        raise UnusableRootsError(
            f"The file {file} should hold the CA's root certificates in PEM, but {problem}.{advice}"
        ) from None


def load(where: directories.Directories, ca_url: str | None = None, root: Path | None = None) -> KnownCA:
    """The CA that a command talks to.

    :param ca_url: the value of ``--ca-url``; without it, the CA of the first bootstrap.
    :param root: the value of ``--root``; without it, the roots of that CA's bootstrap.
    :raises ClientError: if no CA is known, or no bootstrap was for ``ca_url`` and ``root`` is missing.
    """
    asked = None if ca_url is None else parse_url(ca_url)
    if root is not None and not root.is_file():
        raise ClientError(f"The root certificate {root} does not exist.")
    if asked is not None and root is not None:
        return _known(where, SavedCA(asked, root), read_roots(root))
    saved = read_saved(where.config / CONFIGURATION)
    if saved is None:
        raise ClientError(
            "This machine does not know a CA yet. Run: acme-iid bootstrap --ca-url https://ca.local --fingerprint ..."
        )
    if asked is not None and asked != saved.ca_url:
        others = _all_saved(where)
        # An address of now counts before one of before, which somebody else may have by now.
        saved = next((ca for ca in others if ca.ca_url == asked), None)
        saved = saved or next((ca for ca in others if asked in ca.former), None)
    if saved is None:
        raise ClientError(
            f"This machine knows {' and '.join(known.ca_url for known in _all_saved(where))}, and not {asked}. "
            "Give that CA's root certificate with --root, or run 'acme-iid bootstrap' for it."
        )
    if root is not None:
        return _known(where, replace(saved, roots_file=root), read_roots(root))
    if not saved.roots_file.is_file():
        raise ClientError(f"The root certificate {saved.roots_file} is gone. Run 'acme-iid bootstrap' again.")
    return _known(where, saved, read_roots(saved.roots_file, " Run 'acme-iid bootstrap --force' to write it anew."))


def _known(where: directories.Directories, saved: SavedCA, roots: Roots) -> KnownCA:
    return KnownCA(
        saved.ca_url,
        roots,
        _in_pem(where, saved.roots_file, roots),
        saved.identity_with(roots),
        saved.token_resource,
        where.account_key,
        where.account_options,
        read_lists(saved.roots_file, roots),
    )


def read_lists(roots_file: Path, roots: Roots) -> Revocations:
    """The roots' lists of revoked issuers, which stand beside the roots; none before the first was taken up.

    :raises ClientError: if they cannot be read.
    """
    try:
        lists = load_lists(roots_file.with_name(LISTS).read_bytes())
    except FileNotFoundError:
        return ()
    # Those of a root that is trusted no more say nothing.
    return tuple(one for one in lists if any(is_list_of(one, root) for root in roots))


def load_issuer(
    where: directories.Directories, chain: list[x509.Certificate], ca_url: str | None = None, root: Path | None = None
) -> KnownCA:
    """The CA that a certificate comes from: the one of this machine's CAs that has its root.

    :param chain: the certificates in the certificate's file.
    :param ca_url: the value of ``--ca-url``, which counts before the roots.
    :param root: the value of ``--root``.
    :raises ClientError: as :func:`load`.
    """
    if ca_url is None and root is None:
        for saved in _all_saved(where):
            try:
                roots = read_roots(saved.roots_file)
            except (OSError, ClientError):
                continue
            # Behind what the root has signed, there may be links for clients of another root.
            if any(is_issued_by(entry, top) for entry in chain for top in roots):
                return load(where, saved.ca_url)
    return load(where, ca_url, root)


def _all_saved(where: directories.Directories) -> list[SavedCA]:
    """The CAs that this machine was bootstrapped for, the first one first."""
    all_saved = [read_saved(file) for file in configurations(where)]
    return list({saved.ca_url: saved for saved in reversed(all_saved) if saved is not None}.values())[::-1]


def configurations(where: directories.Directories) -> list[Path]:
    """The configuration files, the first CA's first; that one need not exist."""
    return [where.config / CONFIGURATION, *sorted((where.config / OTHERS).glob("*/" + CONFIGURATION))]


def _in_pem(where: directories.Directories, file: Path, roots: Roots) -> Path:
    """A file of roots as the TLS library takes it; one in DER is written once more, below what this program keeps."""
    if b"-----BEGIN" in file.read_bytes():
        return file
    copy = where.state / "roots" / f"{fingerprint(roots[0])}.pem"
    if not copy.exists():
        directories.make_directory(copy.parent)
        directories.write_file(copy, to_pem(*roots), public=True)
    return copy


def _directory_url(ca_url: str) -> str:
    return f"{ca_url}/acme/directory"


def read_saved(configuration: Path) -> SavedCA | None:
    """The CA in a configuration file; None without the file.

    :raises ClientError: if it cannot be read.
    """
    try:
        content = json.loads(configuration.read_bytes())
        resource = content.get("azure_resource")
        fingerprints = tuple(map(str, content.get("fingerprints") or [content.get("fingerprint")]))
        identity = str(content.get("identity") or fingerprints[0])
        former = tuple(parse_url(url) for url in content.get("former_urls") or ())
        url, roots_file = parse_url(content["ca_url"]), Path(content["root"])
        # It becomes the name of a directory.
        known = identity if _FINGERPRINT.match(identity) else None
        resource, version = resource and parse_resource(resource), int(content.get("roots_version", 0))
        return SavedCA(url, roots_file, known, fingerprints, resource, former, version)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(
            f"{configuration} cannot be read. Run 'acme-iid bootstrap --force' to write it anew."
        ) from error
