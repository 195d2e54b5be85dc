"""The facts that the code puts into the details of events, by their kinds, read out of its source.

It follows what source says plainly: dictionaries, their unions, names that stand for them in a function, functions that
return them, and what callers hand in. Whatever else it meets is an error, so that no event is passed over.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PLACE = Path(__file__).resolve().parents[2] / "acme_iid"
RECORD = "record"
"""The function of refusals that makes events; the fourth and sixth of its arguments are the kind and further facts."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """A module of the server."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tree = ast.parse(file.read_text("utf-8"))
        self.functions: dict[str, Function] = {}
        self.within: dict[ast.AST, Function] = {}
        for function in (node for node in ast.walk(self.tree) if isinstance(node, Function)):
            self.functions[function.name] = function
            # An inner function comes later, and has its own.
            self.within.update(dict.fromkeys(ast.walk(function), function))

    def calls(self) -> Iterator[ast.Call]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node

    def keys(self, node: ast.expr) -> set[str]:
        """The keys of a dictionary that an expression makes."""
        match node:
            case ast.Dict():
                found: set[str] = set()
                for key, value in zip(node.keys, node.values, strict=True):
                    found |= self.keys(value) if key is None else {str(ast.literal_eval(key))}
                return found
            case ast.BinOp(op=ast.BitOr()):
                return self.keys(node.left) | self.keys(node.right)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in self.functions:
                returned = (line for line in ast.walk(self.functions[name]) if isinstance(line, ast.Return))
                return {key for line in returned if line.value is not None for key in self.keys(line.value)}
            case ast.DictComp(
                generators=[ast.comprehension(iter=ast.Call(func=ast.Attribute(value=whole)), ifs=tests)]
            ):
                left_out = {ast.literal_eval(test.comparators[0]) for test in tests if isinstance(test, ast.Compare)}
                return self.keys(whole) - left_out
            case ast.Name():
                return self._named(node)
        raise AssertionError(f"{self.file.name}, line {node.lineno}: what are the keys of {ast.unparse(node)}?")

    def _named(self, name: ast.Name) -> set[str]:
        """The keys of what a name stands for in its function: of all that is assigned to it, or handed in."""
        function = self.within[name]
        found: set[str] = set()
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=[ast.Name(id=name.id)], value=value):
                    found |= self.keys(value)
                case ast.AnnAssign(target=ast.Name(id=name.id), value=ast.expr() as value):
                    found |= self.keys(value)
                case ast.AugAssign(target=ast.Name(id=name.id), value=value):
                    found |= self.keys(value)
                case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name.id), slice=ast.Constant(value=key))]):
                    found.add(str(key))
        arguments = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
        if name.id in arguments:
            found |= self._handed_in(function, name.id, arguments.index(name.id))
        assert found, f"{self.file.name}, line {name.lineno}: what is {name.id}?"
        return found

    def _handed_in(self, function: Function, name: str, place: int) -> set[str]:
        found: set[str] = set()
        for call in self.calls():
            parts = list(call.args)
            called = parts.pop(0) if getattr(call.func, "id", None) == "partial" else call.func
            if getattr(called, "id", None) == function.name:
                by_name = [keyword.value for keyword in call.keywords if keyword.arg == name]
                for value in by_name or parts[place : place + 1]:
                    found |= self.keys(value)
        return found


def kinds(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from kinds(node.body)
        yield from kinds(node.orelse)


def details() -> dict[str, set[str]]:
    """The facts in the details of events, by their kinds. Facts that are None are in no record."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    sources = [Source(file) for file in sorted(PLACE.rglob("*.py"))]
    (refusals,) = (source for source in sources if source.file.name == "refusals.py" and RECORD in source.functions)
    of_all_refusals: set[str] = set()
    of_requests: set[str] = set()
    for call in refusals.calls():
        if getattr(call.func, "id", None) == "Event":
            (detail,) = (keyword.value for keyword in call.keywords if keyword.arg == "detail")
            assert isinstance(detail, ast.Dict)
            of_all_refusals = {str(ast.literal_eval(key)) for key in detail.keys if key is not None}
        elif getattr(call.func, "id", None) == RECORD:
            of_requests = refusals.keys(call.args[5])
    for source in sources:
        for call in source.calls():
            if getattr(call.func, "id", None) == "Event" and source is not refusals:
                for kind in kinds(call.args[0]):
                    found[kind].update(*(source.keys(word.value) for word in call.keywords if word.arg == "detail"))
            elif ast.unparse(call.func) == f"refusals.{RECORD}":
                found[str(ast.literal_eval(call.args[1]))] |= of_all_refusals | source.keys(call.args[5])
            elif ast.unparse(call.func) == "refusals.refused":
                found[str(ast.literal_eval(call.args[3]))] |= of_all_refusals | of_requests
    return dict(found)
