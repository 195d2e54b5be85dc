"""Three replicas on one PostgreSQL, 5,000 orders, kills and restarts in between: nothing is lost or given twice."""

from __future__ import annotations

from pathlib import Path

import replicas


def test_three_replicas_neither_lose_nor_repeat_any_of_5000_orders(tmp_path: Path) -> None:
    with replicas.Fleet.serving(tmp_path) as fleet:
        load = replicas.Load(fleet, 5000)
        load.run(replicas.kill_and_restart)
        replicas.check(load)
