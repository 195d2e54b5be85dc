"""The conditions that a CA may make for an account: that its terms are agreed to, and an external account key.

Both are kept by the CA's root, for each account that this machine makes there: the instance that is started from a
copy of the disk needs another. They are state and not configuration: an order with ``--ca-url`` and ``--root`` has no
configuration, and the key is no file that others may read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from acme_iid_client.acme.known_ca import KnownCA
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from acme_iid_client.storage.account_options import AccountOptions, ExternalKey, parse_external_key


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one CA for accounts, as far as this machine has met them, now or before.

    :ivar account_options: those of the command that runs.
    """

    _directory: Path
    account_options: AccountOptions

    @classmethod
    def of(cls, state: Path, ca: KnownCA) -> Conditions:
        """Those of a CA."""
        return cls(state / "conditions" / ca.identity, ca.account_options)

    def agrees(self, terms: str | None) -> bool:
        """Whether somebody has agreed to the CA's terms: to these, or to all that they are when told so now.

        What is agreed to now is kept.

        :param terms: their URL; None where the CA has none, to which nobody can agree.
        :raises ClientError: if what is kept cannot be read.
        """
        if terms is None:
            return False
        if self.account_options.agree_tos:
            self._keep(self._terms_file, {"terms": terms})
        known = self._read(self._terms_file)
        return known is not None and known.get("terms") == terms

    @property
    def external_key(self) -> ExternalKey | None:
        """The key to make an account with, if there is one.

        :raises ClientError: if the one that is kept cannot be read.
        """
        if self.account_options.external_key is not None:
            return self.account_options.external_key
        known = self._read(self.key_file)
        if known is None:
            return None
        return parse_external_key(str(known.get("kid")), str(known.get("hmac_key")), str(self.key_file))

    def keep_external_key(self) -> None:
        """Keep the external account key of the command's options, if there is one, instead of the one before.

        It is kept when an account was made with it, too: one that is reusable makes the next.
        """
        if (key := self.account_options.external_key) is not None:
            self._keep(self.key_file, {"kid": key.kid, "hmac_key": key.hmac_key})

    @property
    def key_file(self) -> Path:
        """Where the external account key is kept."""
        return self._directory / "external_account_key.json"

    @property
    def _terms_file(self) -> Path:
        return self._directory / "terms.json"

    def _keep(self, file: Path, content: dict[str, str]) -> None:
        directories.make_directory(self._directory)
        directories.write_file(file, json.dumps(content, indent=2).encode() + b"\n")

    @staticmethod
    def _read(file: Path) -> dict[str, object] | None:
        try:
            content = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ClientError(
                f"{file} cannot be read. Remove it, and run 'acme-iid bootstrap' again with the options for the "
                "account."
            )
        return content
