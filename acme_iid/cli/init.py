"""``acme-iid-ca init``: a new CA in a home of its own."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import here, reason_option
from acme_iid.cli.key_places import key_place, require_fitting, taker
from acme_iid.cli.parameters import KEY_TYPES, Checked, Subject, password, password_file

if TYPE_CHECKING:
    from cryptography.x509 import NameConstraints

    from acme_iid.config.locations import Location
    from acme_iid.config.settings import Config
    from acme_iid.operations.founding import Founded
    from acme_iid.operations.waiting_acts import Act

_file = click.Path(dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)
_STORE_URL = Path("secrets/store-url")
"""The file in a home that has the URL of a store, where a password stands in it."""


def _root_crl_url(text: str) -> str:
    from acme_iid.config.status_settings import url

    return url(text, "{root}")


def _store_url(text: str) -> str:
    from acme_iid.config.store_settings import server_url

    return server_url(text)


@click.command(short_help="Make a new CA.")
@click.option("--name", default="My CA", show_default=True, type=Checked("name"), help="What the CA is called.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    default=("local", "internal"),
    show_default=True,
    type=Checked("domain", keep=False),
    help="A domain that the CA issues names in; may be repeated.",
)
@click.option(
    "--url",
    default="https://ca.local",
    show_default=True,
    type=Checked("server_url", keep=False),
    help="The URL that clients use.",
)
@click.option(
    "--listen",
    default="0.0.0.0:443",
    show_default=True,
    type=Checked("listen_address"),
    help="Where the server listens.",
)
@click.option(
    "--store",
    type=Checked(_store_url),
    metavar="URL",
    help="An empty database of PostgreSQL's for the store, such as postgresql://acme_iid@db.internal/acme_iid. Without "
    "it the store is a file in the home. Give the password in PGPASSWORD or ~/.pgpass: others can see a command's "
    "arguments.",
)
@click.option("--csr", type=_file, metavar="FILE", help="Make no root: write a request for a root that is elsewhere.")
@click.option("--root-cert", type=_file, metavar="FILE", help="Make no root: this one signs the intermediate, PEM.")
@click.option("--root-key", type=_file, metavar="FILE", help="The private key of --root-cert, PEM; it is not copied.")
@click.option("--root-out", type=_folder, metavar="DIR", help="Put the new root's key there and not into the home.")
@click.option("--subject", type=Subject(), metavar="DN", help='The intermediate\'s subject, such as "CN=Issuing 1".')
@click.option("--root-subject", type=Subject(), metavar="DN", help="The root's subject.")
@click.option(
    "--lifetime",
    type=Checked("duration", keep=False),
    default="1825d",
    show_default=True,
    help="How long the intermediate is valid.",
)
@click.option(
    "--root-lifetime",
    type=Checked("duration", keep=False),
    default="3650d",
    show_default=True,
    help="How long the root is valid.",
)
@click.option(
    "--key-type",
    type=click.Choice(KEY_TYPES),
    default="P-256",
    show_default=True,
    help="The kind of the keys that are made.",
)
@key_place
@click.option(
    "--permit-network",
    "networks",
    multiple=True,
    type=Checked("network", keep=False),
    metavar="NETWORK",
    help="Addresses that certificates may be for, instead of the private networks; may be repeated.",
)
@click.option("--no-permitted-network", is_flag=True, help="No certificate may be for an address but the server's own.")
@click.option("--constrain-root", is_flag=True, help="Put the name constraints into the root as well.")
@click.option("--no-name-constraints", is_flag=True, help="Let the intermediate sign for any name.")
@click.option(
    "--root-crl-url",
    type=Checked(_root_crl_url),
    metavar="URL",
    help='Where the root\'s revocation list will be, such as "http://pki.example.com/root-crl/{root}".',
)
@password_file
@reason_option()
@click.pass_obj
def init(home: Home, /, name: str, domains: tuple[str, ...], url: str, listen: str, **options: Any) -> None:
    """Make a new CA: a root, an intermediate that issues, and ca.toml. Nothing that exists is overwritten.

    The intermediate can sign for the domains, the names that clouds give, the server's own name and private addresses,
    and for nothing else (name constraints).

    With --store the store begins in PostgreSQL, in a database that no CA has used; a URL with a password goes into a
    file in secrets/. With --csr there is no root: have the request signed and give the answer to ``issuer import``.
    With --root-cert and --root-key an existing root signs now. With --password-file the private keys are encrypted, and
    ``serve`` needs the same file. With --key the intermediate's key is not in a file: the CA asks for each signature
    where the key is.
    """
    from acme_iid.cli import first_ca_toml
    from acme_iid.config import ca_toml
    from acme_iid.config.store_settings import DEFAULT_URL
    from acme_iid.operations import founding, waiting_acts

    location = home.working_location
    _check_options(options, location.home)
    _require_unused(location, ())
    store: str | None = options["store"]
    text_with = partial(first_ca_toml.text, name, domains, url, listen, options["root_crl_url"])
    text = text_with(("url", store or DEFAULT_URL))
    config = ca_toml.parse(text.encode(), location.home, location.file)
    secret: dict[Path, tuple[bytes, int]] = {}
    if config.store.holds_password:
        text = text_with(("url_file", str(_STORE_URL)))
        secret[_STORE_URL] = (f"{store}\n".encode(), 0o600)
    if store is not None:
        _require_new(store)
    password_path = options["password_file"]
    wishes = founding.Wishes(
        name=name,
        key_type=options["key_type"],
        lifetime=options["lifetime"],
        root_lifetime=options["root_lifetime"],
        subject=options["subject"],
        root_subject=options["root_subject"],
        constraints=None if options["no_name_constraints"] else _constraints(config, options),
        constrain_root=options["constrain_root"],
        root_crl_url=config.root_crl_url,
        password=password(password_path),
        intermediate_key=taker(options["key"], options["key_type"], tuple, generate=options["generate"]),
    )
    now = int(time.time())
    if options["csr"] is not None:
        founded = founding.with_request(wishes)
    elif options["root_cert"] is not None:
        founded = founding.under_root(config, wishes, options["root_cert"], options["root_key"], now)
    else:
        founded = founding.with_root(wishes, now, root_key_in_home=options["root_out"] is None)
    outside: dict[Path, tuple[bytes, int]] = {}
    if options["csr"] is not None:
        outside[options["csr"].absolute()] = founded.request_pem, 0o644
    for path, content in founded.root_files.items():
        outside[options["root_out"].absolute() / path.name] = content
    # Last: a home is one when this file is there, so an init that was cut short leaves none.
    act = _act(founded, name, text.encode(), options, now)
    kept = {act.file: (act.content(), waiting_acts.MODE)}
    files = {**outside, **founded.files, **secret, **kept}
    claim = None if store is None else partial(_take, store)
    _write(location, {**files, location.file: (text.encode(), 0o644)}, claim)
    if store is not None:
        _begin(location.home, store)
    _tell(home, name, url, founded.fingerprint, options, wishes.constraints)


def _require_new(store: str) -> None:
    """Refuse a database that is another CA's; the tables of an empty one are made.

    :raises StoreUnavailableError: if it is, or cannot be used.
    """
    from acme_iid.store.database import open_store
    from acme_iid.store.existing import require_unused

    with closing(open_store(store)) as database:
        require_unused(database)


def _take(store: str) -> None:
    """Make the database this CA's: another init may have found it empty as well.

    :raises StoreUnavailableError: if it is another CA's by now, or cannot be used.
    """
    from acme_iid.store.database import open_store
    from acme_iid.store.existing import take

    with closing(open_store(store)) as database:
        take(database)


def _begin(home: Path, store: str) -> None:
    """Record in the store that the CA was made: from then on the database is no other CA's."""
    from acme_iid.errors import StoreUnavailableError
    from acme_iid.operations import waiting_acts
    from acme_iid.store.database import open_store

    try:
        with closing(open_store(store)) as database:
            waiting_acts.take_up(home, database)
    except StoreUnavailableError as error:
        click.echo(f"The CA was made. That waits in the home for the record: {error}", err=True)


