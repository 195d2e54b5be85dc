"""The tables ``[admin]`` and ``[[admin.role]]`` of ca.toml: where operators ask for acts, and who may ask for which."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509

from acme_iid.config import parsers, setting_reader
from acme_iid.config.finding import Finding
from acme_iid.config.table import Table
from acme_iid.issuance import home as ca_files
from acme_iid.issuance.issuer import key_id
from acme_iid.issuance.keys import CAFileError
from acme_iid.issuance.roots import is_signed_by, to_pem
from acme_iid.policy.setting import described, settings_of
from acme_iid.protocol.addresses import Listen

ROLES = ("viewer", "helpdesk", "operator", "administrator")
"""The names of roles, each of which may do all that the ones before it may."""
MAX_MEMBERS = 1000
"""The names in a list of a role's."""

_MAX_SOCKET_OCTETS = 107  # unix(7)
_MAX_ACCOUNT_LENGTH = 256
_MAX_COMMON_NAME_LENGTH = 64  # RFC 5280 appendix A.1


def _socket(text: str) -> str:
    if not text.isprintable() or not text or text.endswith("/"):
        raise ValueError(f'{text!r} is no path of a socket; write for example "/run/acme-iid-ca/admin.sock"')
    return text


def _account(text: str) -> str:
    """The name of a user or a group; with a directory's names there are blanks and backslashes inside."""
    is_name = text.isprintable() and text == text.strip() and 0 < len(text) <= _MAX_ACCOUNT_LENGTH
    if not is_name or set(text) & set(":/,*"):
        raise ValueError(f"{text!r} is no name of a user or a group")
    if text.isdigit():
        raise ValueError(f"{text!r} is a number; write the name that it has")
    return text


def _common_name(text: str) -> str:
    if not text or len(text) > _MAX_COMMON_NAME_LENGTH or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{text!r} is no common name; one has 1 to {_MAX_COMMON_NAME_LENGTH} characters, with no blank at its ends"
        )
    return text


@dataclass(frozen=True, slots=True)
class RoleSettings:
    """One table ``[[admin.role]]``."""

    name: str = field(
        metadata=described(
            f"one of {', '.join(ROLES)}",
            "The role: viewer reads; helpdesk releases, reopens and blocks instances; operator revokes, renews, has "
            "keys for accounts, and acts on many; administrator checks and reloads. Each may do what those before it "
            "may.",
            partial(parsers.one_of, words=ROLES),
        )
    )
    users: tuple[str, ...] = field(
        default=(),
        metadata=described(
            'a list of users such as ["alice"]', "Users of this machine who have it, by the socket.", _account, "list"
        ),
    )
    groups: tuple[str, ...] = field(
        default=(),
        metadata=described(
            'a list of groups such as ["helpdesk"]',
            "Groups of this machine whose members have it, by the socket.",
            _account,
            "list",
        ),
    )
    certificates: tuple[str, ...] = field(
        default=(),
        metadata=described(
            'a list of common names such as ["alice@example.com"]',
            "The common names of client certificates whose holders have it, by listen. A name is the whole one, "
            "letter by letter.",
            _common_name,
            "list",
        ),
    )


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The table ``[admin]``.

    :ivar roles: the tables ``[[admin.role]]``.
    :ivar client_ca_pem: the certificates in the file ``client_ca``.
    """

    socket: Path | None = field(
        default=None,
        metadata=described(
            'a path such as "/run/acme-iid-ca/admin.sock"',
            "The unix socket on which operators are answered, by the users and groups that they are.",
            _socket,
            absent="none",
        ),
    )
    group: str | None = field(
        default=None,
        metadata=described(
            'a group such as "acme-iid-operators"',
            "The group whose members may open the socket; its directory has to let them pass.",
            _account,
            absent="the server's user and root alone",
        ),
    )
    listen: Listen | None = field(
        default=None,
        metadata=described(
            'an address such as "0.0.0.0:8443"',
            "A further address, on which operators are answered over TLS with client certificates. The server shows "
            "its own certificate.",
            parsers.listen_address,
            absent="none",
        ),
    )
    client_ca: Path | None = field(
        default=None,
        metadata=described(
            "a file",
            "The CAs, PEM, under which operators' client certificates are; none of them may be this CA, nor lead to "
            "it.",
            Path,
            absent="none; listen needs it",
        ),
    )
    roles: tuple[RoleSettings, ...] = ()
    client_ca_pem: str = field(default="", repr=False)

    @property
    def is_on(self) -> bool:
        """Whether operators are answered at all."""
        return self.socket is not None or self.listen is not None


def read(table: Table, home: Path, alternate_chains: Sequence[Path]) -> AdminSettings:
    """Read the table, with those of the roles.

    :param alternate_chains: the files with chains from the CA's issuers to other roots.
    :raises ConfigError: if it is invalid.
    """
    values: dict[str, Any] = setting_reader.read(table, settings_of(AdminSettings))
    roles = _roles(table)
    table.done()
    if "socket" in values:
        values["socket"] = home / values["socket"]
        if len(os.fsencode(values["socket"])) > _MAX_SOCKET_OCTETS:
            raise table.error(
                "socket", f"{values['socket']} has more than {_MAX_SOCKET_OCTETS} octets, unix(7)'s limit"
            )
    elif "group" in values:
        raise table.error("group", "is of no use without socket")
    if "listen" in values and "client_ca" not in values:
        raise table.error("client_ca", "is missing; listen needs the file of the CA of operators' certificates")
    if "client_ca" in values and "listen" not in values:
        raise table.error("client_ca", "is of no use without listen")
    if roles and not {"socket", "listen"} & values.keys():
        raise table.error("socket", "is missing, and listen too: whoever has a role needs a place to ask at")
    if "client_ca" in values:
        values["client_ca"] = home / values["client_ca"]
        certificates = table.parsed("client_ca", values["client_ca"], _authorities)
        own = _own(home, alternate_chains)
        table.parsed("client_ca", certificates, lambda found: _require_others(found, own))
        values["client_ca_pem"] = to_pem(*certificates)
    return AdminSettings(**values, roles=roles)


def _roles(table: Table) -> tuple[RoleSettings, ...]:
    roles: list[RoleSettings] = []
    for entry in table.tables("role"):
        role = RoleSettings(**setting_reader.read(entry, settings_of(RoleSettings)))
        entry.done()
        if any(other.name == role.name for other in roles):
            raise entry.error("name", "another [[admin.role]] has this name; have one table for each")
        for key in ("users", "groups", "certificates"):
            if len(getattr(role, key)) > MAX_MEMBERS:
                raise entry.error(key, f"has more than {MAX_MEMBERS} names; use a group")
        roles.append(role)
    return tuple(roles)


# The CA of operators' certificates


def _authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates in a file, all of them of CAs."""
    try:
        certificates = ca_files.load_certificates(path)
    except CAFileError as error:
        raise ValueError(str(error)) from error
    for certificate in certificates:
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (ValueError, x509.ExtensionNotFound):
            is_ca = False
        if not is_ca:
            raise ValueError(f"{path} holds the certificate of {_name(certificate)}, which is no CA's")
    return certificates


