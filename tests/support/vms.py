"""A machine with the client on it, as tests use it: directories of its own, and a metadata service to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forge
from running import CA, Outcome, run_module

from acme_iid.simulator import aws
from acme_iid.simulator.server import serve


@dataclass
class VM:
    """A machine.

    :ivar metadata: where its cloud's service answers.
    :ivar env: what else its programs find in the environment.
    """

    folder: Path
    metadata: str
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "ACME_IID_CONFIG_DIR": str(self.folder / "config"),
            "ACME_IID_STATE_DIR": str(self.folder / "state"),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata,
            "NO_PROXY": "*",
            **self.env,
        }

    @property
    def crt(self) -> Path:
        return self.folder / "foo.crt"

    @property
    def key(self) -> Path:
        return self.folder / "foo.key"

    def try_(self, *arguments: str | Path, stdin: str = "") -> Outcome:
        """Run acme-iid, whatever comes of it."""
        return run_module("acme_iid_client", *arguments, env=self.environment, stdin=stdin)

    def run(self, *arguments: str | Path) -> Outcome:
        """Run acme-iid; it must succeed."""
        done = self.try_(*arguments)
        assert done.code == 0, done.stderr
        return done

    def json(self, *arguments: str | Path) -> Any:
        """Run acme-iid with --json; what it says."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def bootstrap(self, ca: CA, *options: str) -> Outcome:
        return self.run("bootstrap", "--ca-url", ca.url, "--fingerprint", ca.fingerprint, *options)

    def order(self, *options: str | Path) -> Outcome:
        """Order foo.local into the machine's usual files."""
        return self.run("order", "foo.local", self.crt, self.key, "--force", *options)


@contextmanager
def ec2(folder: Path, instance: aws.Instance) -> Iterator[VM]:
    """A machine that is an EC2 instance which the test CAs believe."""
    folder.mkdir(exist_ok=True)
    with serve(aws.tree(instance, forge.keys())) as service:
        yield VM(folder, service.url)
