"""Which Pebble a program is, and what its pebble-challtestsrv is told: Debian's are years older than today's."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_VERSION = r"v?(\d+\.\d+\.\d+)"


class UnknownVersionError(Exception):
    """Nobody can say which Pebble a program is, or nothing is kept of that one."""


@dataclass(frozen=True)
class Programs:
    """Pebble's two programs: paths, or names on the PATH."""

    pebble: str = "pebble"
    challtestsrv: str = "pebble-challtestsrv"


DEBIAN = Programs("/usr/bin/pebble", "/usr/bin/pebble-challtestsrv")


def pebble_version(program: str) -> str:
    """The version of a Pebble, such as "2.4.0".

    A release says it (``-version``). What ``go install`` made says "dev", and has its module's version in it. Debian's
    has neither: its package has.

    :raises UnknownVersionError: if none of the three is there.
    """
    path = shutil.which(program)
    if path is None:
        raise UnknownVersionError(f"there is no program {program}")
    said = _run(path, "-version")
    if found := re.search(rf"Pebble version: {_VERSION}", said):
        return found[1]
    module = re.search(rb"\tgithub\.com/letsencrypt/pebble(?:/v2)?\tv(\d+\.\d+\.\d+)\t", Path(path).read_bytes())
    if module:
        return module[1].decode()
    package = re.match(r"(\S+): ", _run("dpkg", "--search", path))
    if package and (found := re.match(_VERSION, _run("dpkg-query", "--show", "--showformat=${Version}", package[1]))):
        return found[1]
    raise UnknownVersionError(
        f"{path} does not say which Pebble it is: -version says {said.strip()[:80]!r}, and it is of no Go module "
        "and of no package"
    )


def challtestsrv_flags(program: str, dns: str) -> list[str]:
    """What a pebble-challtestsrv is told so that it answers DNS at ``dns``, and nothing that nobody asks it for.

    ``-dns01`` became ``-dnsserver``, and a DNS server over HTTPS came, which listens unless it is told not to.

    :raises UnknownVersionError: if it knows neither flag.
    """
    known = set(re.findall(r"^\s+-([\w-]+)", _run(program, "-help"), re.MULTILINE))
    named = next((name for name in ("dnsserver", "dns01") if name in known), None)
    if named is None:
        raise UnknownVersionError(f"{program} has no flag for its DNS server; its flags are {', '.join(sorted(known))}")
    return [f"-{named}", dns, *(["-doh", ""] if "doh" in known else []), "-https01", "", "-defaultIPv6", ""]


def _run(*command: str) -> str:
    """What a program says, whatever comes of it."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    return done.stdout + done.stderr
