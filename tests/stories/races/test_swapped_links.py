"""A user who exchanges their files and directories with links to root's, while root's client works there."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pairs import certificate_for, issuance
from strangers import NOBODY, Ground, as_nobody, ground, swapping

from acme_iid_client.errors import ClientError
from acme_iid_client.storage import pairs
from acme_iid_client.storage.bundles import Bundles
from acme_iid_client.storage.pairs import Permissions

_TRIES = 150
_MOST_TRIES = 20_000
"""On a busy machine it takes long until both sides have had their turns."""


class Tries:
    """Goes on until it has gone well at times, and at others not; or until what must stay is not as it was.

    :param stays: whether it still is.
    """

    def __init__(self, stays: Callable[[], bool] = lambda: True) -> None:
        self._stays = stays
        self.done = self.made = 0

    def __iter__(self) -> Iterator[int]:
        while self._stays() and (self.made < _TRIES or (not self.met and self.made < _MOST_TRIES)):
            yield self.made
            self.made += 1

    @property
    def met(self) -> bool:
        return 0 < self.done < self.made


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


def _facts(path: Path) -> tuple[int, int, int, bytes]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), path.read_bytes()


def test_files_of_roots_stay_while_their_links_are_swapped_for_a_pair(place: Ground) -> None:
    certs = place.app / "certs"
    subprocess.run(as_nobody("mkdir", certs), check=True)
    pair, made = pairs.pair(certs / "tls.crt", certs / "tls.key"), issuance()
    roots = [place.own / name for name in ("tls.crt", "tls.key")]
    for file in roots:
        file.write_bytes(b"root's")
    before = [_facts(file) for file in roots]
    tries = Tries(lambda: [_facts(file) for file in roots] == before)
    with swapping(certs, place.own):
        for attempt in tries:
            try:
                if attempt % 20:
                    pairs.install_file(pair.certificate, made[0], Permissions(0o644, NOBODY, NOBODY))
                else:
                    pairs.install(pair, *made, Permissions(0o644, NOBODY, NOBODY))
                tries.done += 1
            except (ClientError, OSError):
                pass
    assert [_facts(file) for file in roots] == before
    assert sorted(path.name for path in place.own.iterdir()) == ["tls.crt", "tls.key"]
    assert tries.met


def test_a_file_of_roots_is_never_given_away_in_the_place_of_a_key(place: Ground) -> None:
    certificate, key = issuance()
    pair = pairs.pair(place.app / "tls.crt", place.app / "tls.key")
    pairs.install(pair, certificate, key, Permissions(0o600, NOBODY, NOBODY))
    secret = place.own / "shadow"
    # The very key, so that nothing but the link is wrong with it.
    secret.write_bytes(key)
    secret.chmod(0o600)
    before = _facts(secret)
    tries = Tries(lambda: _facts(secret) == before)
    with swapping(pair.key, secret):
        for _ in tries:
            try:
                pairs.install_certificate(pair, certificate_for(key), Permissions(0o644, NOBODY, NOBODY))
                tries.done += 1
            except (ClientError, OSError):
                pass
    assert _facts(secret) == before
    assert tries.met


def test_what_root_reads_for_a_bundle_comes_through_no_link(place: Ground) -> None:
    certificate, key = issuance()
    pair = pairs.pair(place.app / "tls.crt", place.app / "tls.key")
    pairs.install(pair, certificate, key, Permissions(0o644, NOBODY, NOBODY))
    other = issuance()
    (place.own / "secret.key").write_bytes(other[1])
    copies, tries = Bundles(bundle=place.app / "all.pem"), Tries()
    with swapping(pair.key, place.own / "secret.key"):
        for _ in tries:
            try:
                (place.app / "all.pem").unlink(missing_ok=True)
                copies.refresh(pair, Permissions(0o644, NOBODY, NOBODY))
                tries.done += 1
            except (ClientError, OSError):
                continue
            assert (place.app / "all.pem").read_bytes() == certificate + key
    assert tries.met
