"""The reference of evidence has the formats and facts of the code, and its commands show what metadata services say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pages import commands, page, table
from ports import free_port

from acme_iid.policy.clouds import CLOUD_TYPES

PAGE = page("docs/reference/evidence.md")
FORMATS = {name: entry for cloud in CLOUD_TYPES.values() for name, entry in cloud.formats.items()}
SHOWN = {"aws": ("instanceId", "imageId"), "gcp": ("instance_id", "project_number"), "azure": ("vmId", "1234567890")}
"""What each cloud's commands print, among other things."""


def test_the_page_has_each_format_with_its_default_and_binding() -> None:
    rows = {row[0].strip("`"): row[1:] for row in table(PAGE, "format")}
    assert set(rows) == set(FORMATS)
    for name, (_, binding, believed) in rows.items():
        assert believed == ("yes" if FORMATS[name].default else "no")
        assert (binding == "first use") == (not FORMATS[name].bound)


def test_the_page_has_the_facts_that_each_format_proves() -> None:
    before: set[str] = set()
    for shown, words in table(PAGE.partition("The facts that each proves")[2], "format"):
        name = shown.strip("`")
        said = set(words.replace("the same", "").replace(", and ", ", ").strip(", ").split(", ")) - {""}
        if "pcr0 to pcr23" in said:
            said = said - {"pcr0 to pcr23"} | {f"pcr{number}" for number in range(24)}
        if words.startswith("the same"):
            said |= before
        assert said == set(FORMATS[name].facts), name
        before = said


@pytest.mark.parametrize("cloud", SHOWN)
def test_the_commands_show_what_the_metadata_service_signs(cloud: str, tmp_path: Path) -> None:
    port = free_port()
    program = [sys.executable, "-m", "acme_iid.cli", "metadata", "--cloud", cloud, "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen([*program, "--json"], stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            assert service.stdout.readline()
            text = commands(f"evidence-{cloud}")
            for address in ("169.254.169.254", "metadata.google.internal"):
                text = text.replace(f"http://{address}/", f"http://127.0.0.1:{port}/")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False
            )
        finally:
            service.terminate()
    assert done.returncode == 0, done.stderr
    assert [word for word in SHOWN[cloud] if word not in done.stdout] == []
