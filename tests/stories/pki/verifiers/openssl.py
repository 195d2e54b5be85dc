"""OpenSSL's command, as Debian has it."""

from __future__ import annotations

from pathlib import Path

from pki.verifiers.verifier import Shown, Verifier, refusal, said
from programs import system


class OpenSSL(Verifier):
    name = "OpenSSL"

    def chain(self, shown: Shown) -> str | None:
        return self._verify(shown)

    def by_list(self, shown: Shown) -> str | None:
        return self._verify(shown, "-crl_check", "-crl_download")

    def by_every_list(self, shown: Shown) -> str | None:
        """Whether no certificate of the chain, the root included, is on its signer's list, from where they say.

        The lists are fetched for it: it would look for the root's own one in the root, which does not say where it is.
        """
        lists = [("-CRLfile", path) for path in shown.list_files()]
        return self._verify(shown, "-crl_check_all", *(part for option in lists for part in option))

    def by_answer(self, shown: Shown) -> str | None:
        """Its verification of a chain does not ask responders: its other command does."""
        done = system(
            "openssl", "ocsp", "-issuer", shown.issuer_file, "-cert", shown.leaf_file, "-url", shown.responder_url,
            "-CAfile", shown.root_file, "-verify_other", shown.chain_file,
        )  # fmt: skip
        good = done.returncode == 0 and "Response verify OK" in done.stderr and ": good" in done.stdout
        return self._verify(shown) if good else said(done)

    @staticmethod
    def _verify(shown: Shown, *options: str | Path) -> str | None:
        names = ("-verify_hostname", shown.name) if shown.name else ()
        return refusal(
            "openssl", "verify", "-x509_strict", "-purpose", "sslserver", *names, *options, "-CAfile", shown.root_file,
            "-untrusted", shown.chain_file, shown.leaf_file,
        )  # fmt: skip
