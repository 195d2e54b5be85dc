# The one file's beginning, __main__.py in it. Any Python can read it, old ones too, so that each gets a sentence.
"""Run acme-iid if this Python's libraries are in the file."""

import json
import os
import sys
import zipfile

archive = os.path.dirname(os.path.abspath(__file__))
with zipfile.ZipFile(archive) as content:
    index = json.loads(content.read("index.json").decode("utf-8"))
tag = "%s%d%d%s" % (
    "cp" if getattr(getattr(sys, "implementation", None), "name", "") == "cpython" else "other",
    sys.version_info[0],
    sys.version_info[1],
    getattr(sys, "abiflags", ""),
)
if tag not in index["wheels"]:
    sys.stderr.write(
        "%s needs CPython %s; this is %s.\n"
        % (os.path.basename(archive), ", ".join(index["pythons"]), sys.version.split("(")[0].strip())
    )
    sys.exit(12)

from pathlib import Path

from acme_iid_client import one_file

one_file.main(Path(archive), index, tag, sys.argv[1:])
