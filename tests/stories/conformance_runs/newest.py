"""The suite on another Pebble than Debian's, compared with what is known of its version.

    python tests/stories/conformance_runs/newest.py
    python tests/stories/conformance_runs/newest.py --pebble PROGRAM --challtestsrv PROGRAM

Without programs it is the version that the benchmarks pin, built from the Go module proxy; CI builds none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / wing) for wing in ("stories", "suites", "support", "tools")]

from benchmarks.builds import CHALLTESTSRV, PEBBLE
from conformance_runs.findings import of_pebble
from conformance_runs.pebble import pebble
from conformance_runs.suite import run
from conformance_runs.versions import Programs, UnknownVersionError, pebble_version


def main() -> None:
    """Run, and say what is found and was not known; the exit code is 1 if there is any of it."""
    parser = argparse.ArgumentParser(description="The conformance suite on another Pebble.")
    parser.add_argument("--pebble", metavar="PROGRAM", help="a Pebble")
    parser.add_argument("--challtestsrv", metavar="PROGRAM", help="the pebble-challtestsrv that answers for its names")
    chosen = parser.parse_args()
    programs = Programs(
        chosen.pebble or str(PEBBLE.program()),
        chosen.challtestsrv or str(CHALLTESTSRV.program()),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with pebble(folder, programs, PEBBLE_ALTERNATE_ROOTS="1") as server:
            done = run(folder / "found.json", server.directory, server.tls.root, *server.options, seconds=900)
    try:
        version = pebble_version(programs.pebble)
        surprises = of_pebble(version).surprises(done.failed)
    except UnknownVersionError as error:
        version, surprises = "of an unknown version", [str(error), *(f"{test} does not hold" for test in done.failed)]
    count = Counter(done.outcomes.values())
    print(f"Pebble {version}: {count['pass']} rules hold, {count['fail']} do not, {count['not offered']} not offered")
    print(*surprises, sep="\n")
    raise SystemExit(bool(surprises))


if __name__ == "__main__":
    main()
