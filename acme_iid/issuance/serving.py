"""Certificates of the CA's own TLS servers: marked, short-lived, and tried before anybody is shown them."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from acme_iid.binding import SERVING_MARK
from acme_iid.durable import replace_file, write_new
from acme_iid.issuance import keys
from acme_iid.issuance.ca import CertificateAuthority
from acme_iid.issuance.issuer import BACKDATE, IssuedCertificate, key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import to_pem
from acme_iid.protocol.identifiers import Identifier
from acme_iid.protocol.public_keys import PublicKey

LIFETIME = 24 * 3600
"""Seconds a serving certificate lives; it is due when a third is left."""

_FLIGHTS = 10  # more than a TLS handshake has


class ServingCertificate:
    """The certificate in force, renewed by :meth:`issue`.

    Key and chain are in one file, and a file is never changed: a worker that starts while the certificate is renewed
    reads the old pair or the new one, never half of each.

    Where the issuer's key is elsewhere, the file stays when the server ends: the next one may start while that key does
    not answer.

    :param folder: the directory of the files, made with mode 0700. This process is in their names, so that two servers
        in one home leave each other's alone.
    :param lifetime: seconds.
    """

    def __init__(self, folder: Path, lifetime: int) -> None:
        self._folder = folder
        self._lifetime = lifetime
        self._files: list[Path] = []
        self._not_after = 0
        self.renew_at = 0
        """When a third of the lifetime is left, seconds."""
        self.chain = ""
        """What follows the certificate in force, PEM."""

    @property
    def until(self) -> str:
        """When the certificate in force ends, RFC 3339 in UTC."""
        return datetime.fromtimestamp(self._not_after, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def issue(self, authority: CertificateAuthority, identifiers: Sequence[Identifier], now: int) -> Path:
        """Make a new key and certificate for ``identifiers``, and return the PEM file that holds both.

        :raises OSError: if the file cannot be written.
        :raises AcmeError: if the intermediate is at its end.
        :raises CAFileError: if no client would take the certificate.
        :raises SignerError: if the issuer's key is elsewhere and gives no signature.
        """
        key = keys.generate()
        issued = authority.current.issue_serving(key.public_key(), identifiers, now + self._lifetime, now)
        if not self._files:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        # Each time: those of a server that was killed may have ended after this one began.
        self._remove_leftovers()
        path = self._folder / f"{os.getpid()}-{issued.serial:x}.pem"
        chain = authority.chain_pem(authority.current, now)
        leaf = ssl.DER_cert_to_PEM_cert(issued.der)
        write_new(path, keys.to_pem(key) + (leaf + chain).encode(), 0o600)
        self._files.append(path)
        try:
            verify(path, path, authority.root_pem, identifiers[0])
        except CAFileError:
            self._files.remove(path)
            path.unlink()
            raise
        # A worker that is just starting may still read the one before.
        while len(self._files) > 2:
            self._files.pop(0).unlink(missing_ok=True)
        self.chain = chain
        self._not_after = issued.not_after
        self.renew_at = _due_at(issued.not_before, issued.not_after)
        return path

    def take_up(self, authority: CertificateAuthority, identifiers: Sequence[Identifier], now: int) -> Path | None:
        """Put a certificate in force that an earlier server has left for ``identifiers``, and return its file.

        :returns: None if there is none that clients take now.
        """
        left = [(found.not_valid_after_utc, path, found) for path in self._folder.glob("*-*.pem")
                if (found := _left(path, authority, identifiers, now)) is not None]  # fmt: skip
        if not left:
            return None
        _, path, found = max(left, key=lambda entry: entry[:2])
        _, *above = x509.load_pem_x509_certificates(path.read_bytes())
        self.chain = to_pem(*above)
        self._not_after = int(found.not_valid_after_utc.timestamp())
        self.renew_at = _due_at(int(found.not_valid_before_utc.timestamp()), self._not_after)
        return path

    def discard(self, *, keep: bool = False) -> None:
        """Remove the files of this process.

        :param keep: all but the one in force.
        """
        for path in self._files[:-1] if keep else self._files:
            with suppress(OSError):
                path.unlink()

    def _remove_leftovers(self) -> None:
        """Remove what servers that were killed have left."""
        for path in self._folder.glob("*-*.pem"):
            owner = path.name.partition("-")[0]
            if path in self._files:
                continue
            if owner.isascii() and owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner))):
                path.unlink(missing_ok=True)


def _left(
    path: Path, authority: CertificateAuthority, identifiers: Sequence[Identifier], now: int
) -> x509.Certificate | None:
    """The certificate in a file that an earlier server has left, if clients take it for all names."""
    try:
        leaf = x509.load_pem_x509_certificate(path.read_bytes())
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        verify(path, path, authority.root_pem, identifiers[0])
    except (OSError, ValueError, x509.ExtensionNotFound, CAFileError):
        return None
    names = {_identifier(name) for name in alternatives}
    return leaf if names == set(identifiers) and now < leaf.not_valid_after_utc.timestamp() else None


def verify(chain: Path, key: Path, root_pem: str, identifier: Identifier) -> None:
    """Have OpenSSL shake hands with itself, as a client that trusts the root does with a server at ``identifier``.

    :param chain: a PEM file with a server's certificate and what is above it.
    :param key: its private key, in PEM.
    :raises CAFileError: with OpenSSL's reason, if it does not come to a connection.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(chain, key)
        trusting = ssl.create_default_context(cadata=root_pem)
        client = trusting.wrap_bio(to_client, to_server, server_hostname=identifier.value)
        server = serving.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(_FLIGHTS):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                return
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise CAFileError(
            f"no client would take the server's own certificate for {identifier}: OpenSSL says '{reason}'. Look at "
            "certs/root_ca.crt, which has to be self-signed, and at the certificates in "
            "issuers/, whose name constraints have to permit the name"
        ) from error
    raise CAFileError(f"the server's own certificate for {identifier} leads to no TLS connection")


