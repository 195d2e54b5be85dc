"""The list of a CA's roots, ``/roots.json``: what a client takes up of it, and what it refuses (rfc-notes/roots.md).

Whoever answers in the CA's name may have stolen the key of an intermediate. So a root is taken up by a signature of a
root that is trusted already, and by nothing else; an issuer counts as revoked by a list that such a root has signed;
and a root is given up only while another one stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from acme_iid_client.acme.known_ca import Roots
from acme_iid_client.errors import ClientError
from acme_iid_client.x509.authorities import Revocations, is_link, is_list_of, is_root, list_number, load_lists, shown
from acme_iid_client.x509.certificates import load_certificates

MAX_ROOTS = 32
"""The largest number of roots in a list."""
MAX_BYTES = 1024 * 1024
"""The largest document."""
_AHEAD = timedelta(days=1)
"""The time that a version, which is a time, may be ahead of this machine's clock.

Without a limit, whoever answers once in the CA's name could send a version after which no other is taken up.
"""


class OlderListError(ClientError):
    """A list is older than one that was taken up before."""


@dataclass(frozen=True, slots=True)
class ListedRoot:
    """A root in a list.

    :ivar link: by which clients of a former root take it up, if there is such a root.
    :ivar until: when it was dropped; None while it is trusted.
    """

    certificate: x509.Certificate
    link: x509.Certificate | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class RootList:
    """A list of roots, as it was sent; nothing in it is believed yet."""

    version: int
    roots: tuple[ListedRoot, ...]
    lists: Revocations


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a client trusts of a CA.

    :ivar version: that of the list that was taken up last; 0 before the first.
    :ivar lists: of revoked issuers, one of each root that has any.
    """

    roots: Roots
    version: int = 0
    lists: Revocations = ()


def read(content: bytes) -> RootList:
    """Read a document.

    :raises ClientError: if it is no list of roots, or larger than any is.
    """
    if len(content) > MAX_BYTES:
        raise ClientError(f"The CA's list of roots is larger than {MAX_BYTES} octets. It was not taken up.")
    try:
        document = json.loads(content)
        version, entries, crl = document["version"], document["roots"], document.get("crl")
        lists = () if crl is None else load_lists(crl.encode())
        return RootList(_version(version), tuple(_entry(entry) for entry in _entries(entries)), lists)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ClientError) as error:
        raise ClientError("The CA's list of roots cannot be read. It was not taken up.") from error


def _version(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no version")
    return value


def _entries(value: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    if not isinstance(value, list) or len(value) > MAX_ROOTS:
        raise ValueError("no list, or too many roots")
    return value


def _entry(entry: dict[str, str | None]) -> ListedRoot:
    root, link, until = entry["pem"], entry.get("link"), entry.get("until")
    moment = None if until is None else datetime.fromisoformat(until)
    if root is None or (moment is not None and moment.tzinfo is None):
        raise ValueError("no certificate, or a time without a zone")
    return ListedRoot(_certificate(root), None if link is None else _certificate(link), moment)


def _certificate(pem: str) -> x509.Certificate:
    (certificate,) = load_certificates(pem.encode())
    return certificate


def take_up(trusted: Trusted, listed: RootList, now: datetime, notice: Callable[[str], None]) -> Trusted:
    """What is trusted after a list: roots by their links, without those that were dropped.

    :param now: with a zone.
    :param notice: called with a sentence for each root that is taken up, given up or refused.
    :raises OlderListError: if the list is older than the one before.
    :raises ClientError: if its version is a time that is still to come.
    """
    if listed.version < trusted.version:
        raise OlderListError(
            f"The CA's list of roots has the version {listed.version}, and this machine has taken up {trusted.version} "
            "before: it was restored from a backup, or somebody plays an old list back. It was not taken up."
        )
    if listed.version > (now + _AHEAD).timestamp():
        raise ClientError(
            f"The version of the CA's list of roots, {listed.version}, is a time that is still to come. It was not "
            "taken up. Check the clocks of this machine and of the CA."
        )
    roots = _without_dropped(_with_linked(trusted, listed, now, notice), listed, now, notice)
    return Trusted(roots, listed.version, _newest(roots, (*trusted.lists, *listed.lists)))


def _with_linked(known: Trusted, listed: RootList, now: datetime, notice: Callable[[str], None]) -> Roots:
    roots = known.roots
    candidates = [entry for entry in listed.roots if entry.until is None and entry.certificate not in roots]
    # One that is taken up may be what the next one's link leads to.
    while (entry := next((entry for entry in candidates if _may_be_taken_up(entry, roots, now)), None)) is not None:
        candidates.remove(entry)
        roots = (*roots, entry.certificate)
        notice(f"The CA has a new root, {shown(entry.certificate.subject)}, which a root that is trusted vouches for.")
    for entry in candidates if listed.version > known.version else ():
        notice(
            f"The CA lists the root {shown(entry.certificate.subject)}, which no root that is trusted vouches for. It "
            "was not taken up; 'acme-iid bootstrap' does so by its fingerprint."
        )
    return roots


def _may_be_taken_up(entry: ListedRoot, roots: Roots, now: datetime) -> bool:
    link = entry.link
    return (
        link is not None
        and is_root(entry.certificate, now)
        and all(entry.certificate.subject != root.subject for root in roots)
        and any(is_link(link, entry.certificate, root, now) for root in roots)
    )


def _without_dropped(roots: Roots, listed: RootList, now: datetime, notice: Callable[[str], None]) -> Roots:
    dropped = [entry.certificate for entry in listed.roots if entry.until is not None and entry.until <= now]
    kept = tuple(root for root in roots if root not in dropped)
    if not any(is_root(root, now) for root in kept):
        return roots
    for root in roots:
        if root not in kept:
            notice(f"The CA's root {shown(root.subject)} is trusted no more.")
    return kept


def _newest(roots: Roots, lists: Revocations) -> Revocations:
    """Of the lists that a trusted root has signed, the one with the highest number of each: numbers never fall."""
    newest = []
    for root in roots:
        of_root = [one for one in lists if is_list_of(one, root)]
        if of_root:
            newest.append(max(of_root, key=list_number))
    return tuple(newest)
