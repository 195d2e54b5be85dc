"""``acme-iid-ca cross-sign``: another root vouches for the intermediate as well."""

from __future__ import annotations

import time
from pathlib import Path

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import reason_option, record_act
from acme_iid.cli.parameters import password, password_file, root_crl_url

_file = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Have another root sign the intermediate too.")
@click.option("--root-cert", required=True, type=_file, help="The other root's certificate, PEM.")
@click.option("--root-key", required=True, type=_file, help="The other root's private key, PEM.")
@click.option(
    "--issuer", metavar="ID", help="The intermediate, as 'issuer list' shows it; by default the one that signs."
)
@root_crl_url
@password_file
@reason_option()
@click.argument("out", type=_file)
@click.pass_obj
def cross_sign(
    home: Home,
    root_cert: Path,
    root_key: Path,
    issuer: str | None,
    root_crl_url: str | None,
    password_file: Path | None,
    act_reason: str | None,
    out: Path,
) -> None:
    """Write to OUT an intermediate of this CA as another root signs it, and that root: an alternate chain.

    Its name constraints stay. With OUT in alternate_chains of [ca], clients that trust the other root can ask for that
    chain. Nothing that exists is overwritten, and the key of this CA is not needed.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from acme_iid.durable import write_new
    from acme_iid.issuance import alternates, ceremony, keys
    from acme_iid.issuance.home import load_certificate
    from acme_iid.issuance.issuer import Signer, key_id
    from acme_iid.operations import issuers, root_lists
    from acme_iid.store.chain import Event

    root = Signer(load_certificate(root_cert), keys.load(root_key, password(password_file)))
    intermediate = issuers.chosen(home.config(), issuer)[0]
    url = root_lists.url_of(root.certificate, root_crl_url, home.location)
    now = int(time.time())
    signed = ceremony.cross_sign(root, intermediate, now, url)
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (signed, root.certificate))
    try:
        write_new(out, pem, 0o644)
    except FileExistsError as error:
        raise click.ClickException(f"{out} exists; choose another file") from error
    chain = alternates.load(out, [intermediate])
    detail = {"issuer": key_id(intermediate.public_key()), "root": chain.root_fingerprint}
    record_act(home, act_reason, Event("issuer.cross_signed", now, detail=detail))
    click.echo(f"The alternate chain is in {out}.")
    click.echo(f"Its root's fingerprint: {chain.root_fingerprint}")
    click.echo(f'To offer it, add to [ca] in ca.toml: alternate_chains = ["{out.absolute()}"]')
