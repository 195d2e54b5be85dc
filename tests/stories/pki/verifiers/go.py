"""Go's standard library, with golang.org/x/crypto/ocsp: the program go/verify.go, built by Debian's compiler."""

from __future__ import annotations

import os
from pathlib import Path

from pki.verifiers.verifier import Shown, Verifier, refusal
from programs import system

SOURCE = Path(__file__).with_name("verify.go")


class Go(Verifier):
    name = "Go"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._program = folder / "verify"
        env = {"GOPATH": "/usr/share/gocode", "GO111MODULE": "off", "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
        done = system("/usr/bin/go", "build", "-o", self._program, SOURCE, env={**os.environ, **env})
        assert done.returncode == 0, done.stderr

    def chain(self, shown: Shown) -> str | None:
        return self._ask("chain", shown)

    def by_list(self, shown: Shown) -> str | None:
        return self._ask("list", shown)

    def by_answer(self, shown: Shown) -> str | None:
        return self._ask("answer", shown)

    def _ask(self, question: str, shown: Shown) -> str | None:
        return refusal(self._program, question, shown.root_file, shown.chain_file, shown.name)
