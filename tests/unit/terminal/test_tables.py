"""Tables: columns under their heads."""

from __future__ import annotations

from acme_iid.terminal.tables import columns


def test_columns_fit_their_longest_cell_and_lines_end_without_blanks() -> None:
    rows = [["foo.local", "1"], ["a.very.long.name.local", ""]]
    assert columns(["NAME", "SERIAL"], rows) == [
        "NAME                    SERIAL",
        "foo.local               1",
        "a.very.long.name.local",
    ]


def test_a_table_without_rows_is_its_heads() -> None:
    assert columns(["A", "B"], []) == ["A  B"]
