"""The table in rfc-notes/rfc8555.md: what the suite finds on this server and on Debian's Pebble.

    python tests/stories/conformance_runs/table.py

runs the suite against both and writes it anew.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / wing) for wing in ("stories", "suites", "support")]

from conformance.report import load, markdown
from conformance_runs.ours import serving
from conformance_runs.pebble import challtestsrv, pebble
from conformance_runs.suite import run
from conformance_runs.versions import DEBIAN, pebble_version

NOTE = TESTS.parent / "rfc-notes" / "rfc8555.md"
BEGIN = "<!-- the conformance suite's table: python tests/stories/conformance_runs/table.py writes it -->"
END = "<!-- the end of the conformance suite's table -->"
MODULES = tomllib.loads(Path(__file__).with_name("modules.toml").read_text("utf-8"))


def main() -> None:
    """Run, and write the table into the note."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with challtestsrv(folder) as challenges, serving(folder, challenges) as server:
            run(folder / "ours.json", server.ca.directory, server.ca.root, *server.options, seconds=400)
        with pebble(folder, PEBBLE_ALTERNATE_ROOTS="1") as other:
            run(folder / "pebble.json", other.directory, other.tls.root, *other.options)
        theirs = f"Pebble {pebble_version(DEBIAN.pebble)}"
        table = markdown({"ours": load(folder / "ours.json"), theirs: load(folder / "pebble.json")}, MODULES)
    text = NOTE.read_text("utf-8")
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    NOTE.write_text(f"{text[:start]}\n\n{table}\n{text[end:]}", "utf-8")


if __name__ == "__main__":
    main()
