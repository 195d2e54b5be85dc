"""Of two account keys that race for one instance, from eight processes, one wins; the soak does it a thousand times."""

from __future__ import annotations

from pathlib import Path

import racing
from running import CA


def test_two_account_keys_never_both_win_an_instance(own_ca: CA, tmp_path: Path) -> None:
    own_ca.start("--workers", "4")
    (tmp_path / "keys").mkdir()
    outcomes = racing.race(own_ca, tmp_path / "keys", 100)
    assert sum(racing.check(outcomes)) == 100
    assert own_ca.cli("events", "--check").stdout.startswith("OK: ")
