"""What a run of the suite found on a server that no test runs, compared with what is known of it.

python tests/stories/conformance_runs/compare.py "step-ca 0.30.2" report.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / wing) for wing in ("stories", "suites")]

from conformance.report import load
from conformance_runs.findings import OTHERS


def main() -> None:
    """Say what is found and was not known; the exit code is 1 if there is any of it."""
    parser = argparse.ArgumentParser(description="A report of the conformance suite beside what is known of a server.")
    parser.add_argument("server", choices=OTHERS, help="the server and its version")
    parser.add_argument("report", type=Path, help="what --acme-report wrote, .json")
    chosen = parser.parse_args()
    failed = {result.test for result in load(chosen.report) if result.outcome == "fail"}
    surprises = OTHERS[chosen.server].surprises(failed)
    print(*surprises, sep="\n")
    raise SystemExit(bool(surprises))


if __name__ == "__main__":
    main()
