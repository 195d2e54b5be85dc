"""Java, as its TLS clients verify: the program Verify.java, compiled once."""

from __future__ import annotations

from pathlib import Path

from pki.verifiers.verifier import Shown, Verifier, refusal
from programs import system

SOURCE = Path(__file__).with_name("Verify.java")


class Java(Verifier):
    name = "Java"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        done = system("javac", "-d", folder, SOURCE)
        assert done.returncode == 0, done.stderr

    def chain(self, shown: Shown) -> str | None:
        return self._ask("chain", shown)

    def by_list(self, shown: Shown) -> str | None:
        return self._ask("list", shown)

    def by_answer(self, shown: Shown) -> str | None:
        return self._ask("answer", shown)

    def by_default(self, shown: Shown) -> str | None:
        """As a program that only turns the check on: each certificate below the root, by OCSP, else by its list."""
        return self._ask("default", shown)

    def _ask(self, question: str, shown: Shown) -> str | None:
        return refusal(
            "java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dcom.sun.security.enableCRLDP=true",
            "-cp", self.folder, "Verify", question, shown.root_file, shown.chain_file,
        )  # fmt: skip
