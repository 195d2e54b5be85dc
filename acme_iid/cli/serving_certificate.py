"""``acme-iid-ca serving-certificate``: the certificate of a proxy that ends TLS in front of the CA."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acme_iid.cli import Home
from acme_iid.cli.acting import reason_option, record_act
from acme_iid.cli.parameters import password, password_file
from acme_iid.operations.descriptions.times import timestamp

if TYPE_CHECKING:
    from acme_iid.config.settings import Config
    from acme_iid.issuance.ca import CertificateAuthority

EXEC_SECONDS = 60.0
"""Seconds that the command of ``--exec`` may take."""

_file = click.Path(dir_okay=False, path_type=Path)


@click.command("serving-certificate", short_help="Write the certificate of a proxy in front of the CA.")
@click.option("--key", required=True, type=_file, help="The proxy's private key, PEM; made if the file is missing.")
@click.option("--out", required=True, type=_file, help="Where to write the certificate and the intermediate, PEM.")
@click.option("--renew", is_flag=True, help="Do nothing while the certificate in OUT is good and not due.")
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="A command to run, without a shell, once there is a new certificate; it may take a minute.",
)
@password_file
@reason_option()
@click.pass_obj
def serving_certificate(
    home: Home,
    key: Path,
    out: Path,
    renew: bool,
    command: str | None,
    password_file: Path | None,
    act_reason: str | None,
) -> None:
    r"""Write the certificate with which a proxy speaks for the CA: for the host in [server] url, marked, for a day.

    No ACME order gets one. With --renew the command replaces it when a third of its life is left, or when the key, the
    url or the intermediate has changed; run it every hour from a timer. A COMMAND that failed is run again then.
    ACME_IID_CERTIFICATE and ACME_IID_KEY are in its environment. The server need not run, and the database is asked
    only if there are several issuers: it says which of them signs.

    \b
    Example, for cron:
      acme-iid-ca serving-certificate --key /etc/nginx/ca.key \
        --out /etc/nginx/ca.pem --renew --exec "nginx -s reload"
    """
    from acme_iid.issuance import serving
    from acme_iid.store.chain import Event

    words = _words(command)
    if key.absolute() == out.absolute():
        raise click.UsageError("the key and the certificate are in two files; give --key and --out different ones")
    config = home.config()
    authority = _authority(config, password(password_file))
    # The mark outlives a kill and a command that failed: the proxy must still be notified of the new certificate.
    pending_notification = out.with_name(f"{out.name}.exec-pending")
    names, now = config.server.names, int(time.time())
    if not renew or serving.is_due(out, serving.key_in(key, authority).public_key(), authority, names, now):
        if words:
            pending_notification.touch(mode=0o600)
        written = serving.write(out, key, authority, names, now)
        click.echo(f"The certificate for {names[0]} is in {out}, valid until {timestamp(written.not_after)}.")
        detail = {
            "serial": f"{written.serial:x}",
            "names": [name.value for name in names],
            "not_after": written.not_after,
        }
        record_act(home, act_reason, Event("serving_certificate.issued", now, detail=detail))
    else:
        click.echo(f"The certificate in {out} is good and not due.")
    if words and pending_notification.exists():
        _run(words, {"ACME_IID_CERTIFICATE": str(out.absolute()), "ACME_IID_KEY": str(key.absolute())})
        pending_notification.unlink(missing_ok=True)


def _authority(config: Config, password: str | None) -> CertificateAuthority:
    """The CA, with the issuer that signs now.

    :raises CAFileError: if its files cannot be used.
    :raises StoreUnavailableError: if there are several issuers or roots, and the store cannot say which one signs.
    """
    from acme_iid.authority.succession import follow
    from acme_iid.issuance.home import issuing_certificates, load, load_roots
    from acme_iid.operations import roots
    from acme_iid.store.existing import existing
    from acme_iid.store.issuers import retired

    if len(issuing_certificates(config.home)) == len(load_roots(config.home)) == 1:
        return load(config.home, password)
    with existing(config.store.url) as database:
        if database is None:
            return load(config.home, password)
        # Before any server has started, the roots are those in the home.
        stored = roots.trusted(database)
        authority = load(config.home, password, retired(database), stored if stored.certificates else None)
        follow(database, authority)
        return authority


def _words(command: str | None) -> list[str]:
    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise click.BadParameter(f"{command!r} cannot be split into words: {error}", param_hint="--exec") from error
    if command is not None and not words:
        raise click.BadParameter("names no program", param_hint="--exec")
    return words


def _run(words: list[str], variables: dict[str, str]) -> None:
    shown = shlex.join(words)
    again = "The next run with --renew runs it again"
    try:
        # Standard output is for what this command says itself.
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env={**os.environ, **variables},
            timeout=EXEC_SECONDS,
            check=False,
        )
    except OSError as error:
        raise click.ClickException(
            f"the command {shown} cannot be run: {error.strerror}; it is run without a shell. {again}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise click.ClickException(
            f"the command {shown} did not end within {EXEC_SECONDS:g} seconds. {again}"
        ) from error
    if done.returncode:
        raise click.ClickException(f"the command {shown} ended with status {done.returncode}. {again}")
