"""``acme-iid-ca issuer rotate``: from one intermediate to the next, without anybody noticing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import acting, reason_option, record_act
from acme_iid.cli.key_places import key_place, require_fitting, taker
from acme_iid.cli.parameters import KEY_TYPES, Checked, password, password_file
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from cryptography.x509 import NameConstraints

    from acme_iid.config.settings import Config
    from acme_iid.issuance.issuer import Signer
    from acme_iid.protocol.addresses import Network
    from acme_iid.signing.keys import ForeignPlace
    from acme_iid.store.database import Database

_file = click.Path(dir_okay=False, path_type=Path)


@click.group(short_help="From one intermediate to the next.")
def rotate() -> None:
    """Prepare the next intermediate, have it sign, and retire the former one when its last certificate has ended."""


@rotate.command(short_help="Make the next intermediate; it does not sign yet.")
@click.option("--csr", type=_file, metavar="FILE", help="Write a request for a root that is elsewhere.")
@click.option("--root-cert", type=_file, metavar="FILE", help="The root that signs now, PEM; by default the home's.")
@click.option("--root-key", type=_file, metavar="FILE", help="Its private key; by default the home's.")
@click.option("--key-type", type=click.Choice(KEY_TYPES), default="P-256", show_default=True, help="The kind of key.")
@key_place
@click.option(
    "--lifetime",
    type=Checked("duration", keep=False),
    default="1825d",
    show_default=True,
    help="How long it is valid.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    type=Checked("domain", keep=False),
    help="A further domain that it may sign for, beside those in ca.toml; may be repeated.",
)
@click.option(
    "--permit-network",
    "networks",
    multiple=True,
    type=Checked("network", keep=False),
    metavar="NETWORK",
    help="Addresses that it may sign for, instead of the private networks; may be repeated.",
)
@click.option("--no-name-constraints", is_flag=True, help="Let it sign for any name.")
@password_file
@reason_option()
@click.pass_obj
def prepare(
    home: Home,
    csr: Path | None,
    root_cert: Path | None,
    root_key: Path | None,
    key_type: str,
    key: ForeignPlace | None,
    lifetime: int,
    domains: tuple[str, ...],
    networks: tuple[Network, ...],
    no_name_constraints: bool,
    password_file: Path | None,
    act_reason: str | None,
    *,
    generate: bool,
) -> None:
    """Make the key and the certificate of the next intermediate. It signs nothing until ``activate``.

    The root in the home signs it, or the one that is given; with --csr a root elsewhere, whose answer ``issuer import``
    takes up. Copy the new folder in issuers/ and its key to the CA's other servers, and reload them (SIGHUP). With
    --key the key is not in a file: every server asks for each signature where the key is.
    """
    from acme_iid.issuance.roots import fingerprint
    from acme_iid.operations import issuer_keys, rotation
    from acme_iid.operations.founding import Wishes
    from acme_iid.store.chain import Event

    if csr is not None and (root_cert or root_key):
        raise click.UsageError("--csr is for a root that is elsewhere; --root-cert and --root-key sign now")
    require_fitting(key, generate=generate)
    config, now = _wider(home.config(), domains), int(time.time())
    wishes = Wishes(
        name=config.ca.name,
        key_type=key_type,
        lifetime=lifetime,
        root_lifetime=0,
        constraints=None if no_name_constraints else _constraints(config, networks),
        root_crl_url=config.root_crl_url,
        password=password(password_file),
        intermediate_key=taker(key, key_type, lambda: issuer_keys.taken(config), generate=generate),
    )
    if csr is not None:
        issuer_id = rotation.request(config, wishes, csr)
        record_act(home, act_reason, Event("issuer.requested", now, detail={"issuer": issuer_id}))
        click.echo(f"The request of the issuer {issuer_id[:16]} is in {csr}; import the answer with 'issuer import'.")
        return
    root = _root(home, root_cert, root_key, wishes.password)
    issuer_id = rotation.prepare(config, wishes, root, now)
    detail = {"issuer": issuer_id, "root": fingerprint(root.certificate)}
    record_act(home, act_reason, Event("issuer.prepared", now, detail=detail))
    click.echo(f"The issuer {issuer_id[:16]} is prepared. It signs nothing until:")
    click.echo(f"  acme-iid-ca issuer rotate activate {issuer_id[:16]}")
    if domains:
        click.echo(f"Then add {', '.join(domains)} to domains in [ca] of ca.toml, and reload the servers (SIGHUP).")


def _wider(config: Config, domains: tuple[str, ...]) -> Config:
    """The configuration as it is to be once the issuer signs."""
    from dataclasses import replace

    every = tuple(dict.fromkeys((*config.ca.domains, *domains)))
    return replace(config, ca=replace(config.ca, domains=every))


def _root(home: Home, certificate: Path | None, key: Path | None, password: str | None) -> Signer:
    """The root that signs: the one that is given, or the home's.

    :raises CAFileError: if a file cannot be used.
    """
    from acme_iid.issuance import home as files
    from acme_iid.issuance import keys
    from acme_iid.issuance.issuer import Signer

    # Of several in the home, the first is the one in use.
    root = files.load_roots(home.path)[0] if certificate is None else files.load_certificate(certificate)
    return Signer(root, keys.load(key or home.path / files.ROOT_KEY, password))


def _constraints(config: Config, networks: tuple[Network, ...]) -> NameConstraints:
    from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints

    return constraints(config.ca.domains, networks or PRIVATE_NETWORKS, config.namespace.reserved)


@rotate.command(short_help="Have a prepared intermediate sign.")
@click.argument("issuer")
@click.option("--compromised", is_flag=True, help="The former issuer's key was stolen: have its certificates replaced.")
@password_file
@acting()
@click.pass_obj
def activate(home: Home, database: Database, issuer: str, password_file: Path | None, *, compromised: bool) -> None:
    """Have ISSUER, as 'issuer list' shows it, sign from now on; every server follows within seconds.

    Refused while a server that runs lacks its key, and if it ends too soon. Certificates of the former issuer stay
    good, and so do its revocation list and its answers; clients that ask are told to renew them within a day.

    With --compromised clients renew at once, and the commands that end the former issuer are printed: its key is then
    believed by nobody who looks at the root's revocation list. ISSUER may end before the former one then.
    """
    from acme_iid.operations import rotation

    now = int(time.time())
    activated = rotation.activate(
        home.config(), database, issuer, password(password_file), now, compromised=compromised
    )
    click.echo(f"The issuer {activated.id[:16]} signs from now on.")
    if activated.unlisted:
        click.echo(
            f"It permits {', '.join(activated.unlisted)}. For names there, add that to domains in [ca] of ca.toml, and "
            "reload the servers (SIGHUP)."
        )
    if compromised:
        _print_aftermath(home, database, activated.former, now)
    else:
        click.echo("When the former one's key is to be destroyed:")
        click.echo(f"  acme-iid-ca issuer rotate retire {activated.former[:16]}")


@rotate.command(short_help="Mark a stolen intermediate that does not sign.")
@click.argument("issuer")
@acting()
@click.pass_obj
def compromised(home: Home, database: Database, issuer: str) -> None:
    """Mark ISSUER, a former, retired or prepared one, because its key was stolen.

    Clients renew its certificates at once, and it can never be activated. The commands that end it are printed, as
    after 'activate --compromised', which marks the issuer that signs. Once more changes nothing and prints them again.
    """
    from acme_iid.operations import stolen

    now = int(time.time())
    marked = stolen.compromise(home.config(), database, issuer, now)
    if marked.before is not None:
        click.echo(f"It was marked at {timestamp(marked.before)}.")
    _print_aftermath(home, database, marked.id, now)


def _print_aftermath(home: Home, database: Database, issuer: str, now: int) -> None:
    from acme_iid.issuance.roots import to_pem
    from acme_iid.operations.root_documents import CLIENTS_LOOK_SECONDS
    from acme_iid.operations.stolen import aftermath

    left = aftermath(home.config(), database, issuer, now)
    click.echo(f"The issuer {issuer[:16]} is compromised; {left.valid} certificates of it are in force.")
    if left.valid:
        click.echo(
            f"Clients that ask for renewal information have replaced them by {timestamp(left.renewed_by)}. "
            f"The last one ends at {timestamp(left.last_end)}: by then every client has noticed."
        )
    if left.dropped_at is not None:
        click.echo(f"The root above it was dropped at {timestamp(left.dropped_at)}: clients trust nothing of it.")
        return
    if left.file is None:
        click.echo("Its certificate is not in this home; write it to stolen.pem:")
        click.echo(to_pem(left.certificate), nl=False)
    file = left.file or "stolen.pem"
    if left.ceremony is None:
        click.echo(
            f"The thief can sign until the CA that signed this issuer, {left.above}, names it in its revocation list. "
            f"Have it revoke {file}."
        )
        return
    root, root_key, known = left.ceremony.root, left.ceremony.key, left.ceremony.former
    click.echo(f"The thief can sign until the list of the root {left.above} names this issuer. Where its key is:")
    if known is not None:
        click.echo(f"  curl --cacert {root or 'ROOT_CERT'} -o former.crl {known}")
    click.echo(
        f"  acme-iid-ca issuer root-crl sign --root-cert {root or 'ROOT_CERT'} --root-key {root_key or 'ROOT_KEY'} "
        f"{'' if known is None else '--former former.crl '}--revoke {file} --out root.crl"
    )
    click.echo("Then, here:")
    click.echo("  acme-iid-ca issuer root-crl import root.crl")
    click.echo(f"Clients of acme-iid refuse the issuer within {CLIENTS_LOOK_SECONDS // 3600} hours of that.")


@rotate.command(short_help="Sign the last list of a former intermediate.")
@click.argument("issuer")
@click.option(
    "--while-valid",
    is_flag=True,
    help="Do so although certificates of it are in force, which can then no longer be revoked.",
)
@password_file
@acting()
@click.pass_obj
def retire(home: Home, database: Database, issuer: str, password_file: Path | None, *, while_valid: bool) -> None:
    """Sign the last revocation list of ISSUER, which outlasts its last certificate; then its key can be destroyed.

    The issuer that signs is not retired, nor one that was replaced some minutes ago. The servers go on handing
    out the list and the issuer's certificate, and need neither its key nor its folder any more. Nothing is signed with
    the key from then on, so that no certificate of it can be revoked: while some are in force, --while-valid is needed.
    """
    from acme_iid.operations import retirement
    from acme_iid.signing.places import FilePlace

    retired = retirement.retire(
        home.config(), database, issuer, password(password_file), int(time.time()), while_valid=while_valid
    )
    click.echo(
        f"The issuer {retired.id[:16]} is retired. Its last list is good until {timestamp(retired.next_update)}."
    )
    if retired.valid:
        click.echo(
            f"{retired.valid} certificates of it stay good, the last until {timestamp(retired.last_end)}, and can no "
            "longer be revoked."
        )
    everywhere = " on every server" if isinstance(retired.key, FilePlace) else ""
    click.echo(f"Its key can be destroyed{everywhere}: {retired.key}")
