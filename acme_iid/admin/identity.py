"""Who is at the other end of a connection: the kernel says so of a unix socket, and TLS of a client's own certificate.

Nothing that a request says counts. Of a chain of certificates only the leaf says who somebody is: those above it only
say that it is one to be believed.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from acme_iid.admin.roles import Role
from acme_iid.config.admin_settings import RoleSettings
from acme_iid.issuance.roots import is_signed_by
from acme_iid.store.actor import Actor

_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("iII")
_MAX_LINE = 64

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Peer:
    """What a connection says of its other end.

    :ivar uid: the user's number, of a unix socket.
    :ivar gids: the user's groups, the primary one among them.
    :ivar name: the common name of the client's own certificate; None if it has none, or several.
    :ivar fingerprint: of that certificate.
    :ivar address: the client's, of TLS.
    """

    via: Literal["socket", "tls"]
    uid: int | None = None
    gids: frozenset[int] = frozenset()
    name: str | None = None
    fingerprint: str = ""
    address: str | None = None

    @property
    def key(self) -> str:
        """The name under which it is counted."""
        return f"uid {self.uid}" if self.via == "socket" else f"certificate {self.name or self.fingerprint}"

    @property
    def is_owner(self) -> bool:
        """Whether it is root, or the user that the server runs as: whoever has the CA's files anyway."""
        return self.via == "socket" and self.uid in (0, os.geteuid())


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks for an act.

    :ivar user: the name of the user of this machine, or the common name of the certificate.
    :ivar host: the machine that they ask from.
    :ivar role: None if they have none.
    """

    via: Literal["socket", "tls"]
    user: str | None
    uid: int | None
    host: str | None
    role: Role | None

    def actor(self, reason: str | None) -> Actor:
        """The caller, as events name them.

        :param reason: why they act, in their words.
        """
        role = None if self.role is None else self.role.word
        return Actor(self.via, _line(self.user), self.uid, _line(self.host), role, reason=reason)


class Names(Protocol):
    """The names of this machine's users and groups, as they are now."""

    def user(self, uid: int) -> str | None:
        """The name of a user; None without one."""

    def group(self, name: str) -> int | None:
        """The number of a group; None if there is no such group."""


def peer_of(transport: asyncio.BaseTransport | None, own: Callable[[], Sequence[x509.Certificate]]) -> Peer:
    """Who is at the other end of a connection.

    :param own: the certificates of this CA's issuers and roots: whoever has a leaf of theirs is a VM, and no operator.
    :raises ConnectionError: if it has ended.
    """
    if transport is None:
        raise ConnectionResetError
    tls = transport.get_extra_info("ssl_object")
    stream = transport.get_extra_info("socket")
    if stream is None or stream.fileno() < 0:
        raise ConnectionResetError
    if isinstance(tls, ssl.SSLObject):
        return _of_certificate(tls, transport.get_extra_info("peername"), own)
    if stream.family != socket.AF_UNIX:
        raise ConnectionResetError  # nobody is believed without TLS
    try:
        _, uid, gid = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return Peer("socket", uid, frozenset({gid, *_groups(stream.fileno())}))
    except OSError as error:
        raise ConnectionResetError from error


def _groups(descriptor: int) -> list[int]:
    """The supplementary groups of whoever has connected, as the kernel has kept them (socket(7), SO_PEERGROUPS)."""
    number = 64
    while True:
        buffer = (ctypes.c_uint32 * number)()
        size = ctypes.c_uint32(ctypes.sizeof(buffer))
        if not _libc.getsockopt(descriptor, socket.SOL_SOCKET, _SO_PEERGROUPS, buffer, ctypes.byref(size)):
            return list(buffer[: size.value // 4])
        if ctypes.get_errno() != errno.ERANGE:
            raise OSError(ctypes.get_errno(), "the groups of a connection's other end cannot be had")
        number = max(size.value // 4, number * 2)


def _of_certificate(tls: ssl.SSLObject, address: object, own: Callable[[], Sequence[x509.Certificate]]) -> Peer:
    der = tls.getpeercert(binary_form=True)
    if der is None:
        raise ConnectionResetError  # the handshake demands one
    host = str(address[0]) if isinstance(address, tuple) else None
    name, fingerprint = None, ""
    try:
        leaf = x509.load_der_x509_certificate(der)
        fingerprint = leaf.fingerprint(hashes.SHA256()).hex()
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        is_valid = leaf.not_valid_before_utc <= datetime.now(UTC) <= leaf.not_valid_after_utc
        if len(names) == 1 and is_valid and not any(is_signed_by(leaf, issuer) for issuer in own()):
            name = str(names[0].value)
    except ValueError:
        pass  # a certificate that OpenSSL reads and this does not has no name
    return Peer("tls", name=name, fingerprint=fingerprint, address=host)


class Roles:
    """Who has which role.

    :param settings: the tables ``[[admin.role]]``.
    :param names: the names of this machine's users and groups.
    :param host: this machine's name.
    """

    def __init__(self, settings: Sequence[RoleSettings], names: Names, host: str) -> None:
        self._roles = [(Role[table.name.upper()], table) for table in settings]
        self._names = names
        self._host = host

    def caller(self, peer: Peer) -> Caller:
        """Whoever is at the other end of a connection, with the highest of their roles."""
        if peer.via == "tls":
            held = [role for role, table in self._roles if peer.name is not None and peer.name in table.certificates]
            return Caller("tls", peer.name, None, peer.address, max(held, default=None))
        assert peer.uid is not None
        user = self._names.user(peer.uid)
        if peer.is_owner:
            return Caller("socket", user, peer.uid, self._host, Role.ADMINISTRATOR)
        held = [
            role
            for role, table in self._roles
            if (user is not None and user in table.users)
            or any(self._names.group(group) in peer.gids for group in table.groups)
        ]
        return Caller("socket", user, peer.uid, self._host, max(held, default=None))


def _line(text: str | None) -> str | None:
    """A name as it goes into the record; None without one."""
    if not text:
        return None
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_LINE])
