"""Two minutes of what tests/stories/soak does for ten."""

from __future__ import annotations

from pathlib import Path

import soaking
from running import CA


def test_twenty_certificates_are_always_valid_and_whole_for_two_minutes(own_ca: CA, tmp_path: Path) -> None:
    soak = soaking.Soak(
        certificates=20,
        seconds=120,
        lives=(110, 120, 130),
        outages={20: 3, 55: 5, 85: 2},
        steps={30: (12, 12), 50: (-10, -10), 75: (8, 0), 100: (0, 0)},
        rekeyed=3,
    )
    folder = tmp_path / "machine"
    folder.mkdir()
    soaking.check(soak.run(own_ca, folder), renewals=1, share=0.5)
