"""``python -m acme_iid_client`` is acme-iid."""

from acme_iid_client.cli import main

main()
