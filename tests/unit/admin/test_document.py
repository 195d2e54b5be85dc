"""The OpenAPI document: valid, whole, and what the acts do; what answers to it is held against it in every test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from asking import DOCUMENT, Api
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from acme_iid.admin.acts import Act
from acme_iid.admin.problems import Problem
from acme_iid.admin.roles import Role
from acme_iid.admin.table import ACTS

SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (path, method, operation) for path, several in DOCUMENT["paths"].items() for method, operation in several.items()
]


def test_the_document_is_valid() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_whoever_has_a_role_reads_it(api: Api) -> None:
    for role in Role:
        assert api.ask("GET", "/openapi.json", role).content == DOCUMENT
    assert api.ask("GET", "/openapi.json", None).status == 403


def test_each_act_is_there_once() -> None:
    assert sorted(operation["operationId"] for _, _, operation in OPERATIONS) == sorted(act.name for act in ACTS)
    assert {(act.path, act.method.lower()) for act in ACTS} == {(path, method) for path, method, _ in OPERATIONS}


def properties() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, schema in SCHEMAS.items():
        yield name, schema
        yield from ((f"{name}.{key}", value) for key, value in schema.get("properties", {}).items())


def test_all_that_is_answered_is_described_in_words() -> None:
    assert [name for name, schema in properties() if not schema.get("description")] == []
    said = [schema["description"] for _, schema in properties()]
    assert [text for text in said if re.search(r"None|``|:\w+:|ivar", text)] == []


def test_all_that_is_taken_is_described_in_words() -> None:
    for path, _, operation in OPERATIONS:
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        for entry in (*operation["parameters"], *([] if body is None else body["properties"].values())):
            assert entry["description"], path
        assert body is None or body["additionalProperties"] is False
        in_path = [entry["name"] for entry in operation["parameters"] if entry["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_the_refusal_for_a_role_names_it(act: Act[Any]) -> None:
    operation = DOCUMENT["paths"][act.path][act.method.lower()]
    said = operation["responses"]["403"]["description"]
    assert f"the role {act.role.word}" in said
    assert all(f"{role.word} with {name}" in said for name, role in act.raised.items())
    assert operation["x-role"] == act.role.word
    assert {"400", "403", "429", "500", "503"} <= set(operation["responses"])


def test_each_change_takes_a_reason_and_each_reading_none() -> None:
    for act in ACTS:
        names = {entry.name for entry in act.every_parameter()}
        assert (act.why in names) == act.is_change


def test_each_problem_has_a_type_of_its_own() -> None:
    assert len({problem.urn for problem in Problem}) == len(Problem)
    words = str(DOCUMENT)
    assert [
        problem.urn for problem in Problem if problem is not Problem.WRONG_METHOD and problem.urn not in words
    ] == []


def test_no_answer_has_a_key_that_is_not_in_the_document(api: Api) -> None:
    """What is held against the document is held against all of its keys."""
    page = {"items": [{"instance": "x"}], "next": None}
    schema = DOCUMENT["paths"]["/instances"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    assert not validator.is_valid(page)
    assert not validator.is_valid({**api.get("/instances"), "more": 1})
    assert validator.is_valid(api.get("/instances"))