def key_in(path: Path, authority: CertificateAuthority) -> keys.PrivateKey:
    """Return the private key in a file; if the file is missing, make a new key there, with mode 0600.

    :raises CAFileError: if the file cannot be used, or holds a key of the CA itself.
    """
    if not path.exists():
        write_new(path, keys.to_pem(keys.generate()), 0o600)
    key = keys.load(path, None)
    if bytes.fromhex(key_id(key.public_key())) in authority.own_keys:
        raise CAFileError(f"{path} is a key of the CA itself; name another file, and a key is made there")
    return key


def is_due(
    chain: Path, key: PublicKey, authority: CertificateAuthority, identifiers: Sequence[Identifier], now: int
) -> bool:
    """Whether a file lacks a serving certificate, or has one that has to be replaced.

    That is one of which a third of its life is left, and one for another key, for other names, or from another issuer.

    :raises CAFileError: if the file is there and cannot be read.
    """
    try:
        with chain.open("rb") as stream:
            text = stream.read(keys.MAX_FILE_BYTES).decode()
        leaf, *above = x509.load_pem_x509_certificates(text.encode())
        leaf.verify_directly_issued_by(authority.current.certificate)
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except FileNotFoundError:
        return True
    except OSError as error:
        raise CAFileError(f"the certificate {chain} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return True
    return (
        (leaf.public_key(), to_pem(*above)) != (key, authority.chain_pem(authority.current, now))
        or {_identifier(name) for name in alternatives} != set(identifiers)
        or x509.ObjectIdentifier(SERVING_MARK) not in purposes
        or not leaf.not_valid_before_utc.timestamp()
        <= now
        < _due_at(int(leaf.not_valid_before_utc.timestamp()), int(leaf.not_valid_after_utc.timestamp()))
    )


def write(
    chain: Path, key_file: Path, authority: CertificateAuthority, identifiers: Sequence[Identifier], now: int
) -> IssuedCertificate:
    """Write a new serving certificate and what is above it to a file, whole or not at all.

    :param key_file: the file of its private key.
    :raises OSError: if the file cannot be written.
    :raises AcmeError: if the intermediate is at its end.
    :raises CAFileError: if no client would take the certificate, or the file holds something that is not a server's.
    """
    _require_replaceable(chain)
    key = key_in(key_file, authority)
    issued = authority.current.issue_serving(key.public_key(), identifiers, now + LIFETIME, now)
    content = (ssl.DER_cert_to_PEM_cert(issued.der) + authority.chain_pem(authority.current, now)).encode()
    trial = chain.with_name(f"{chain.name}.{os.getpid()}.trial")
    try:
        write_new(trial, content, 0o644)
        verify(trial, key_file, authority.root_pem, identifiers[0])
    finally:
        trial.unlink(missing_ok=True)
    replace_file(chain, content, 0o644)
    return issued


def _require_replaceable(chain: Path) -> None:
    """Refuse to replace a file that somebody may have named by mistake."""
    try:
        text = chain.read_bytes()
    except FileNotFoundError:
        return
    choose = "choose another file, or remove it"
    if text and b"-----BEGIN CERTIFICATE-----" not in text:
        raise CAFileError(f"{chain} holds something other than certificates; {choose}")
    try:
        leaf = x509.load_pem_x509_certificate(text)
        authority = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        return  # cut off, or a server's
    if authority:
        raise CAFileError(f"{chain} holds a certificate of a CA; {choose}")


def _due_at(not_before: int, not_after: int) -> int:
    """When a third of the lifetime is left, seconds."""
    return not_after - (not_after - not_before - BACKDATE) // 3


def _identifier(name: x509.GeneralName) -> Identifier | None:
    if isinstance(name, x509.IPAddress) and isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return Identifier("ip", str(name.value))
    return Identifier("dns", name.value) if isinstance(name, x509.DNSName) else None


def _alive(pid: int) -> bool:
    """Whether a process runs: one that has ended, and that nobody has waited for, does not (proc_pid_stat(5))."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")
