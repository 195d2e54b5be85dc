"""The linters pkilint and zlint: they read what the CA signs, and say what the standards would have otherwise."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pki.signed import Signed
from programs import system

PKILINT = Path(__file__).with_name("pkilint_files.py")
ZLINT = Path(__file__).with_name("zlint")
_LEAST = "NOTICE"
"""pkilint also has notes, such as how a key identifier was made; they ask for nothing."""


class Finding(NamedTuple):
    """What a linter found in a file.

    :ivar rule: its name in the linter.
    """

    linter: str
    rule: str
    file: str
    details: str


def pkilint(signed: Signed) -> Iterator[Finding]:
    """What pkilint finds in certificates, lists and OCSP answers."""
    commands = [
        *(("lint_pkix_cert", path, ()) for path in signed.certificates),
        *(("lint_crl", path, ("--type", _kind(path), "--profile", "PKIX")) for path in signed.lists),
        *(("lint_ocsp_response", path, ()) for path in signed.answers),
    ]
    lines = [
        json.dumps([program, "lint", *options, "--severity", _LEAST, "--format", "JSON", str(path)])
        for program, path, options in commands
    ]
    done = system(sys.executable, PKILINT, *lines)
    assert done.returncode == 0, done.stderr
    for (_, path, _), report in zip(commands, done.stdout.splitlines(), strict=True):
        for result in json.loads(report)["results"]:
            for entry in result["finding_descriptions"]:
                yield Finding("pkilint", entry["code"], path.name, f"{entry['severity']} {entry['message']}")


def _kind(path: Path) -> str:
    """A list of a root is about authorities."""
    return "ARL" if "-root-" in path.name else "CRL"


def built_zlint(folder: Path) -> Path:
    """Build our program around zlint's library in ``folder``; the Go modules that it needs are fetched where needed."""
    program = folder / "lint"
    done = system("go", "build", "-o", program, ".", cwd=ZLINT, env={"GOFLAGS": "-mod=readonly", "GOWORK": "off"})
    assert done.returncode == 0, done.stderr
    return program


def zlint(signed: Signed, program: Path) -> Iterator[Finding]:
    """What zlint's rules from RFCs find in certificates and lists; it reads no OCSP.

    :param program: as :func:`built_zlint` builds it.
    """
    done = system(program, *signed.certificates, *signed.lists)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        yield Finding("zlint", entry["rule"], Path(entry["file"]).name, f"{entry['severity']} {entry['details']}")
