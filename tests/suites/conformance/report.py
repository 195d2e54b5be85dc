"""What a run found, and several runs side by side in one Markdown table.

    python report.py [--modules modules.toml] ours=ours.json Pebble=pebble.json

prints the table of results that ``pytest --acme-report FILE.json`` wrote.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

_WORDS = {"pass": "yes", "fail": "**no**", "not offered": "not offered"}
_RANK = ("not offered", "pass", "fail")


@dataclass(frozen=True)
class Result:
    """What came of one rule's test.

    :ivar area: the part of the suite.
    :ivar outcome: "pass", "fail" or "not offered".
    :ivar why: the failure's first line, or what the server does not offer.
    :ivar cases: the test's cases that were run.
    """

    area: str
    section: str
    text: str
    level: str
    test: str
    outcome: str
    why: str
    cases: list[str]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON has it."""
        return asdict(self)


def in_one(results: list[Result]) -> list[Result]:
    """One result a rule: a rule holds if it holds in every case of its test."""
    found: dict[str, Result] = {}
    for result in results:
        known = found.setdefault(result.test, result)
        if known is result:
            continue
        worse = max(known, result, key=lambda entry: _RANK.index(entry.outcome))
        found[result.test] = replace(worse, cases=known.cases + result.cases)
    return list(found.values())


def load(path: Path) -> list[Result]:
    """The results in a file that a run wrote."""
    return [Result(**entry) for entry in json.loads(path.read_text("utf-8"))]


def module_of(modules: Mapping[str, Mapping[str, str]], result: Result) -> str:
    """Where a rule lives in the code of the server that ``modules`` describes: by its test, else by its section."""
    by_test, by_section = modules.get("test", {}), modules.get("section", {})
    return by_test.get(result.test) or by_section.get(result.section, "")


def markdown(runs: Mapping[str, Sequence[Result]], modules: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The table of one run or of several.

    :param runs: the results by the name of the server.
    :param modules: which file of the server implements what; the column is left out without it.
    """
    rules: dict[str, Result] = {}
    for results in runs.values():
        for result in results:
            rules.setdefault(result.test, result)
    found = {name: {result.test: result for result in results} for name, results in runs.items()}
    lines: list[str] = []
    for area in dict.fromkeys(result.area for result in rules.values()):
        head = ["section", "rule", *(["module"] if modules is not None else []), "test", *runs]
        lines += [f"### {area}", "", _row(head), _row("---" for _ in head)]
        for result in rules.values():
            if result.area != area:
                continue
            level = "" if result.level == "MUST" else f" ({result.level})"
            cells = [result.section.removeprefix("RFC 8555 ") + level, result.text]
            if modules is not None:
                module = module_of(modules, result)
                cells.append(f"`{module}`" if module else "")
            cells.append(f"`{result.test}`")
            for name in runs:
                own = found[name].get(result.test)
                cells.append("not run" if own is None else _WORDS[own.outcome])
            lines.append(_row(cells))
        lines.append("")
    return "\n".join(lines)


def _row(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Print the table of the runs that are named."""
    parser = argparse.ArgumentParser(description="Results of the conformance suite in one Markdown table.")
    parser.add_argument(
        "runs", nargs="+", metavar="NAME=FILE.json", help="a run's results, as --acme-report wrote them"
    )
    parser.add_argument("--modules", type=Path, metavar="TOML", help="which file of a server implements what")
    options = parser.parse_args()
    runs = {name: load(Path(file)) for name, _, file in (entry.partition("=") for entry in options.runs)}
    modules = None if options.modules is None else tomllib.loads(options.modules.read_text("utf-8"))
    print(markdown(runs, modules))


if __name__ == "__main__":
    main()
