"""The plugin: what certbot calls, and in which order.

``prepare`` comes before certbot speaks to the CA, ``perform`` when the CA has made its challenges. certbot keeps the
options whose names begin with the plugin's in the certificate's renewal configuration, as they were given.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acme.challenges import Challenge, ChallengeResponse
from certbot import errors, interfaces
from certbot.achallenges import AnnotatedChallenge
from certbot.display import util as display_util
from certbot.plugins import common
from certbot.plugins.storage import PluginStorage
from josepy.b64 import b64encode
from josepy.jwk import JWK

from acme_iid.iid01 import IID01
from acme_iid_client import clouds
from acme_iid_client.acme import known_ca, root_rotation
from acme_iid_client.acme.proof import prove
from acme_iid_client.deadline import Deadline
from acme_iid_client.errors import ClientError
from acme_iid_client.storage import directories
from certbot_acme_iid import trust

_SECONDS = 10.0
"""The longest wait for the CA's list of roots."""
_OWN_OPTIONS = ("--metadata-url", "--azure-resource", "--provisioner")
"""Options of 'acme-iid' that messages of its modules name, and which this plugin has with its prefix."""


class Authenticator(common.Plugin, interfaces.Authenticator):
    """Proves to a CA with the challenge iid-01 which cloud instance this machine is."""

    description = "Prove which cloud instance this machine is, to a CA that has the challenge iid-01 (acme-iid)."

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """The plugin's options. certbot puts ``acme-iid-`` before each, and remembers them for renewals."""
        add(
            "ca-bundle",
            metavar="FILE",
            type=_trusted,
            help="The CA's root certificates, PEM. Not needed where 'acme-iid bootstrap' was run by this user for this "
            "CA, or the system trusts it.",
        )
        add(
            "roots-out",
            metavar="FILE",
            help="Keep the CA's roots in this file, PEM, for other programs; a deploy hook tells them of it.",
        )
        add(
            "metadata-url",
            metavar="URL",
            help="The address of the cloud's metadata service, if not the usual one.",
        )
        add(
            "azure-resource",
            metavar="URI",
            type=_resource,
            help="On Azure, the resource for which the CA takes managed identity tokens: api://...",
        )
        add("provisioner", metavar="NAME", help="Ask to be admitted by this provisioner of the CA only.")
        add(
            "format",
            choices=sorted(clouds.formats()),
            help="Send this kind of evidence, and no other (default: what the CA likes best of what there is).",
        )

    def more_info(self) -> str:
        """The plugin's description in certbot's lists."""
        return (
            "This plugin proves which cloud instance this machine is, with the identity documents and tokens that AWS, "
            "Google Cloud and Azure give to their instances. Nothing has to be reachable from outside."
        )

    def prepare(self) -> None:
        """Trust the CA, before certbot asks it for anything.

        :raises certbot.errors.MisconfigurationError: if that is not possible, or no such CA is named.
        """
        server = str(self.config.server)
        if (urlsplit(server).hostname or "").endswith(".letsencrypt.org"):
            raise errors.MisconfigurationError(
                "Let's Encrypt does not know the challenge iid-01. Name your CA with --server "
                "https://ca.local/acme/directory; with --dry-run as well, for which certbot forgets it."
            )
        try:
            known = self._bootstrapped()
        except ClientError as error:
            raise errors.MisconfigurationError(str(error)) from error
        if self.conf("ca-bundle") is None and known is not None:
            try:
                # certbot remembers it, so that renewals know it before this is called.
                setattr(self.config, self.dest("ca-bundle"), _trusted(str(known.roots_file)))
            except argparse.ArgumentTypeError as error:
                raise errors.MisconfigurationError(str(error)) from error

    def get_chall_pref(self, identifier: str) -> Iterable[type[Challenge]]:
        """iid-01, for any name or address."""
        del identifier
        return [IID01]

    def perform(self, achalls: list[AnnotatedChallenge]) -> list[ChallengeResponse]:
        """Evidence for each challenge; certbot sends it.

        :raises certbot.errors.PluginError: if this machine has no evidence that the CA takes, the account is another's,
            or the server at the CA's address is not the CA.
        """
        try:
            known = self._bootstrapped()
            trust.require_ca(str(self.config.server), known, os.environ)
            self._follow_roots(known)
            resource = self.conf("azure-resource") or (None if known is None else known.token_resource)
            cloud = clouds.here(os.environ, self.conf("metadata-url"), resource, display_util.notify)
            self._require_own_key(achalls[0].account_key, cloud.instance())
            choices = (self.conf("provisioner"), self.conf("format"))
            return [prove(achall.chall, achall.account_key, _name(achall), cloud, *choices) for achall in achalls]
        except (ClientError, OSError) as error:
            raise errors.PluginError(_in_own_words(error)) from error

    def cleanup(self, achalls: list[AnnotatedChallenge]) -> None:
        """Nothing was put anywhere."""

    def auth_hint(self, failed_achalls: list[Any]) -> str:
        """Advice for a refusal of the evidence; the CA's own reason stands above it."""
        if any("another account key" in str(achall.error) for achall in failed_achalls):
            return (
                "certbot's account key is not the one that this instance was first proven with: that may be the key of "
                "'acme-iid order', of another certbot on this machine, or the one that was lost with the old disk."
            )
        return (
            "The reason above is the CA's. Its operator sees every decision with 'acme-iid-ca events', and which names "
            "a rule gives with 'acme-iid-ca provisioner test'."
        )

    def _follow_roots(self, known: known_ca.KnownCA | None) -> None:
        """Take up the CA's next root, before the former one is dropped; what stands in the way of it is said."""
        if known is not None:
            try:
                if root_rotation.follow(_directories(), known, Deadline(_SECONDS), display_util.notify):
                    trust.add(known.roots_file, os.environ)
            except (ClientError, OSError) as error:
                display_util.notify(f"The CA's list of roots was not taken up: {error}")
        bundle, path = self.conf("ca-bundle"), self.conf("roots-out")
        if bundle is not None and path is not None:
            trust.copy(Path(bundle), Path(path))

    def _require_own_key(self, account_key: JWK, instance: str) -> None:
        """See that certbot's account key was first used on this instance.

        The CA ties an instance to an account key, and whoever has the key acts for all of its instances. A disk that
        was copied, or an image that was made too late, brings it to another machine.

        :param instance: this machine, by what its metadata service says.
        :raises ClientError: if it was used on another.
        """
        thumbprint = b64encode(account_key.thumbprint()).decode("ascii")
        storage = PluginStorage(self.config, self.name)
        try:
            known = str(storage.fetch(thumbprint))
        except KeyError:
            storage.put(thumbprint, instance)
            storage.save()
            return
        if known != instance:
            raise ClientError(
                f"This machine is {instance}, and certbot's account key was first used on {known}: the disk is a copy. "
                f"Delete {self.config.accounts_dir} and order anew with 'certbot certonly', which makes a key of this "
                "machine's own."
            )

    def _bootstrapped(self) -> known_ca.KnownCA | None:
        """The CA that certbot talks to, as 'acme-iid bootstrap' has saved it; None if it has not.

        :raises ClientError: if it has left roots that cannot be read.
        """
        try:
            return known_ca.load(_directories(), str(self.config.server).removesuffix("/acme/directory"))
        except known_ca.UnusableRootsError:
            raise
        except ClientError:
            # Nothing that can be used. The CA may be trusted for another reason; if not, certbot says so.
            return None