def _own(home: Path, alternate_chains: Sequence[Path]) -> list[x509.Certificate]:
    """The certificates of this CA and those above it, as far as there are any yet."""
    own: list[x509.Certificate] = []
    with suppress(CAFileError):
        own += ca_files.load_roots(home)
    files = [*sorted((home / ca_files.FOLDER).glob(f"*/{ca_files.CHAIN}")), *alternate_chains]
    for path in files:
        with suppress(CAFileError):
            own += ca_files.load_certificates(path)
    return own


def _require_others(certificates: Sequence[x509.Certificate], own: Sequence[x509.Certificate]) -> None:
    """Refuse CAs under which certificates of this CA are good as well: every VM has one that is for clients.

    :raises ValueError: if there is one.
    """
    keys = {key_id(certificate.public_key()) for certificate in own}
    for certificate in certificates:
        if key_id(certificate.public_key()) in keys:
            reason = "is of this CA itself"
        elif any(is_signed_by(certificate, issuer) for issuer in own):
            reason = "was signed by this CA"
        elif any(is_signed_by(issued, certificate) for issued in own):
            reason = "has signed this CA"
        else:
            continue
        raise ValueError(
            f"the certificate of {_name(certificate)} {reason}, and each VM has a certificate that is good under it; "
            "operators need those of another CA"
        )


def _name(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string())


# Findings


def findings(settings: AdminSettings) -> Iterator[Finding]:
    """What is most often a mistake in these tables, as this machine has users and groups."""
    if settings.group is not None and not _is_known(grp.getgrnam, settings.group):
        yield _unknown("admin", f"the group {settings.group!r}", "a server does not start")
    for role in settings.roles:
        where = f"admin.role {role.name!r}"
        if not (role.users or role.groups or role.certificates):
            yield Finding(
                "role-without-members",
                "remark",
                where,
                f"nobody has the role {role.name}.",
                "Give users, groups or certificates in its [[admin.role]], or take the table out.",
            )
        for user in role.users:
            if not _is_known(pwd.getpwnam, user):
                yield _unknown(where, f"the user {user!r}", f"nobody has the role {role.name} by it")
        for group in role.groups:
            if not _is_known(grp.getgrnam, group):
                yield _unknown(where, f"the group {group!r}", f"nobody has the role {role.name} by it")
        if role.certificates and settings.listen is None:
            yield _out_of_reach(where, "certificates", "listen")
        if (role.users or role.groups) and settings.socket is None:
            yield _out_of_reach(where, "users or groups", "socket")


def _is_known(look: Callable[[str], object], name: str) -> bool:
    try:
        look(name)
    except (KeyError, OSError):
        return False
    return True


def _unknown(where: str, what: str, effect: str) -> Finding:
    return Finding(
        "unknown-operator",
        "remark",
        where,
        f"this machine does not know {what}: {effect}.",
        "Correct the name, or make the user or the group.",
    )


def _out_of_reach(where: str, what: str, key: str) -> Finding:
    return Finding(
        "role-out-of-reach",
        "remark",
        where,
        f"it has {what}, and [admin] has no {key}, by which they would ask.",
        f"Give {key} in [admin], or take the names out.",
    )
