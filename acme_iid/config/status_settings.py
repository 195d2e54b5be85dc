"""The table ``[status]`` of ca.toml: where relying parties see what was revoked, by plain HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from acme_iid.config import parsers, setting_reader
from acme_iid.config.table import Table
from acme_iid.policy.setting import described, settings_of
from acme_iid.protocol.addresses import Listen

_HTTP_PORT = 80
_URLS_OF_LEAVES = ("crl_url", "issuer_url", "ocsp_url")


def url(text: str, placeholder: str = "") -> str:
    """Return the URL of what is fetched, as it is.

    :param placeholder: what it needs in it, such as {issuer}; "" for nothing.
    :raises ValueError: if the text is not such a URL.
    """
    address = parsers.page_url(text)
    named = re.findall(r"\{[^}]*\}", text)
    if placeholder and named != [placeholder]:
        raise ValueError(
            f"{text!r} needs {placeholder} in it, once: the CA has several, and each has a URL of its own; write for "
            f'example "http://pki.example.com/{placeholder}.crl"'
        )
    if not placeholder and named:
        raise ValueError(f"{text!r} is one URL for all issuers, without a placeholder; an answer finds its issuer")
    return address


def root_list_url(text: str) -> str:
    """Return the URL of the revocation list of one root, as it is.

    :param text: {root} in it stands for the root's id; it may be left out.
    :raises ValueError: if the text is not such a URL.
    """
    address = parsers.page_url(text)
    unknown = set(re.findall(r"\{[^}]*\}", text)) - {"{root}"}
    if unknown:
        raise ValueError(f"{text!r} has {min(unknown)} in it; the only placeholder is {{root}}, for the root's id")
    return address


@dataclass(frozen=True, slots=True)
class StatusSettings:
    """The table ``[status]``; None for a URL that follows from ``listen``, or from the server's URL."""

    listen: Listen | None = field(
        default=None,
        metadata=described(
            'an address such as "0.0.0.0:80"',
            "A further address on which the server listens, for plain HTTP: revocation lists, OCSP and the issuers' "
            "certificates, and nothing else. Certificates say where.",
            parsers.listen_address,
            absent="no further one; with [ca] crl, below [server] url",
        ),
    )
    crl_url: str | None = field(
        default=None,
        metadata=described(
            'a URL such as "http://pki.example.com/crl/{issuer}"',
            "Where certificates say that their issuer's revocation list is; {issuer} is the issuer's id.",
            partial(url, placeholder="{issuer}"),
            absent="http, the host in [server] url, the port in listen, and /crl/{issuer}",
        ),
    )
    issuer_url: str | None = field(
        default=None,
        metadata=described(
            'a URL such as "http://pki.example.com/issuer/{issuer}.cer"',
            "Where certificates say that their issuer's certificate is.",
            partial(url, placeholder="{issuer}"),
            absent="the same with /issuer/{issuer}.cer",
        ),
    )
    ocsp_url: str | None = field(
        default=None,
        metadata=described(
            'a URL such as "http://pki.example.com/ocsp"',
            "Where certificates say that OCSP is answered.",
            url,
            absent="the same with /ocsp",
        ),
    )
    root_crl_url: str | None = field(
        default=None,
        metadata=described(
            'a URL such as "http://pki.example.com/root-crl/{root}"',
            "Where intermediates and links to roots say that the list of their root is; {root} is the root's id.",
            partial(url, placeholder="{root}"),
            absent="the same with /root-crl/{root}; without listen they do not say it",
        ),
    )

    def base(self, server_url: str) -> str:
        """The beginning of the URLs that are not given.

        :param server_url: that of the ACME server.
        """
        if self.listen is None:
            return server_url
        host = urlsplit(server_url).hostname or ""
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}" + ("" if self.listen.port == _HTTP_PORT else f":{self.listen.port}")


def read(table: Table, *, is_shown: bool) -> StatusSettings:
    """Read the table.

    :param is_shown: whether [ca] crl has the status of certificates shown.
    :raises ConfigError: if it is invalid.
    """
    settings = StatusSettings(**setting_reader.read(table, settings_of(StatusSettings)))
    table.done()
    for key in _URLS_OF_LEAVES:
        if getattr(settings, key) is not None and settings.listen is None and not is_shown:
            raise table.error(
                key, "is of no use where no status is shown; give listen too, or write crl = true in [ca]"
            )
    return settings
