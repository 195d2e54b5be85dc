"""acme-iid evidence."""

from __future__ import annotations

import click

from acme_iid_client.cli import options


@click.command("evidence")
@click.option(
    "--format",
    "kind",
    metavar="FORMAT",
    help="The kind of evidence for --raw (default: the first that this machine has).",
)
@click.option("--raw", is_flag=True, help="Print the evidence itself, as JSON for 'acme-iid verify'.")
@options.metadata_url
@options.token_resource
@options.json
def command(kind: str | None, raw: bool, metadata_url: str | None, token_resource: str | None, as_json: bool) -> None:
    """Show which instance this machine can prove to be, and by what kinds of evidence. Nothing is sent to the CA.

    The facts are what the metadata service says; 'acme-iid evidence --raw | acme-iid verify -' checks its signature.
    The list has the kinds of evidence that this machine gets; --json also says why it does not get the others.
    """
    import json
    import os
    import secrets

    from acme_iid.binding import binding
    from acme_iid_client import clouds
    from acme_iid_client.cli.terminal import notice, printable

    if kind is not None and kind not in clouds.formats():
        raise click.UsageError(f"--format {kind} is unknown; there are {', '.join(clouds.formats())}.")
    if kind is not None and not raw:
        raise click.UsageError("--format goes with --raw.")
    cloud = clouds.here(os.environ, metadata_url, token_resource, notice)
    # Evidence that can be bound is bound to a challenge that nobody made, so that it opens nothing.
    bound = binding(f"evidence.{secrets.token_urlsafe()}")
    if raw:
        answer = clouds.collect(cloud, cloud.formats if kind is None else (kind,), bound)
        click.echo(json.dumps(answer.to_json()))
        if cloud.title == "AWS":
            notice(
                "Keep this secret: until the CA knows the instance's account, any holder of its AWS document "
                "can pass for it."
            )
        return
    facts = cloud.facts()
    formats, missing = clouds.available(cloud, bound)
    if as_json:
        shown = {"cloud": cloud.title, "formats": formats, "missing": missing, "facts": dict(facts)}
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo(f"{cloud.title} instance, as its metadata service says (not verified):")
    for name, value in facts.items():
        click.echo(printable(f"  {name + ':':<18}{value}"))
    click.echo(f"Evidence that it has: {', '.join(formats) or 'none'}")
