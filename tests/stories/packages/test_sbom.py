"""The lists of what is in each artefact: CycloneDX, whole, and true of the OpenSSL that runs."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packages import building

VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
for file in sys.argv[1:]:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(file).read())
    print(file, error or "is valid")
"""


def of(artefact: Path) -> Any:
    return json.loads(artefact.with_name(f"{artefact.name}.cdx.json").read_bytes())


def artefacts(built: Path) -> list[Path]:
    return [file for file in sorted(built.iterdir()) if not file.name.endswith(".cdx.json")]


def openssl(sbom: Any) -> set[str]:
    """The versions of OpenSSL itself inside cryptography; Rust has a crate of that name."""
    (cryptography,) = (found for found in sbom["components"] if found["name"] == "cryptography")
    inside = cryptography["components"]
    return {inner["version"] for inner in inside if inner["purl"].startswith("pkg:generic/openssl@")}


def test_each_artefact_has_a_valid_list_that_names_its_octets(built: Path) -> None:
    files = artefacts(built)
    assert len(files) >= 3
    for file in files:
        component = of(file)["metadata"]["component"]
        assert component["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}], (
            file
        )
    lists = [file.with_name(f"{file.name}.cdx.json") for file in files]
    said = subprocess.run(
        [building.tools() / "bin" / "python", "-c", VALIDATE, *lists], env=building.OUTSIDE,
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert said.splitlines() == [f"{file} is valid" for file in lists]


def test_the_one_files_list_has_each_wheel_that_it_carries(built: Path) -> None:
    (file,) = built.glob("*.pyz")
    with zipfile.ZipFile(file) as archive:
        carried = {
            Path(name).name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist() if name.startswith("wheels/")
        }  # fmt: skip
    assert len(carried) > 15
    assert {found["bom-ref"]: found["hashes"][0]["content"] for found in of(file)["components"]} == carried


def test_the_openssl_that_runs_is_the_one_in_the_list(built: Path, tmp_path: Path) -> None:
    (file,) = built.glob("*.pyz")
    said = building.run("/usr/bin/python3", file, "--version", env={"HOME": str(tmp_path)})
    found = re.search(r"^cryptography \S+ \(OpenSSL (\S+) ", said.stdout, re.MULTILINE)
    assert found, said
    assert openssl(of(file)) == {found[1]}


@pytest.mark.parametrize("form", ["*.whl", "*.tar.gz"])
def test_the_list_of_what_carries_no_library_has_the_pinned_ones(form: str, built: Path) -> None:
    (file,) = built.glob(form)
    found = {f"{component['name']}=={component['version']}" for component in of(file)["components"]}
    pinned = (building.REPOSITORY / "packaging" / "requirements" / "client.txt").read_text()
    assert found == set(re.findall(r"^([a-z0-9-]+==[^ ]+)", pinned, re.MULTILINE))
    assert openssl(of(file))
