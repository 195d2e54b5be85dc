"""Somebody who types the commands of a page about the CA, as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pki.rotating import SECONDS, hang_up
from running import CA


class Typist:
    """Somebody who types a page's commands in one folder, with a home and a port of its own.

    :param blocks: the commands, by their names.
    :param instead: what a test has in the place of paths and ports of the page.
    """

    def __init__(
        self, folder: Path, blocks: Mapping[str, str], instead: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.ca = CA(folder / "ca")
        self._folder = folder
        self._blocks = blocks
        self._instead = {"8443": str(self.ca.port), **instead}
        shims = folder / "bin"
        shims.mkdir()
        command = shims / "acme-iid-ca"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m acme_iid.cli "$@"\n')
        command.chmod(0o755)
        self._environment = {
            **os.environ,
            "ACME_IID_CA_HOME": str(self.ca.home),
            "PATH": f"{shims}:{os.environ['PATH']}",
        }

    def try_(self, name: str, *, later: str = "", **capitals: str) -> subprocess.CompletedProcess[str]:
        """Type a block.

        :param later: by how much the clock is ahead meanwhile, as libfaketime has it.
        :param capitals: what stands for the page's words in capitals.
        """
        text = self._blocks[name]
        assert all(word in text for word in capitals)
        for word, value in {**self._instead, **capitals}.items():
            text = text.replace(word, value)
        return subprocess.run(
            [*(("faketime", "-f", later) if later else ()), "bash", "-euo", "pipefail", "-c", text],
            cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def type_(self, name: str, *, later: str = "", **capitals: str) -> str:
        """Type a block that succeeds; what it prints."""
        done = self.try_(name, later=later, **capitals)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    def type_when_followed(self, name: str, **capitals: str) -> str:
        """Have the server read its files again, and type a block as soon as it holds the new key."""
        hang_up(self.ca)
        deadline = time.monotonic() + SECONDS
        while (done := self.try_(name, **capitals)).returncode:
            assert "lack the issuer's key" in done.stderr, done.stderr
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return done.stdout

    def issuers(self, state: str) -> list[str]:
        """The ids of the issuers in a state."""
        rows = json.loads(self.ca.cli("issuer", "status", "--json").stdout)
        return [row["id"] for row in rows if row["state"] == state]
