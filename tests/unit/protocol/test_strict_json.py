from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_iid.protocol import strict_json

_TEXT = st.text(st.characters(codec="utf-8"))
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=20
)


@given(_VALUES, st.sampled_from((None, 2)), st.booleans())
def test_what_json_writes_is_read_back(value: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert strict_json.loads(f" \t\r\n{text}\n".encode(), max_depth=32) == value


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not one JSON value"),
        (b"{} {}", "not one JSON value"),
        (b"{}\0", "not one JSON value"),
        (b"{}\x0b", "not one JSON value"),
        (b"{}\xc2\xa0", "not one JSON value"),
        (b"{'a': 1}", "not one JSON value"),
        (b'{"a": 1,}', "not one JSON value"),
        (b'{"a": 01}', "not one JSON value"),
        (b'{"a": "\n"}', "not one JSON value"),
        (b"\xef\xbb\xbf{}", "not one JSON value"),
        (b"\xff\xfe{\0}\0", "not valid UTF-8"),
        (b'"\xc0\xaf"', "not valid UTF-8"),
        (b'"\xed\xa0\x80"', "not valid UTF-8"),
        (b'{"a": 1, "a": 1}', "the key 'a' twice"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "the key 'a' twice"),
        (b"NaN", "holds NaN"),
        (b"[Infinity]", "holds Infinity"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b"1" * 5000, "too large"),
        (b"-" + b"1" * 100, "too large"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b'"\\uDC00\\uD800"', "half of a surrogate pair"),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
    ],
)
def test_what_parsers_read_differently_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        strict_json.loads(data)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert strict_json.loads(b'"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"


def test_a_refusal_shows_little_of_a_long_key() -> None:
    name = "k" * 1000
    with pytest.raises(ValueError, match="twice") as refused:
        strict_json.loads(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert len(str(refused.value)) < 200


def test_nesting_is_bounded() -> None:
    assert strict_json.loads(b"[" * 3 + b"]" * 3, max_depth=3) == [[[]]]
    assert strict_json.loads(b'[{"a": [1, 2]}, [[]], "[[[["]', max_depth=3) == [{"a": [1, 2]}, [[]], "[[[["]
    for deep in (b"[" * 4 + b"]" * 4, b'[{"a": [[]]}]', b'{"a]]]]": {"\\"]]": {"b": {}}}}'):
        with pytest.raises(ValueError, match="more than 3 levels"):
            strict_json.loads(deep, max_depth=3)


def test_many_shallow_brackets_are_no_depth() -> None:
    assert strict_json.loads(b"[" + b",".join([b"[]"] * 1000) + b"]", max_depth=2) == [[]] * 1000


def test_size_is_bounded() -> None:
    assert strict_json.loads(b'"1234"', max_bytes=6) == "1234"
    with pytest.raises(ValueError, match="7 bytes long; 6 is the limit"):
        strict_json.loads(b'"12345"', max_bytes=6)
    with pytest.raises(ValueError, match="is the limit"):
        strict_json.loads(b" " * (strict_json.MAX_BYTES + 1))


def test_hostile_texts_are_refused_in_no_time() -> None:
    size = strict_json.MAX_BYTES
    started = time.process_time()
    for hostile in (b"[" * size, b'{"a":' * (size // 5), b'"\\' * (size // 2), b'["' * (size // 2), b"]" * size):
        with pytest.raises(ValueError, match=r"\w"):
            strict_json.loads(hostile)
    assert time.process_time() - started < 5


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0dD 1eEnN-."ab', max_size=60).map(str.encode))
def test_any_bytes_are_read_as_json_reads_them_or_refused(data: bytes) -> None:
    try:
        value = strict_json.loads(data, max_depth=4)
    except ValueError:
        return
    assert value == json.loads(data)


@pytest.mark.parametrize("tail", [b'\\"', b'"', b"\\", b'\\\\"', b"[", b'"]'])
def test_a_string_that_does_not_end_is_looked_at_once(tail: bytes) -> None:
    """An unclosed string made a scan of 64 KB take a quarter of a minute; this many take that long for hours."""
    text = b"[]" * 20 + b'"' + tail * (100_000 // len(tail))
    with pytest.raises(ValueError, match=r"\w"):
        strict_json.loads(text)


@pytest.mark.parametrize("unit", ["[],", "{},", "[[]],", '"[",'])
def test_a_text_of_nothing_but_brackets_is_refused(unit: str) -> None:
    opened = unit.count("[") + unit.count("{")
    fits = (strict_json.MAX_OPENINGS - 1) // opened
    value = strict_json.loads(f"[{unit * fits}0]".encode())
    assert isinstance(value, list)
    assert len(value) == fits + 1
    with pytest.raises(ValueError, match="more than 10000 opening brackets"):
        strict_json.loads(f"[{unit * (fits + 1)}0]".encode())
