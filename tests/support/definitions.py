"""What the code defines, for notes and maps that name it: files, modules, functions, classes and their methods."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pages import REPOSITORY

ROOTS = {"acme_iid": REPOSITORY, "acme_iid_client": REPOSITORY / "client", "certbot_acme_iid": REPOSITORY / "client"}
"""The folders in which each distribution's packages are."""


def named(text: str) -> Iterator[tuple[str, list[str]]]:
    """The files in a text, each with the definitions in brackets behind it: ```web/jws.py` (`JWS.read`)``."""
    for file, names in re.findall(r"`([\w./-]+\.(?:py|json|sql|toml))`(?:\s\(([^)]*)\))?", text):
        yield file, re.findall(r"`([^`]+)`", names)


@cache
def definitions(file: Path) -> frozenset[str]:
    """The names that a module defines: ``function``, ``Class``, ``Class.method`` and ``CONSTANT``."""
    return frozenset(_names(ast.parse(file.read_text("utf-8")).body))


def _names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.ClassDef(name=name, body=inner):
                yield prefix + name
                yield from _names(inner, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name


def module(dotted: str) -> Path | None:
    """The file of a module or package, by its dotted name; None if there is none."""
    first, *rest = dotted.split(".")
    if first not in ROOTS:
        return None
    place = ROOTS[first].joinpath(first, *rest)
    file = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
    return file if file.is_file() else None


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, a package, or what a module defines."""
    parts = dotted.split(".")
    return module(dotted) is not None or any(
        file is not None and ".".join(parts[end:]) in definitions(file)
        for end in range(1, len(parts))
        for file in [module(".".join(parts[:end]))]
    )
