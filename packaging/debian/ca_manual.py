"""Make the manual pages and completions of acme-iid-ca: ca_manual.py SHARE VERSION.

The wheel has none of these, since they need all that the CA's commands import. packaging/deb calls it, with the CA's
environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

from acme_iid.cli import main
from acme_iid_client import manual

EXIT_STATUS = (
    "0: success. 1: an error that an operator can act on, or a finding of check. 2: wrong usage. check --reload and "
    "others have statuses of their own, which their pages list."
)
FILES = {
    "/etc/acme-iid-ca": "The configuration, ca.toml.",
    "/var/lib/acme-iid-ca": "The CA's home: keys, certificates, and the store if it is a file.",
}

if __name__ == "__main__":
    manual.write(Path(sys.argv[1]), sys.argv[2], manual.Program("acme-iid-ca", main, EXIT_STATUS, {}, FILES))
