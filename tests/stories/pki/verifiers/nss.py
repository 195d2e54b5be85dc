"""NSS, by its commands and a database of the root: what Firefox and Thunderbird verify with."""

from __future__ import annotations

from pathlib import Path

from pki.verifiers.verifier import Shown, Verifier, refusal
from programs import system

_SERVERS = "1"


class NSS(Verifier):
    name = "NSS"

    def chain(self, shown: Shown) -> str | None:
        return self._verify(shown)

    def by_list(self, shown: Shown) -> str | None:
        return self._verify(shown, *_only("crl"))

    def by_answer(self, shown: Shown) -> str | None:
        return self._verify(shown, *_only("ocsp"))

    @staticmethod
    def _verify(shown: Shown, *options: str | Path) -> str | None:
        database = shown.folder / "nss"
        if not database.exists():
            database.mkdir(parents=True)
            for command in (
                ("certutil", "-N", "-d", f"sql:{database}", "--empty-password"),
                ("certutil", "-A", "-d", f"sql:{database}", "-n", "root", "-t", "C,,", "-a", "-i", shown.root_file),
            ):
                done = system(*command)
                assert done.returncode == 0, done.stderr
        files = [part for path in (shown.leaf_file, *shown.above_files) for part in ("-a", path)]
        # Twice -p: the library that also checks name constraints of every kind, and asks for lists and answers.
        return refusal("vfychain", "-d", f"sql:{database}", "-pp", "-v", "-u", _SERVERS, *options, *files)


def _only(method: str) -> tuple[str, ...]:
    """Revocation of the leaf by one method, which has to give an answer."""
    return "-g", "leaf", "-h", "requireFreshInfo", "-m", method, "-s", "failIfNoInfo"
