"""One daemon, two hundred certificates that live for minutes, ten minutes of trouble."""

from __future__ import annotations

from pathlib import Path

import soaking
from running import CA


def test_200_certificates_are_valid_and_whole_for_ten_minutes(own_ca: CA, tmp_path: Path) -> None:
    soak = soaking.Soak(
        certificates=200,
        seconds=600,
        lives=(180, 240, 300, 360),
        outages={second: 2 + second % 7 for second in range(40, 580, 60)},
        steps={
            65: (20, 20),
            130: (-15, -15),
            190: (10, 0),
            250: (-20, -10),
            310: (0, 0),
            370: (25, 25),
            430: (45, 45),
            490: (5, 5),
            550: (0, 0),
        },
        rekeyed=10,
    )
    folder = tmp_path / "machine"
    folder.mkdir()
    soaking.check(soak.run(own_ca, folder), renewals=1, share=0.5)