def _act(founded: Founded, name: str, ca_toml: bytes, options: dict[str, Any], now: int) -> Act:
    """What the record is to say first, once there is a store."""
    from acme_iid.operations import configuration_record
    from acme_iid.operations.waiting_acts import Act
    from acme_iid.store.chain import Event

    configuration = configuration_record.recorded(ca_toml)
    detail = {
        "ca": name,
        "issuer": founded.issuer_id,
        "root": founded.fingerprint,
        "key": None if options["key"] is None else str(options["key"]),
        "configuration": configuration.sha256,
    }
    return Act.new(here(options["act_reason"]).sign(Event("ca.made", now, detail=detail)), configuration)


def _check_options(options: dict[str, Any], home: Path) -> None:
    """Refuse options that contradict each other.

    :raises click.UsageError: with which ones.
    """
    given = {name for name, value in options.items() if value not in (None, False, ())}
    if ("root_cert" in given) != ("root_key" in given):
        raise click.UsageError("--root-cert and --root-key go together")
    if "root_out" in given and options["root_out"].resolve().is_relative_to(home.resolve()):
        raise click.UsageError("--root-out keeps the root's key out of the home; name a directory elsewhere")
    roots = [f"--{name.replace('_', '-')}" for name in ("csr", "root_cert", "root_out") if name in given]
    if len(roots) > 1:
        raise click.UsageError(f"{' and '.join(roots)} exclude each other: each says where the root is")
    if roots and roots != ["--root-out"]:
        for name in ("root_subject", "constrain_root"):
            if name in given:
                raise click.UsageError(f"--{name.replace('_', '-')} is for a root that is made here")
    if "no_name_constraints" in given and given & {"networks", "no_permitted_network", "constrain_root"}:
        raise click.UsageError("--no-name-constraints leaves nothing to permit; give one or the other")
    if "networks" in given and "no_permitted_network" in given:
        raise click.UsageError("--permit-network and --no-permitted-network exclude each other")
    require_fitting(options["key"], generate=options["generate"])


