"""``acme-iid-ca store servers``: who shares the store."""

from __future__ import annotations

import json
import time

from running import CA


def listed(ca: CA) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(ca.cli("store", "servers", "--json").stdout)
    return found


def until_listed(ca: CA, number: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + 60
    while len(found := listed(ca)) != number:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def test_a_server_is_listed_while_it_runs(own_ca: CA) -> None:
    assert listed(own_ca) == []
    assert "No server runs" in own_ca.cli("store", "servers").stderr
    own_ca.start()
    (server,) = until_listed(own_ca, 1)
    assert abs(int(str(server["clock_ahead"]))) <= 5
    assert str(server["id"]) in own_ca.cli("store", "servers").stdout
    own_ca.kill()
    # It could not say so; the next one does not take its place.
    own_ca.start()
    assert str(server["id"]) in {str(entry["id"]) for entry in until_listed(own_ca, 2)}
    assert own_ca.stop() == 0
    assert [entry["id"] for entry in listed(own_ca)] in ([server["id"]], [])
