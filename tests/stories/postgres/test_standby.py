"""A standby that commits wait for takes over under load: nothing acknowledged is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest
import replicas
from running import CA


@pytest.fixture
def pair() -> Iterator[tuple[postgresql.Cluster, postgresql.Cluster]]:
    """A cluster, and its synchronous standby."""
    primary = postgresql.Cluster()
    primary.start()
    standby = primary.standby()
    yield primary, standby
    standby.remove()
    primary.remove()


def test_nothing_acknowledged_is_lost_when_a_standby_takes_over(
    tmp_path: Path, pair: tuple[postgresql.Cluster, postgresql.Cluster]
) -> None:
    primary, standby = pair
    url = primary.create_apart()
    both = url.replace(f"127.0.0.1:{primary.port}", f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}")
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    toml = ca.home / "ca.toml"
    # The standby is one that commits wait for, whatever else the database is set to.
    toml.write_text(toml.read_text().replace('"sqlite:ca.db"', f'"{both}?target_session_attrs=read-write"'))
    ca.start()

    def take_over(load: replicas.Load) -> None:
        load.wait_for(0.4)
        primary.stop(signal.SIGQUIT)
        standby.promote()

    load = replicas.Load(replicas.Fleet([ca], ca.store_url), 60, threads=4)
    try:
        load.run(take_over)
        # With the primary went what it remembered of nonces, and so those of before.
        replicas.check(load, "badNonce")
    finally:
        ca.kill()
    assert "wait for them all the same" in "".join(ca.log)
