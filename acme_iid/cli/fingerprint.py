"""``acme-iid-ca fingerprint``."""

from __future__ import annotations

import click

from acme_iid.cli import Home


@click.command(short_help="Print the roots' fingerprints.")
@click.pass_obj
def fingerprint(home: Home) -> None:
    """Print the SHA-256 of each root certificate in lower-case hex, as ``acme-iid bootstrap --fingerprint`` takes it.

    There are several while one replaces another; the one in use is first.
    """
    from acme_iid.issuance import roots
    from acme_iid.issuance.home import load_roots

    for root in load_roots(home.path):
        click.echo(roots.fingerprint(root))
