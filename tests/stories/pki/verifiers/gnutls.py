"""GnuTLS's commands. It downloads no lists: they are fetched for it."""

from __future__ import annotations

from pathlib import Path

from pki.verifiers.verifier import Shown, Verifier, fetched_list, refusal, said
from programs import system

_SERVERS = "1.3.6.1.5.5.7.3.1"


class GnuTLS(Verifier):
    name = "GnuTLS"
    # It knows names of hosts and addresses, and connects to no URI.
    overlooks = frozenset({"uri", "uri of an address"})

    def chain(self, shown: Shown) -> str | None:
        return self._verify(shown)

    def by_list(self, shown: Shown) -> str | None:
        path = shown.file("list.pem", fetched_list(shown.list_url))
        # The list alone first: in a chain its signature is not looked at.
        wrong = refusal("certtool", "--verify-crl", "--load-ca-certificate", shown.issuer_file, "--infile", path)
        return wrong or self._verify(shown, "--load-crl", path)

    def by_answer(self, shown: Shown) -> str | None:
        done = system(
            "ocsptool", f"--ask={shown.responder_url}", "--nonce", "--load-cert", shown.leaf_file, "--load-issuer",
            shown.issuer_file, "--load-trust", shown.issuer_file,
        )  # fmt: skip
        text = said(done)
        good = (
            done.returncode == 0 and "Certificate Status: good" in text and "Verifying OCSP Response: Success" in text
        )
        return self._verify(shown) if good else text

    @staticmethod
    def _verify(shown: Shown, *options: str | Path) -> str | None:
        names = ("--verify-hostname", shown.name) if shown.name else ()
        return refusal(
            "certtool", "--verify", "--verify-purpose", _SERVERS, *names, *options,
            "--load-ca-certificate", shown.root_file, "--infile", shown.chain_file,
        )  # fmt: skip
