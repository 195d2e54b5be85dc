"""The sentences with which the client, the plugin and the CA refuse something, read out of their source.

The rule, all of it:

1. An error that people see is one of the classes in ``SHOWN``, or one that is made of them. What says no more than how
   a command is typed (``LEFT_OUT``) is none: it has its remedy in itself. The answers of the admin API are in
   docs/reference/admin-api.md.
2. A sentence is a text in the arguments of such an error, or of a function that returns one; where the argument is a
   name, it is what the same function, or the module, assigns to that name. A function whose name says ``refusal`` or
   is in ``REASONS``, and which returns a text, returns sentences too.
3. What is filled in when it is printed is a ``…``. A text with fewer than three words of its own is no sentence: it
   hands on another error's.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import product

from pages import REPOSITORY

SHOWN = {
    "AcmeError",
    "AdminError",
    "AttestationError",
    "BrokenChainError",
    "CAFileError",
    "ClickException",
    "ClientError",
    "ConfigError",
    "CopyError",
    "Fault",
    "Finding",
    "MisconfigurationError",
    "PlaceError",
    "PluginError",
    "RequestError",
    "ResponderError",
    "ServerError",
    "SignerError",
    "StoreUnavailableError",
    "TrustUnavailableError",
    "UnstorableTextError",
    "ValidationError",
}
LEFT_OUT = {"UsageError", "BadParameter", "_WrongUsage"}
REASONS = {"_unmet", "_why", "outside", "remedy"}
FOLDERS = ("acme_iid", "client")
NOT_THEIRS = ("acme_iid/simulator/", "acme_iid/cli/demo.py", "acme_iid/cli/metadata")
"""Stand-ins for clouds, which refuse in their words."""
WORDS = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef
Names = Mapping[str, list[ast.expr]]
"""What is assigned to names: in a function, and in its module."""


def sentences() -> dict[str, str]:
    """Each sentence, with the place in the source where it is first found."""
    modules = {
        path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text("utf-8"))
        for folder in FOLDERS
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    }
    modules = {name: module for name, module in modules.items() if not name.startswith(NOT_THEIRS)}
    shown = _shown(list(modules.values()))
    found: dict[str, str] = {}
    for name, module in modules.items():
        for sentence, line in of_module(module, shown):
            found.setdefault(sentence, f"{name}, line {line}")
    return found


def _shown(modules: list[ast.Module]) -> set[str]:
    """The names of all classes of errors that people see."""
    classes = [node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    shown = set(SHOWN)
    while more := {entry.name for entry in classes if {_last(base) for base in entry.bases} & shown} - LEFT_OUT - shown:
        shown |= more
    return shown


def _makers(module: ast.Module, shown: set[str]) -> set[str]:
    """The functions that make an error of a text: a module's own, and the methods of tables of ca.toml."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    own = {function.name for function in functions if _last(function.returns) in shown and _takes_text(function)}
    return own | {"error", "file_error"}


def _takes_text(function: ast.FunctionDef) -> bool:
    annotations = (argument.annotation for argument in function.args.args)
    return any(isinstance(annotation, ast.Name) and annotation.id == "str" for annotation in annotations)


def _last(node: ast.expr | None) -> str:
    """The last part of a dotted name, of the first name of a union too."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.BinOp(left=left):
            return _last(left)
    return ""


def of_module(module: ast.Module, shown: set[str]) -> Iterator[tuple[str, int]]:
    """The sentences of a module, each with its line.

    :param shown: the names of all classes of errors that people see.
    """
    makers = shown | _makers(module, shown)
    for_all = _assigned(module.body)
    for function, node in _nodes(module, None):
        if printed := _printed(node, function, makers):
            names: Names = for_all | (_assigned(list(ast.walk(function))) if function is not None else {})
            for entry in printed:
                yield from ((text, entry.lineno) for text in _sentences(entry, names))


def _sentences(node: ast.expr, names: Names) -> Iterator[str]:
    for text in _texts(node, names):
        sentence = " ".join(text.split())
        if len(re.findall(r"\S*[^\W\d_]\S*", sentence)) >= WORDS:
            yield sentence


def _printed(node: ast.AST, function: Function | None, makers: set[str]) -> list[ast.expr]:
    """What a node hands to an error, or returns as a reason."""
    match node:
        case ast.Call(func=called) if _last(called) in makers and not _is_log(called):
            return [*node.args, *(keyword.value for keyword in node.keywords)]
        case ast.Return(value=ast.expr() as value) if function is not None and _gives_reasons(function):
            return [value]
    return []


def _nodes(node: ast.AST, function: Function | None) -> Iterator[tuple[Function | None, ast.AST]]:
    """All nodes below one, each with the function that it is in."""
    for child in ast.iter_child_nodes(node):
        yield function, child
        yield from _nodes(child, child if isinstance(child, Function) else function)


def _assigned(nodes: list[ast.AST] | list[ast.stmt]) -> dict[str, list[ast.expr]]:
    found: defaultdict[str, list[ast.expr]] = defaultdict(list)
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not isinstance(value, ast.Name):
                found[name].append(value)
    return dict(found)


def _is_log(called: ast.expr) -> bool:
    return re.search(r"\b(_?log|logger|journal)\.", ast.unparse(called)) is not None


def _gives_reasons(function: Function) -> bool:
    returns = ast.unparse(function.returns) if function.returns is not None else ""
    return returns in ("str", "str | None") and ("refusal" in function.name or function.name in REASONS)


def _texts(node: ast.expr, names: Names) -> Iterator[str]:
    """The texts that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            parts = (list(_texts(part, names)) or ["…"] for part in values)
            yield from (re.sub("…+", "…", "".join(choice)) for choice in product(*parts))
        case ast.FormattedValue(value=ast.Name() as value, format_spec=None):
            yield from _texts(value, names)
        case ast.IfExp(body=body, orelse=orelse):
            for branch in (body, orelse):
                yield from list(_texts(branch, names)) or ["…"]
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            parts = (list(_texts(part, names)) or ["…"] for part in (left, right))
            yield from (first + second for first, second in product(*parts))
        case ast.Call():
            yield from _of_call(node, names)
        case ast.Name(id=name):
            # Without the name itself: it may be made of itself.
            rest = {other: values for other, values in names.items() if other != name}
            for assigned in names.get(name, []):
                yield from list(_texts(assigned, rest)) or ["…"]


def _of_call(call: ast.Call, names: Names) -> Iterator[str]:
    """The texts of a call that only lays a text out."""
    match call:
        case ast.Call(func=ast.Name(id="printable" | "plain" | "_printable"), args=[text, *_]):
            yield from _texts(text, names)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            yield from (re.sub(r"\{[^}]*\}", "…", text) for text in _texts(value, names))
