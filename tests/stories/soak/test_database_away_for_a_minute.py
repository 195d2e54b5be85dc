"""The database is away for a minute while clients order: each is told to wait, and nothing acknowledged is lost."""

from __future__ import annotations

import time
from pathlib import Path

import postgresql
import replicas
from running import CA

MINUTE = 60


def test_a_minute_without_the_database_loses_nothing(tmp_path: Path) -> None:
    ca = CA(tmp_path / "ca")
    ca.init(in_a_file=True)
    file = ca.home / "ca.toml"
    file.write_text(file.read_text().replace('"sqlite:ca.db"', f'"{postgresql.cluster().create()}"'))
    ca.start("--workers", "2")
    waits: list[float] = []

    def stop_for_a_minute(load: replicas.Load) -> None:
        load.wait_for(0.3)
        postgresql.cluster().stop()
        back = time.monotonic() + MINUTE
        session = ca.wire().session
        try:
            while time.monotonic() < back:
                began = time.monotonic()
                # What needs no database is answered at once, however many wait for it.
                assert session.get(ca.directory, timeout=10).status_code == 200
                waits.append(time.monotonic() - began)
                time.sleep(1)
        finally:
            postgresql.cluster().start()

    try:
        load = replicas.Load(replicas.Fleet([ca], ca.store_url), 60, threads=8)
        load.run(stop_for_a_minute)
        replicas.check(load)
        assert max(waits) < 5
        assert load.troubles.count("503") > 8
        assert "Traceback" not in "".join(ca.log)
        assert postgresql.PASSWORD not in "".join(ca.log)
    finally:
        if ca.process is not None:
            ca.kill()
