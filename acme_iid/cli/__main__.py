"""``python -m acme_iid.cli``, for where the command itself is not on the path."""

from acme_iid.cli import main

main(prog_name="acme-iid-ca")
