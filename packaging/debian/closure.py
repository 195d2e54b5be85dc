"""Put the files of a wheel into a folder that some of its packages lean on: closure.py WHEEL FOLDER PACKAGE...

A package comes with all its modules, and with each module of the wheel that one of these imports, in a function too.
What the distribution says of itself comes as well: programs look their version up there, and certbot its plugins.
packaging/deb calls it.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

AT_THE_BUILD = "acme_iid_client.build_backend"
"""Of no use to anybody who has it installed."""


def main(wheel: Path, folder: Path, packages: list[str]) -> None:
    """Write the files."""
    with zipfile.ZipFile(wheel) as archive:
        for name in members(archive, packages):
            archive.extract(name, folder)


def members(archive: zipfile.ZipFile, packages: list[str]) -> list[str]:
    """The names in the wheel of what the packages need."""
    modules = {_module(name): name for name in archive.namelist() if name.endswith(".py")}
    waiting = [name for name in modules if any(f"{name}.".startswith(f"{package}.") for package in packages)]
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in needed or name not in modules or name == AT_THE_BUILD:
            continue
        needed.add(name)
        waiting += _imported(ast.parse(archive.read(modules[name])))
        # A module is imported after the packages that it is in.
        waiting += [".".join(name.split(".")[:length]) for length in range(1, name.count(".") + 1)]
    folders = {str(PurePosixPath(modules[name]).parent) for name in needed if modules[name].endswith("/__init__.py")}
    data = [
        name
        for name in archive.namelist()
        if (not name.endswith(".py") and str(PurePosixPath(name).parent) in folders)
        or name.endswith((".dist-info/METADATA", ".dist-info/entry_points.txt"))
    ]
    return sorted([modules[name] for name in needed] + data)


def _module(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(tree: ast.AST) -> Iterator[str]:
    """The modules that code imports, and names that may be modules; what is for types alone is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in _imported(other))
        else:
            yield from _imported(node)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
