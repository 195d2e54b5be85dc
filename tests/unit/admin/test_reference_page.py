"""The pages of reference of the admin API say what the OpenAPI document says, no less and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from asking import DOCUMENT
from pages import PAGES, page, table, tables

from acme_iid.admin import dispatch, entrance, filters, limits, problems, questions, reference, tasks, worker
from acme_iid.admin.problems import Problem
from acme_iid.admin.roles import Role
from acme_iid.admin.table import bulk, certificates, events
from acme_iid.admin.table.certificates import REASON
from acme_iid.config.admin_settings import ROLES

FOLDER = "docs/reference/"
NAMES = [name for name in PAGES if name.startswith(f"{FOLDER}admin-api")]
PAGE = "\n".join(page(name) for name in sorted(NAMES, key=len))
"""All of them, the main one first."""
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, several in DOCUMENT["paths"].items()
    for method, operation in several.items()
}


def test_the_pages_have_the_sections_that_the_code_writes() -> None:
    written = {name.removeprefix(FOLDER): page(name) for name in NAMES}
    main = written[reference.MAIN]
    written[reference.MAIN] = main[main.index(reference.BEGINNING) :]
    assert written == reference.pages(), "see python -m acme_iid.admin.reference"


# The same by a reader of the page who does not know how it is written


def parameters(operation: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """The parameters of an operation, and whether each is required."""
    for entry in operation["parameters"]:
        yield entry["name"], entry["required"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for name in body.get("properties", {}):
        yield name, name in body["required"]


def described() -> dict[str, dict[str, Any]]:
    """What the document says of each act, as far as the page has it."""
    return {
        name: {
            "at": f"{method} {path}",
            "role": operation["x-role"],
            "raised": re.findall(r"(\w+) with (\w+)", operation["description"].rpartition("the role")[2]),
            "parameters": dict(parameters(operation)),
            "statuses": sorted(operation["responses"]),
        }
        for name, (method, path, operation) in OPERATIONS.items()
    }


def read(text: str) -> dict[str, dict[str, Any]]:
    """What a page says of each act."""
    found = {}
    for heading, section in sections(text, "The acts one by one"):
        at, roles = re.findall(r"^`([A-Z]+ [^`]+)`, ([^.]+)\.", section)[0]
        own = [row for rows in tables(section, "parameter") for row in rows]
        given = {name.strip("`"): default == "required" for name, _, default, _ in own}
        shared = re.search(r"^Shared parameters: ([^.]+)\.$", section, re.MULTILINE)
        names = [] if shared is None else re.findall(r"`(\w+)`", shared[1])
        assert not set(names) & set(given)
        statuses = re.findall(r"^(\d+): ", section, re.MULTILINE)
        statuses += re.findall(r"\d+", section.rpartition("\nRefusals: ")[2])
        found[heading] = {
            "at": at,
            "role": re.findall(r"\w+", roles)[0],
            "raised": re.findall(r"(\w+) with `(\w+)`", roles),
            "parameters": given | dict.fromkeys(names, False),
            "statuses": sorted(statuses),
        }
    return found


def sections(text: str, title: str) -> list[tuple[str, str]]:
    """The sections below those of the pages with this title."""
    found = []
    for whole in re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL):
        parts = re.split(r"^### (.+)\n\n", whole, flags=re.MULTILINE)[1:]
        found += list(zip(parts[::2], parts[1::2], strict=True))
    return found


def test_each_act_has_its_path_role_parameters_and_statuses() -> None:
    assert read(PAGE) == described()


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        pytest.param("`GET /sinks`, viewer.", "`GET /sink`, viewer.", id="another path"),
        pytest.param("`GET /sinks`, viewer.", "`GET /sinks`, operator.", id="another role"),
        pytest.param("`POST /instances/{id}/block`, helpdesk; operator with `revoke`.",
                     "`POST /instances/{id}/block`, helpdesk.", id="a role for a parameter less"),
        pytest.param("| `to` | a key thumbprint | required | The account key's thumbprint. |\n", "", id="one less"),
        pytest.param("\n| `to` |", "\n| `ab` | a word | - | One too many. |\n| `to` |", id="one more"),
        pytest.param("Shared parameters: `since`, ", "Shared parameters: ", id="a shared one less"),
        pytest.param("### sink.list\n", "### sink.list_all\n", id="another act"),
        pytest.param("Refusals: 400, 403, 404, 409,", "Refusals: 400, 403, 404,", id="a status less"),
    ],
)  # fmt: skip
def test_a_page_that_says_something_else_is_noticed(line: str, instead: str) -> None:
    assert line in PAGE
    assert read(PAGE.replace(line, instead, 1)) != described()


def test_the_overview_has_each_act_with_its_role() -> None:
    rows = table(PAGE, "method and path")
    assert {(at.strip("`"), role.partition(";")[0]) for at, role, _, _ in rows} == {
        (one["at"], one["role"]) for one in described().values()
    }


def test_shared_parameters_are_those_that_acts_name() -> None:
    listed = [row[0].strip("`") for row in table(PAGE, "parameter")]
    named = {name for line in re.findall(r"^Shared parameters: ([^.]+)\.$", PAGE, re.MULTILINE)
             for name in re.findall(r"`(\w+)`", line)}  # fmt: skip
    assert sorted(listed) == sorted(named)


def test_each_answer_has_its_keys_with_what_they_mean() -> None:
    answers = sections(PAGE, "Answers")
    found = {name: {row[0].strip("`"): row[2] for row in table(text, "key")} for name, text in answers}
    schemas = {name: schema for name, schema in DOCUMENT["components"]["schemas"].items() if "PageOf" not in name}
    assert {name: list(rows) for name, rows in found.items()} == {
        name: list(schemas[name]["properties"]) for name in sorted(schemas)
    }
    for name, rows in found.items():
        for key, meaning in rows.items():
            assert meaning.lower().replace("\\", "") == schemas[name]["properties"][key]["description"].lower()


def test_each_type_of_a_problem_has_its_status_and_title() -> None:
    rows = table(PAGE, "type")
    assert [(word.strip("`"), int(status), title) for word, status, title, _ in rows] == [
        (problem.word, problem.status, problem.title) for problem in Problem
    ]
    assert f"`{problems.URN_PREFIX}`" in PAGE
    # No document has a type that is not there, nor one that the page lacks, but for the answer to another method.
    in_document = set(re.findall(rf"{problems.URN_PREFIX}(\w+)", str(DOCUMENT)))
    assert in_document == {problem.word for problem in Problem} - {"wrongMethod"}


def test_the_roles_are_those_of_ca_toml_in_their_order() -> None:
    assert [row[0].strip("`") for row in table(PAGE, "role")] == list(ROLES) == [role.word for role in Role]


def test_the_limits_are_the_codes() -> None:
    assert [int(value) for _, value in table(PAGE, "limit")] == [
        dispatch.MAX_BODY_BYTES, dispatch.MAX_PARAMETERS, limits.A_SECOND, limits.AT_ONCE, limits.INSIDE,
        entrance.MOST_INSIDE, worker.MOST_CONNECTIONS, limits.MOST_CALLERS, filters.MOST_ROWS, events.MOST_STREAMED,
        events.MOST_OCTETS, events.MOST_WALKED, certificates.MOST_RENEWED, bulk.MOST_LISTED, tasks.MOST_AT_ONCE,
        tasks.KEPT_SECONDS, tasks.MOST_KEPT,
    ]  # fmt: skip


def test_the_lock_out_is_the_codes() -> None:
    times = r"refused (\d+) times within (\d+) seconds is locked out for (\d+) seconds.* up to (\d+) seconds"
    said = re.search(times, PAGE, re.DOTALL)
    assert said is not None
    assert [int(number) for number in said.groups()] == [
        limits.REFUSALS, limits.REFUSAL_SECONDS, limits.LOCKED_SECONDS, limits.MOST_LOCKED_SECONDS
    ]  # fmt: skip
    counted = re.search(r"Refusals are the statuses ([\d, and\n]+);", PAGE)
    assert counted is not None
    assert set(map(int, re.findall(r"\d+", counted[1]))) == entrance.REFUSALS
    assert f"remembered for {questions.KNOWN_SECONDS:.0f} seconds" in PAGE


def test_a_revocations_reason_has_its_words_on_the_page() -> None:
    assert f"| `reason` | {REASON.expected} |" in PAGE
