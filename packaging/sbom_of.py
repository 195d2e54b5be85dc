"""List what is in an artefact, as CycloneDX: sbom_of.py ARTEFACT VERSION LIST WHEELHOUSE; writes ARTEFACT.cdx.json.

What a wheel has inside that is no Python, such as cryptography's OpenSSL, is what its own lists say (PEP 770). Our
wheel and sdist carry no library: LIST, the pinned ones, is what they are tested with. packaging/sbom calls it, in the
environment of the build's tools.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename
from pyz_zip import needed

PYTHON = "3.11"
"""Whose wheels are listed where an artefact carries none: the oldest that is supported."""
_Json = dict[str, Any]


def main(artefact: Path, version: str, pinned: Path, wheelhouse: Path) -> None:
    """Write the list beside the artefact.

    :raises ValueError: if no wheel says which OpenSSL is in it.
    """
    components = sorted(_components(artefact, pinned, wheelhouse), key=lambda component: str(component["bom-ref"]))
    digest = hashlib.sha256(artefact.read_bytes()).hexdigest()
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:sha256:{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC).isoformat(),
            "component": {
                "type": "application",
                "bom-ref": artefact.name,
                "name": "acme-iid",
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": artefact.name, "dependsOn": [component["bom-ref"] for component in components]},
        ],
    }
    inside = [inner for component in components for inner in component.get("components", ())]
    if not any(inner.get("purl", "").startswith("pkg:generic/openssl@") for inner in inside):
        raise ValueError(f"{artefact.name}: no wheel says which OpenSSL is in it")
    artefact.with_name(f"{artefact.name}.cdx.json").write_text(
        json.dumps(bom, indent=1, sort_keys=True) + "\n", "utf-8"
    )


def _components(artefact: Path, pinned: Path, wheelhouse: Path) -> Iterator[_Json]:
    if artefact.suffix != ".pyz":
        for wheel in needed(pinned, wheelhouse, os.uname().machine, PYTHON):
            yield _component(wheel.name, wheel.read_bytes())
        return
    with zipfile.ZipFile(artefact) as archive:
        for name in archive.namelist():
            if name.startswith("wheels/"):
                yield _component(Path(name).name, archive.read(name))


def _component(file: str, content: bytes) -> _Json:
    """A wheel, with what it says is in it."""
    name, version, _, _ = parse_wheel_filename(file)
    component: _Json = {
        "type": "library",
        "bom-ref": file,
        "name": name,
        "version": str(version),
        "purl": f"pkg:pypi/{name}@{version}?file_name={file}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
    }
    inner: dict[str, _Json] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        for entry in wheel.namelist():
            if ".dist-info/sboms/" in entry and entry.endswith(".json"):
                for found in json.loads(wheel.read(entry)).get("components", ()):
                    reference = f"{file}/{found['name']}@{found.get('version', '')}"
                    facts = ("type", "name", "version", "purl", "cpe")
                    inner[reference] = {"bom-ref": reference, **{key: found[key] for key in facts if key in found}}
    if inner:
        component["components"] = [inner[reference] for reference in sorted(inner)]
    return component


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
