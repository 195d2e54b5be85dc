"""axe-core, as npm has it, which says what of a page keeps people from using it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from chromium import Page

VERSION = "4.14.1"


def installed(folder: Path) -> str:
    """The program, installed into a folder."""
    # By itself npm waits five minutes for an answer that does not come.
    patience = ("--fetch-timeout=20000", "--fetch-retries=5", "--fetch-retry-mintimeout=1000")
    command = ["npm", "install", "--no-audit", "--no-fund", *patience, "--prefix", str(folder), f"axe-core@{VERSION}"]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


def violations(page: Page, program: str) -> list[str]:
    """What is wrong with a page: each rule with the first place that breaks it."""
    # What is closed is looked at as well.
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    page.value(f"{program};0")
    found: list[str] = page.value(
        "axe.run(document, {resultTypes: ['violations']}).then(all => "
        "all.violations.map(one => `${one.id}: ${one.nodes[0].html}: ${one.nodes[0].failureSummary}`))"
    )
    return found
