"""The token's process keeps its memory to itself."""

from __future__ import annotations

import subprocess
import sys

PROTECTED = """
import ctypes, os, resource
from acme_iid.signing.token import protect
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
if os.getuid() == 0:
    os.setuid(12345)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
before = os.stat("/proc/self/mem").st_uid == os.getuid()
protect()
print(before, os.stat("/proc/self/mem").st_uid, *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_its_memory_is_for_no_other_process_and_no_core_file() -> None:
    """The files in /proc of a process that is not dumpable are root's (proc(5))."""
    done = subprocess.run([sys.executable, "-c", PROTECTED], capture_output=True, check=True, text=True, timeout=60)
    assert done.stdout == "True 0 0 0\n"
