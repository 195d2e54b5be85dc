"""Following a CA from one root to the next: the list of roots is fetched, judged, and what is trusted is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import requests

from acme_iid_client.acme import bootstrapping, root_list
from acme_iid_client.acme.known_ca import (
    CONFIGURATION,
    LISTS,
    ROOTS,
    KnownCA,
    configurations,
    read_lists,
    read_roots,
    read_saved,
)
from acme_iid_client.acme.root_list import RootList, Trusted
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import AwayError
from acme_iid_client.storage import directories
from acme_iid_client.storage.descriptors import open_directory
from acme_iid_client.transport.trust import request_error
from acme_iid_client.x509.authorities import lists_to_pem


def follow(where: directories.Directories, ca: KnownCA, deadline: Deadline, notice: Callable[[str], None]) -> bool:
    """Take up what the CA's list of roots says, as far as it may be believed.

    A CA that this machine was not bootstrapped for, but which an option names with its roots, is left as it is.

    :param notice: called with a sentence for each root that is taken up, given up or refused.
    :returns: whether other roots are trusted now, or other issuers known as revoked.
    :raises ClientError: if the CA cannot be asked, or its list was not taken up.
    :raises OSError: if what is trusted cannot be saved.
    """
    saved = {file.parent: read_saved(file) for file in configurations(where)}
    of_ca = {home: known for home, known in saved.items() if known is not None and known.ca_url == ca.ca_url}
    homes = [home for home, known in of_ca.items() if known.roots_file == home / ROOTS]
    # Roots that stand elsewhere are somebody else's to change.
    if ca.roots_file not in [home / ROOTS for home in homes]:
        return False
    listed = fetch(ca, deadline)
    if listed is None:
        return False
    # The default CA may stand in two directories; what is said is said for the first.
    changes = [_take_up(home, ca, listed, notice if home == homes[0] else _silent) for home in homes]
    return any(changes)


def fetch(ca: KnownCA, deadline: Deadline) -> RootList | None:
    """The CA's list of roots, over a connection that verifies; None from a CA that has none.

    :raises ClientError: if there is no answer that can be read.
    """
    url = f"{ca.ca_url}/roots.json"
    try:
        with ca.session(deadline) as session:
            response = session.get(url)
    except requests.RequestException as error:
        raise request_error(error, ca.ca_url) from error
    if response.status_code == requests.codes.not_found:
        return None
    if response.status_code != requests.codes.ok:
        raise AwayError(f"{url} answers with status {response.status_code}.")
    return root_list.read(response.content)


def _take_up(home: Path, ca: KnownCA, listed: RootList, notice: Callable[[str], None]) -> bool:
    with open_directory(home) as directory:
        # Another program of ours may have taken up a later list meanwhile.
        directory.lock()
        saved = read_saved(home / CONFIGURATION)
        if saved is None or saved.ca_url != ca.ca_url:
            return False
        roots = read_roots(saved.roots_file)
        before = Trusted(roots, saved.version, read_lists(saved.roots_file, roots))
        after = root_list.take_up(before, listed, datetime.now(UTC), notice)
        if after == before:
            return False
        # The version is written last: what is cut off before is taken up again.
        if after.lists != before.lists:
            directories.write_file(home / ROOTS.with_name(LISTS), lists_to_pem(after.lists), public=True)
        bootstrapping.write(home, replace(saved, version=after.version), after.roots)
        return (after.roots, after.lists) != (before.roots, before.lists)


def _silent(_text: str) -> None:
    """Say nothing."""
