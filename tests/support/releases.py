"""Releases that were made up: a copy of the program with another version and further schema files.

The next one (0.1.1 behind 0.1.0) expands: it has what was warned of in a table of another name, and takes over what is
there; and it reads a key under a former name. The one after it contracts: it takes the table of before away, and fences
programs that would use it; and it knows the former name no more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from running import CA, PROGRAM, Outcome, run_module

import acme_iid
from acme_iid.config.former_keys import FormerKey
from acme_iid.store import schema

THIS = version("acme-iid")
"""The release that is tested."""
NEXT, AFTER_NEXT = (f"{THIS.rpartition('.')[0]}.{int(THIS.rpartition('.')[2]) + further}" for further in (1, 2))
FORMER_KEY = FormerKey("ca", "duration", "lifetime", AFTER_NEXT)
"""A name that NEXT gives another one, as if there had been it."""
_TREE = Path(acme_iid.__file__).parent
_NEXT = schema.number(schema.latest()) + 1
EXPANDING = f"{_NEXT}_warnings.sql"
CONTRACTING = f"{_NEXT + 1}_warnings_of_before.sql"
_EXPAND = """-- Made up: the same as expiry_warnings under another name, and a column for accounts.
CREATE TABLE warnings (
    subject TEXT NOT NULL,
    percent BIGINT NOT NULL,
    ends BIGINT NOT NULL,
    PRIMARY KEY (subject, percent)
);

INSERT INTO warnings (subject, percent, ends) SELECT subject, percent, ends FROM expiry_warnings;

ALTER TABLE accounts ADD COLUMN note TEXT NOT NULL DEFAULT '';
"""
_CONTRACT = """-- Made up: the release before uses warnings.
UPDATE fence SET min_writer = NEXT;

DROP TABLE expiry_warnings;
""".replace("NEXT", str(_NEXT))


@dataclass(frozen=True)
class Release:
    """A made-up release.

    :ivar folder: where Python finds it.
    """

    version: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process of it has in its environment, beside that of the tests."""
        # The folder that the tests are run in has the program, too.
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def make(folder: Path, name: str) -> Release:
    """Make a release, :data:`NEXT` or :data:`AFTER_NEXT`, in a folder that does not exist."""
    further = {NEXT: {EXPANDING: _EXPAND}, AFTER_NEXT: {EXPANDING: _EXPAND, CONTRACTING: _CONTRACT}}[name]
    shutil.copytree(_TREE, folder / _TREE.name, ignore=shutil.ignore_patterns("__pycache__"))
    tree = folder / _TREE.name
    _write(tree / "store" / "schema", further)
    if name == NEXT:
        # For one release; the one after it knows the successor alone.
        keys = tree / "config" / "former_keys.py"
        none = "FORMER_KEYS: tuple[FormerKey, ...] = ()"
        assert none in keys.read_text()
        keys.write_text(keys.read_text().replace(none, f"FORMER_KEYS = ({FORMER_KEY!r},)"))
    warnings = tree / "store" / "expiry_warnings.py"
    warnings.write_text(warnings.read_text().replace("expiry_warnings", "warnings"))
    _write(folder / f"acme_iid-{name}.dist-info",
           {"METADATA": f"Metadata-Version: 2.1\nName: acme-iid\nVersion: {name}\n"})  # fmt: skip
    return Release(name, folder)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@dataclass
class ReleasedCA(CA):
    """A CA's home as a release uses it; without one, the program that is tested does."""

    release: Release | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What its processes have in their environment."""
        return {} if self.release is None else self.release.environment

    def try_cli(self, *arguments: str | Path) -> Outcome:
        """See :meth:`running.CA.try_cli`."""
        return run_module(PROGRAM, "--home", self.home, *arguments, env=self.environment)

    def serve(self) -> None:
        """Start the server."""
        self.start(env=self.environment)

    def beside(self, folder: Path, release: Release | None = None) -> ReleasedCA:
        """Another server of the CA on the same store, with a port and a URL of its own."""
        made = ReleasedCA(folder, release=release)
        shutil.copytree(self.home, folder, ignore=shutil.ignore_patterns("ca.db*", "nonces*"))
        text = (folder / "ca.toml").read_text().replace(str(self.port), str(made.port))
        (folder / "ca.toml").write_text(text.replace('"sqlite:ca.db"', f'"{self.store_url}"'))
        return made

    def seen_from(self, other: ReleasedCA, url: str) -> str:
        """A URL of another server's, as this one has it."""
        assert url.startswith(other.url)
        return self.url + url.removeprefix(other.url)