def _constraints(config: Config, options: dict[str, Any]) -> NameConstraints:
    from acme_iid.issuance.name_constraints import PRIVATE_NETWORKS, constraints

    networks = options["networks"] or (() if options["no_permitted_network"] else PRIVATE_NETWORKS)
    return constraints(config.ca.domains, networks, config.namespace.reserved)


def _require_unused(location: Location, files: Iterable[Path]) -> None:
    """Refuse a place that holds a CA, or a part of one.

    :raises click.ClickException: with what is there.
    """
    from acme_iid.issuance.home import leftovers
    from acme_iid.operations.waiting_acts import waiting

    home, file = location.home, location.file
    if file.exists():
        if file.parent != home:
            raise click.ClickException(f"{file} is there already; choose others with --config and --home")
        raise click.ClickException(f"{home} already holds a CA; choose another directory with --home")
    for path in (*files, *leftovers(home), *waiting(home)):
        if (home / path).exists():
            raise click.ClickException(
                f"{home / path} exists, without {_beside(location)}: an init was interrupted there. Nothing uses "
                f"those files; remove them, or choose another directory with --home"
            )


def _beside(location: Location) -> str:
    file = location.file
    return f"a {file.name} beside it" if file.parent == location.home else f"a CA's {file}"


def _write(location: Location, files: dict[Path, tuple[bytes, int]], claim: Callable[[], None] | None) -> None:
    """Make the home.

    :param claim: makes the store this CA's; where it raises, there is no home.
    """
    from acme_iid.durable import sync_names, write_new

    home, file = location.home, location.file
    _require_unused(location, [path for path in files if path != file])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    made: list[Path] = []
    try:
        for path, (data, mode) in files.items():
            for folder in reversed((home / path).parents):
                if not folder.exists():
                    # Configuration may be read by a group; a home is nobody else's.
                    folder.mkdir(mode=0o750 if folder == file.parent else 0o700)
                    made.append(folder)
            if path != file:
                made.append(home / path)
                write_new(home / path, data, mode)
                continue
            # Complete before it has its name.
            partial = path.with_name(f"{path.name}.{os.getpid()}.new")
            made.append(partial)
            write_new(partial, data, mode)
            for changed in {(home / other).parent for other in files}:
                sync_names(changed)
            if claim is not None:
                claim()
            partial.rename(path)
            made.append(path)
            sync_names(path.parent)
    except BaseException:
        # Folders, too: one of an issuer, without its files, would keep the next CA here from being loaded.
        for path in reversed(made):
            with suppress(OSError):
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
        raise


def _tell(
    home: Home,
    name: str,
    url: str,
    fingerprint: str | None,
    options: dict[str, Any],
    constraints: NameConstraints | None,
) -> None:
    from acme_iid.issuance.name_constraints import permitted_texts

    command = "acme-iid-ca" + (home.options if home.given else "")
    password_path = options["password_file"]
    secret = f" --password-file {shlex.quote(str(password_path))}" if password_path else ""
    configured = "" if home.file.parent == home.path else f", with {home.file}"
    click.echo(f"The CA {name!r} has been made in {home.path}{configured}.")
    if options["store"] is not None:
        click.echo("Its store is in the database.")
    if options["key"] is not None:
        click.echo(f"The intermediate's key stays in its place: {options['key']}")
    if constraints is not None:
        click.echo(f"""
The intermediate can sign for nothing else than these (name constraints): {", ".join(permitted_texts(constraints))}
A bare instance id (AWS's i-..., Azure's VM id) is in no domain, so certificates here have none. A further domain takes
the next intermediate: {command} issuer rotate prepare --domain DOMAIN
""")
    if fingerprint is None:
        click.echo(f"""
{options["csr"]} is the request for a root. Have it signed as a CA certificate, and import the answer: the intermediate
first, then the certificates above it, the root last.
  {command} issuer import CHAIN{secret}""")
        return
    click.echo(f"Root fingerprint: {fingerprint}")
    click.echo(f"""
Next, say whose instances get certificates, and start the server:
  {command} provisioner add "AWS IID Provisioner" --type AWS --aws-account ACCOUNT_ID
  {command} serve{secret}
Then, on each VM:
  acme-iid bootstrap --ca-url {url} --fingerprint {fingerprint}""")
    if options["root_cert"] is None:
        place = "secrets/root_ca_key" if options["root_out"] is None else str(options["root_out"] / "root_ca_key")
        click.echo(f"""
{place} signs further intermediates only and the server never reads it: keep it in a safer place.""")
