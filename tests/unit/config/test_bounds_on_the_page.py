"""Each bound that the reference of ca.toml gives is tried: the value at it is taken, and the next one is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import page, table

from acme_iid.config import ca_toml
from acme_iid.config.table import ConfigError
from acme_iid.terminal import durations

PAGE = page("docs/reference/ca-toml.md")
NUMBER = r"(\d+[smhd]?)(?: (characters|octets))?\b"
LOW, HIGH = re.compile(f"at least {NUMBER}"), re.compile(f"at most {NUMBER}")
RANGE = re.compile(rf"from (\S+) to {NUMBER}")
BASE = {
    "[ca]": {"name": '"My CA"', "domains": '["local"]'},
    "[server]": {"url": '"https://ca.local"'},
    "[retention]": {"events": '"400d"', "events_export": '"."'},
    "[[sink]]": {"name": '"siem"', "url": '"https://siem.internal/events"', "secret_file": '"secret"'},
    "[profile.tls]": {"description": '"for servers"'},
    "[[provisioner]] AWS": {"name": '"AWS"', "type": '"AWS"', "accounts": '["123456789042"]'},
    "[[provisioner]] ACME": {"name": '"hosts"', "type": '"ACME"', "challenges": '["http-01"]'},
}
"""Tables of a ca.toml, by their heads; what stands behind a head tells two of a kind apart."""
SECTIONS = {
    "[profile.NAME]": "[profile.tls]",
    "[[provisioner]]": "[[provisioner]] AWS",
    "[[provisioner]] of every cloud": "[[provisioner]] AWS",
    "[[provisioner]] of type ACME": "[[provisioner]] ACME",
}
"""The tables of sections that are called otherwise."""


class Bound(NamedTuple):
    """One end of what a setting may be: the last value that is right, and the first that is not."""

    head: str
    key: str
    unit: str
    right: str
    wrong: str


def beyond(number: str, step: int) -> str:
    """The next number, or duration in seconds."""
    return str(int(number) + step) if number.isdigit() else f"{(durations.parse(number) or 0) + step}s"


def bounds() -> Iterator[Bound]:
    parts = re.split(r"^## (\[.+)\n", PAGE, flags=re.MULTILINE)[1:]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        for key, type_, _, meaning in table(text, "key"):
            words = f"{type_}. {meaning}"
            ends = [(low, unit, -1) for low, unit in LOW.findall(words)]
            ends += [(high, unit, 1) for high, unit in HIGH.findall(words)]
            for low, high, unit in RANGE.findall(words):
                ends += [(low, unit, -1), (high, unit, 1)]
            for number, unit, step in ends:
                # A list has a number of entries.
                about = unit or ("entries" if type_.startswith("a list") else "")
                yield Bound(SECTIONS.get(title, title), key.strip("`"), about, number, beyond(number, step))


BOUNDS = list(bounds())


def written(bound: Bound, number: str, home: Path) -> str:
    """A value with this number of what the bound is about, as it stands in ca.toml."""
    match bound.unit:
        case "characters":
            return '"' + "x" * int(number) + '"'
        case "octets":
            (home / "secret").write_text("x" * int(number))
            return '"secret"'
        case "entries":
            return str([f"10.0.0.{last}" for _, last in zip(range(int(number)), count(1), strict=False)])
    return number if number.isdigit() else f'"{number}"'


def read(bound: Bound, number: str, home: Path) -> None:
    (home / "secret").write_text("x" * 32)
    tables = {head: dict(lines) for head, lines in BASE.items()}
    tables.setdefault(bound.head, {})[bound.key] = written(bound, number, home)
    lines = (
        f"{head.partition(' ')[0]}\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
        for head, settings in tables.items()
    )
    ca_toml.parse("\n".join(lines).encode(), home)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.head}-{bound.key}-{bound.right}")
def test_a_bound_on_the_page_holds(bound: Bound, tmp_path: Path) -> None:
    read(bound, bound.right, tmp_path)
    with pytest.raises(ConfigError):
        read(bound, bound.wrong, tmp_path)


def test_bounds_are_found_on_the_page() -> None:
    assert len(BOUNDS) == 27


def test_durations_and_rates_are_bounded_as_the_page_says(tmp_path: Path) -> None:
    rows = {row[0]: row[2] for row in table(PAGE, "value")}
    duration = re.fullmatch(r"from (\S+) to (\S+)", rows["a duration"])
    rate = re.fullmatch(r"the number from (\d+) to (\d+)", rows["a rate"])
    assert duration is not None
    assert rate is not None
    # A setting whose duration has no bounds of its own.
    age = "[[provisioner]] AWS", "instance_age", ""
    rates = "[limits]", "orders_per_account", ""
    for low, high, about, form in ((duration[1], duration[2], age, "{}"), (rate[1], rate[2], rates, "{}/1h")):
        for right, wrong in ((low, beyond(low, -1)), (high, beyond(high, 1))):
            bound = Bound(*about, right, wrong)
            read(bound, form.format(right), tmp_path)
            with pytest.raises(ConfigError):
                read(bound, form.format(wrong), tmp_path)
