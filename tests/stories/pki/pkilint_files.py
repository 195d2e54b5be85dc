"""Run pkilint's programs on many files in one process: each takes a second to start.

Each argument is a command line of one of them as a JSON list; a line of JSON comes out for each.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys


def main() -> None:
    for line in sys.argv[1:]:
        program, *arguments = json.loads(line)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            importlib.import_module(f"pkilint.bin.{program}").main(arguments)
        print(json.dumps(json.loads(out.getvalue())))


if __name__ == "__main__":
    main()
