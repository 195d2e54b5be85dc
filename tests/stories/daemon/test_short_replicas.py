"""Three replicas on one PostgreSQL that are killed and restarted under load; the soak does it with 5,000 orders."""

from __future__ import annotations

from pathlib import Path

import replicas


def test_of_200_orders_through_three_replicas_none_is_lost_or_given_twice(tmp_path: Path) -> None:
    with replicas.Fleet.serving(tmp_path) as fleet:
        load = replicas.Load(fleet, 200)
        load.run(replicas.kill_and_restart)
        replicas.check(load)
