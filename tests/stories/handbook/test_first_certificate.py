"""The tutorial on the first certificate, typed in two terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pages import blocks
from ports import free_port

PAGE = "docs/tutorials/first-certificate.md"
NAMED = {block.name: block.text for block in blocks("sh", PAGE)}
FIRST = ("first-ca", "first-cloud", "first-rule", "first-serve")
SECOND = ("first-order", "first-renew", "first-refused", "first-why")
SECONDS = 60


def test_the_tutorial_works_as_typed_in_two_terminals(tmp_path: Path) -> None:
    ports = {"8443": str(free_port()), "8169": str(free_port())}

    def typed(name: str) -> str:
        text = NAMED["first-folder"] + NAMED[name]
        for shown, free in ports.items():
            text = text.replace(f":{shown}", f":{free}")
        return text

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACME_IID", "AWS_"))}
    env = {**kept, "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    bash = ("bash", "-euo", "pipefail", "-c")
    with (tmp_path / "first").open("w") as log:
        text = "".join(typed(name) for name in FIRST)
        first = subprocess.Popen([*bash, text], env=env, stdout=log, stderr=log, process_group=0)
    try:
        deadline = time.monotonic() + SECONDS
        while "Listening on " not in (shown := (tmp_path / "first").read_text()):
            assert first.poll() is None, shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        assert '"instanceId": "i-05e360db6e50b5eda"' in shown.replace('" :', '":')
        assert "web.local" in shown
        said = {}
        for name in SECOND:
            done = subprocess.run(
                [*bash, typed(name)], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            said[name] = done.stdout + done.stderr
            assert done.returncode == (10 if name.endswith("refused") else 0), said[name]
    finally:
        os.killpg(first.pid, signal.SIGTERM)
        first.wait(SECONDS)
    assert "Certificate: web.crt" in said["first-order"]
    assert "web.local" in said["first-renew"]
    assert "db.local" in said["first-why"]
    assert "challenge.refused" in said["first-why"]


def test_each_block_of_the_tutorial_is_typed() -> None:
    assert set(NAMED) == {"first-folder", *FIRST, *SECOND}
