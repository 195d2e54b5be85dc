"""What a server would refuse, and change, if it read its configuration again: tried beforehand, and nothing changed."""

from __future__ import annotations

import re
from typing import NamedTuple

from acme_iid.attestation.registry import trust_store
from acme_iid.authority import succession
from acme_iid.config import permitted
from acme_iid.config.settings import Config
from acme_iid.config.table import ConfigError
from acme_iid.errors import RequestError
from acme_iid.issuance import alternates, home
from acme_iid.issuance.keys import CAFileError, PasswordNeededError
from acme_iid.operations import configuration_record, roots
from acme_iid.operations import issuers as issuing
from acme_iid.store import issuers
from acme_iid.store.writes import Reader

_RESTART = re.compile(r"[-+] (?:(?:server|status|metrics|admin)\.listen|admin\.(?:socket|group)) = |[-+] store\.")
"""Lines of a difference that a running server does not take up."""


class Outlook(NamedTuple):
    """What a reload would do.

    :ivar refusal: the reason why what runs would stay in force; None if there is none.
    :ivar untried: a remark on what could not be tried; None if all was.
    :ivar changes: the values that differ from those that were taken up last; secrets are masked.
    :ivar restart: the lines among them that take a restart.
    """

    refusal: str | None
    untried: str | None
    changes: tuple[str, ...]
    restart: tuple[str, ...]


def outlook(config: Config, reader: Reader | None, password: str | None, *, without_keys: bool = False) -> Outlook:
    """Try what a server does when it reads its configuration again.

    :param config: ca.toml as it is now.
    :param reader: the CA's store; None if it cannot be asked.
    :param password: of the private keys; without one, keys that need one are not tried.
    :param without_keys: whether no key may be tried at all.
    """
    refusal, untried = None, None
    try:
        if without_keys:
            untried = "the issuers' keys, which are opened by no process but the server's own"
            _load_certificates(config)
        else:
            _load(config, reader, password)
    except PasswordNeededError as error:
        untried = str(error)
    except (CAFileError, ConfigError, OSError, RequestError, ValueError) as error:
        refusal = str(error)
    changes = () if reader is None else tuple(configuration_record.changes(reader, config.file))
    return Outlook(refusal, untried, changes, tuple(line for line in changes if _RESTART.match(line)))


def _load(config: Config, reader: Reader | None, password: str | None) -> None:
    """Load all that a server loads.

    :raises CAFileError, ConfigError, OSError, ValueError: if it cannot be used.
    """
    _load_keys_of_others(config)
    if reader is None:
        ca = home.load(config.home, password)
    else:
        trusted = roots.known_here(reader, config.home)
        ca = home.load(config.home, password, issuers.retired(reader), trusted)
        if trusted is not None:
            succession.follow(reader, ca)
    permitted.require(config, ca.current.constraints)


def _load_keys_of_others(config: Config) -> None:
    trust_store(config.given_keys)
    own = home.issuing_certificates(config.home)
    for path in config.ca.alternate_chains:
        alternates.load(path, own)


def _load_certificates(config: Config) -> None:
    """Load all that a server loads, but for private keys.

    :raises CAFileError, ConfigError, OSError, RequestError, ValueError: if it cannot be used.
    """
    _load_keys_of_others(config)
    home.chains(config.home)
    issuing.require_permitting(config)