def _directories() -> directories.Directories:
    """Where the bootstrap has left what it knows; nothing is kept in a state of the client's."""
    named = os.environ.get("ACME_IID_CONFIG_DIR")
    return directories.find(os.environ, os.geteuid(), Path(named) if named else None, Path("/nonexistent"))


def _trusted(text: str) -> str:
    """A file with the CA's roots, as an absolute path: renewals run elsewhere. It is trusted from now on.

    That is done as soon as the option is read, from the command line or a renewal's configuration, since certbot asks
    the CA for renewal information, revokes and closes accounts without calling a plugin.
    """
    path = Path(text).absolute()
    try:
        trust.add(path, os.environ)
    except (ClientError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return str(path)


def _resource(text: str) -> str:
    try:
        return known_ca.parse_resource(text)
    except ClientError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name(achall: AnnotatedChallenge) -> str:
    """The name that a challenge is for. certbot before 5 knows only domains, and calls them so."""
    identifier = getattr(achall, "identifier", None)
    return str(achall.domain if identifier is None else identifier.value)


def _in_own_words(error: Exception) -> str:
    """A message of the client's modules, with this plugin's names for their options."""
    text = str(error)
    for option in _OWN_OPTIONS:
        text = text.replace(option, f"--acme-iid-{option.removeprefix('--')}")
    return text
