"""The tables ``[[sink]]`` of ca.toml: where events are sent to, beside the store that keeps them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acme_iid.config import parsers, secret_files, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.setting import described, settings_of
from acme_iid.telemetry import delivery

HOOK, SYSLOG = "https", "syslog+tls"
"""The schemes of URLs, which say what a sink is."""
MAX_SINKS = 16
MAX_SECRET_BYTES = 4096
MIN_SECRET_BYTES = 16

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?\Z")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
_OWN_HEADERS = ("accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding",
                "user-agent")  # fmt: skip


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(f"{text!r} is no name for a sink; it has up to 48 small letters, digits and '-'")
    return text


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    whole = url.scheme == HOOK or (url.scheme == SYSLOG and url.path in ("", "/") and not url.query)
    visible = text.isascii() and text.isprintable() and " " not in text
    if not whole or not visible or not url.hostname or "@" in url.netloc or url.fragment or port == 0:
        # It is not shown: it may hold a password where it should have none, and the path of many a hook is one.
        raise ValueError(
            f'this is no place for events; write "{SYSLOG}://HOST:6514" or "{HOOK}://HOST/PATH", without a password'
        )
    return text


def _header(text: str) -> str:
    if not _HEADER.match(text) or text.lower() in _OWN_HEADERS:
        # It is not shown: it may have the header's value behind it.
        raise ValueError("this is no name for a header of its own; write one such as X-Signature, without a value")
    return text


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One table ``[[sink]]``.

    :ivar secret: the key of a hook's MAC.
    """

    name: str = field(
        metadata=described(
            'a name such as "siem"',
            "The sink's name, at most 48 characters: the store remembers by it how far the sink is.",
            _name,
        )
    )
    url: str = field(
        metadata=described(
            f'a URL such as "{SYSLOG}://log.internal:6514" or "{HOOK}://siem.internal/events"',
            f"Where events are sent: {SYSLOG} for syslog (RFC 5424) over TLS, {HOOK} for a POST of NDJSON.",
            _url,
        )
    )
    secret_file: Path | None = field(
        default=None,
        metadata=described(
            "a file",
            "The file with the key that a hook shares, a line from 16 to 4096 octets; or credential:NAME, one of the "
            "credentials that systemd gave the server. Every request has a MAC under it.",
            secret_files.name,
            absent="none; a hook needs one",
        ),
    )
    header: str = field(
        default="X-Acme-Iid-Signature",
        metadata=described(
            'a name such as "X-Signature"', "The header of a hook's requests that has the MAC.", _header
        ),
    )
    roots_file: Path | None = field(
        default=None,
        metadata=described(
            "a file", "The roots, PEM, under which the receiver's certificate is.", Path, absent="the system's roots"
        ),
    )
    certificate_file: Path | None = field(
        default=None,
        metadata=described(
            "a file",
            "A certificate with its private key, PEM, to show to a receiver that asks; or credential:NAME.",
            secret_files.name,
            absent="no certificate is shown",
        ),
    )
    drop_after: int | None = field(
        default=None,
        metadata=described(
            'a duration such as "30d"',
            "The age from which on events may go from the store (events in [retention]) although this sink has not "
            "taken them, at least 1d.",
            partial(parsers.bounded_duration, least=86400, otherwise="must be at least 1d"),
            "duration",
            absent="they stay until it has taken them",
        ),
    )
    secret: bytes = field(default=b"", repr=False)

    @property
    def scheme(self) -> str:
        """What the sink is: :data:`HOOK` or :data:`SYSLOG`."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str:
        """The host of the receiver."""
        return urlsplit(self.url).hostname or ""

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """The files that hold what nobody else may have."""
        return tuple(path for path in (self.secret_file, self.certificate_file) if path is not None)


def read_all(tables: Sequence[Table], home: Path) -> tuple[SinkSettings, ...]:
    """Read the tables.

    :raises ConfigError: if one is invalid.
    """
    sinks: list[SinkSettings] = []
    for table in tables:
        sink = _read(table, home)
        if any(other.name == sink.name for other in sinks):
            raise table.error("name", "another sink has this name; names are unique")
        if len(sinks) == MAX_SINKS:
            raise table.file_error(f"there are more than {MAX_SINKS} sinks; have one of them pass events on")
        sinks.append(sink)
    return tuple(sinks)


def _read(table: Table, home: Path) -> SinkSettings:
    values: dict[str, Any] = setting_reader.read(table, settings_of(SinkSettings))
    for key in ("secret_file", "certificate_file"):
        if key in values:
            values[key] = secret_files.place(values[key], home, os.environ)
    if "roots_file" in values:
        values["roots_file"] = home / values["roots_file"]
    sink = SinkSettings(**values)
    table.done()
    try:
        delivery.tls_context(sink.roots_file, sink.certificate_file)
    except OSError as error:
        files = " or ".join(str(path) for path in (sink.roots_file, sink.certificate_file) if path is not None)
        key = "certificate_file" if sink.roots_file is None else "roots_file"
        raise table.error(key, f"{files} cannot be used: {error.strerror or error}") from error
    if sink.scheme == SYSLOG and (sink.secret_file is not None or "header" in values):
        raise table.error("secret_file", "is for a hook; syslog has TLS alone")
    if sink.scheme == SYSLOG:
        return sink
    if sink.secret_file is None:
        raise table.error("secret_file", "is missing; it is the file of the key that the hook shares")
    return SinkSettings(**values, secret=table.parsed("secret_file", sink.secret_file, _secret))


def _secret(file: Path) -> bytes:
    secret = secret_files.read(file).strip().encode()
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"the line in {file} has {len(secret)} octets, and a key has from {MIN_SECRET_BYTES} to "
            f"{MAX_SECRET_BYTES}; 'openssl rand -base64 32' makes one"
        )
    return secret
