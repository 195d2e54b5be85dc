"""A thousand races for instances: ``tox -e soak``."""

from __future__ import annotations

from pathlib import Path

import racing
from running import CA


def test_two_account_keys_never_both_win_an_instance_in_a_thousand_races(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start("--workers", "4")
    (tmp_path / "keys").mkdir()
    won = racing.check(racing.race(own_ca, tmp_path / "keys", 1000))
    assert sum(won) == 1000
    # Both accounts had a chance, or it was no race.
    assert min(won) > 0
    assert own_ca.cli("events", "--check").stdout.startswith("OK: ")
