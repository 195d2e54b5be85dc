"""acme-iid bootstrap."""

from __future__ import annotations

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Directories


@click.command("bootstrap")
@click.option(
    "--ca-url", required=True, metavar="URL", envvar="ACME_IID_CA_URL", help="The CA's address: https://ca.local"
)
@click.option(
    "--fingerprint",
    "fingerprints",
    required=True,
    multiple=True,
    metavar="HEX",
    help="SHA-256 of the CA's root certificate: 64 hex digits. Repeat it to trust several roots of the CA.",
)
@click.option("--default", "first", is_flag=True, help="Talk to this CA from now on when a command has no --ca-url.")
@click.option("--force", is_flag=True, help="Replace the root that this machine knows of this CA without asking.")
@options.account_conditions
@options.token_resource
@options.timeout
@options.json
@click.pass_obj
def command(
    where: Directories,
    ca_url: str,
    fingerprints: tuple[str, ...],
    first: bool,
    force: bool,
    token_resource: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Trust a CA: fetch its root certificate, check it, and save it.

    The root is checked against the fingerprint, so the fingerprint must reach you by another way than the CA's address.
    'acme-iid-ca fingerprint' prints it on the CA. The system's own trusted roots play no part.

    While a CA replaces its root, machines trust the old and the new one: repeat --fingerprint. The roots that are named
    take the place of all that this machine trusted of this CA before; account keys and certificates stay in use as
    long as one of these is among them.

    A machine can know several CAs. The first one is the default; the others are chosen with --ca-url, on each command
    or with ACME_IID_CA_URL.

    Where the CA has terms of service, their address is printed; --agree-tos is remembered for these terms and no
    others. An external account key is remembered too, for the account that the first order makes.
    """
    from acme_iid_client.acme import bootstrapping, known_ca, registration, system_trust
    from acme_iid_client.acme.account_terms import Conditions
    from acme_iid_client.cli.terminal import may_overwrite, notice, printable
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.errors import ClientError
    from acme_iid_client.x509 import certificates

    try:
        url, expected = known_ca.parse_url(ca_url), [known_ca.parse_fingerprint(text) for text in fingerprints]
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    deadline = Deadline(timeout)
    roots = bootstrapping.fetch_roots(url, expected, deadline, notice)
    may_overwrite(bootstrapping.different(where, url, roots), force)
    roots_file, configuration = bootstrapping.save(where, url, roots, token_resource, first=first)
    default = known_ca.load(where).ca_url
    ca = known_ca.load(where, url)
    conditions = Conditions.of(where.state, ca)
    conditions.keep_external_key()
    terms = registration.terms_of(ca, deadline, notice)
    agreed = conditions.agrees(terms)
    system_trust.follow(where, notice)
    if as_json:
        import json

        facts = {
            "ca": url,
            "fingerprint": certificates.fingerprint(ca.roots[0]),
            "fingerprints": [certificates.fingerprint(root) for root in ca.roots],
            "root": str(roots_file),
            "configuration": str(configuration),
            "default": default == url,
            "terms_of_service": terms,
            "terms_of_service_agreed": agreed,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    saved = "The root certificate has" if len(roots) == 1 else f"The {len(roots)} root certificates have"
    click.echo(f"{saved} been saved in {roots_file}.")
    click.echo(f"The authority configuration has been saved in {configuration}.")
    if terms is not None and agreed:
        click.echo(printable(f"The CA's terms of service have been agreed to: {terms}"))
    elif terms is not None:
        click.echo(printable(f"The CA has terms of service: {terms}"))
        notice("An account takes agreement to them: --agree-tos, here or with 'acme-iid order'.")
    if default != url:
        notice(f"Commands talk to {default} unless they have --ca-url {url}; 'bootstrap --default' changes that.")
