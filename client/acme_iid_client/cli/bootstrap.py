"""acme-iid bootstrap."""

from __future__ import annotations

import click

from acme_iid_client.cli import options
from acme_iid_client.storage.directories import Places


@click.command("bootstrap")
@click.option(
    "--ca-url", required=True, metavar="URL", envvar="ACME_IID_CA_URL", help="The CA's address: https://ca.local"
)
@click.option(
    "--fingerprint", required=True, metavar="HEX", help="SHA-256 of the CA's root certificate: 64 hex digits."
)
@click.option("--default", "first", is_flag=True, help="Talk to this CA from now on when a command has no --ca-url.")
@click.option("--force", is_flag=True, help="Replace the root that this machine knows of this CA without asking.")
@options.account_conditions
@options.token_resource
@options.timeout
@options.json
@click.pass_obj
def command(
    where: Places,
    ca_url: str,
    fingerprint: str,
    first: bool,
    force: bool,
    token_resource: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Trust a CA: fetch its root certificate, check it, and save it.

    The fingerprint must come to you another way than from the CA's address, for it is what the root is checked
    against; 'acme-iid-ca fingerprint' prints it on the CA. The system's own trusted roots play no part.

    A machine can know several CAs. The first one is the default; the others are chosen with --ca-url, on each command
    or with ACME_IID_CA_URL.

    Where the CA has terms of service, their address is printed; --agree-tos is remembered for these terms and no
    others. An external account key is remembered too, for the account that the first order makes.
    """
    from acme_iid_client.acme import known_ca, registration
    from acme_iid_client.acme.account_terms import Conditions
    from acme_iid_client.cli.terminal import may_overwrite, notice, printable
    from acme_iid_client.deadline import Deadline
    from acme_iid_client.errors import ClientError

    try:
        url, expected = known_ca.parse_url(ca_url), known_ca.parse_fingerprint(fingerprint)
    except ClientError as error:
        raise click.UsageError(str(error)) from error
    deadline = Deadline(timeout)
    pem = known_ca.fetch_root(url, expected, deadline, notice)
    may_overwrite(known_ca.different(where, url, pem), force)
    root_file, configuration = known_ca.save(where, url, pem, token_resource, first=first)
    default = known_ca.load(where).ca_url
    ca = known_ca.load(where, url)
    conditions = Conditions.of(where.state, ca)
    conditions.keep_external_key()
    terms = registration.terms_of(ca, deadline, notice)
    agreed = conditions.agrees(terms)
    if as_json:
        import json

        facts = {"ca": url, "fingerprint": expected, "root": str(root_file), "configuration": str(configuration)}
        consent = {"terms_of_service": terms, "terms_of_service_agreed": agreed}
        click.echo(json.dumps({**facts, "default": default == url, **consent}, indent=2))
        return
    click.echo(f"The root certificate has been saved in {root_file}.")
    click.echo(f"The authority configuration has been saved in {configuration}.")
    if terms is not None and agreed:
        click.echo(printable(f"The CA's terms of service have been agreed to: {terms}"))
    elif terms is not None:
        click.echo(printable(f"The CA has terms of service: {terms}"))
        notice("An account takes agreement to them: --agree-tos, here or with 'acme-iid order'.")
    if default != url:
        notice(f"Commands talk to {default} unless they have --ca-url {url}; 'bootstrap --default' changes that.")
