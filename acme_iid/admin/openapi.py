"""The OpenAPI 3.1 document of the admin API, made from the table of acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from acme_iid.admin import schema
from acme_iid.admin.acts import JSON, Act, Context
from acme_iid.admin.parameters import Nothing, Parameter
from acme_iid.admin.problems import MEDIA_TYPE, Problem, ProblemDocument
from acme_iid.admin.roles import Role
from acme_iid.admin.schema import Schema

VERSION = "1"
"""The version of the API; another one when something goes that somebody may rely on."""
_DESCRIPTION = """\
What operators of acme-iid ask a running CA for, over a unix socket or over TLS with a client certificate. Each caller
has a role by ca.toml (`[[admin.role]]`): viewer, helpdesk, operator or administrator, each with all that the ones
before it may do. Bodies are JSON objects of 64 KiB at most. Unknown parameters are refused. Each change leaves an event
that names who made it, and the reason where one was given."""
_ALWAYS = (Problem.BAD_PARAMETER, Problem.FORBIDDEN, Problem.TOO_MANY, Problem.INTERNAL, Problem.UNAVAILABLE)
"""What every act may end with."""
_NAMED = {"account", "instance", "go_on"}
"""Parameters, beside those in a path, that name something that has to be there."""


def act(every: Callable[[], Sequence[Act[Any]]]) -> Act[Nothing]:
    """The act that answers the document.

    :param every: all acts, this one with them.
    """

    @cache
    def made() -> Schema:
        return document(every())

    def run(_context: Context, _parameters: Nothing) -> Schema:
        return made()

    return Act(
        "api.document", "GET", "/openapi.json", Role.VIEWER, "The API as an OpenAPI 3.1 document.", run,
        dict[str, object], more="Whoever has a role may read it.",
    )  # fmt: skip


def document(acts: Sequence[Act[Any]]) -> Schema:
    """The document of some acts."""
    components: dict[str, Schema] = {}
    problem = schema.of(ProblemDocument, components)
    statuses = sorted({entry.status for entry in Problem} - {Problem.FORBIDDEN.status, Problem.WRONG_METHOD.status})
    paths: dict[str, Schema] = {}
    for one in acts:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "acme-iid admin API", "version": VERSION, "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_of_status(status): _refusal(status, problem) for status in statuses},
            "securitySchemes": {
                "clientCertificate": {
                    "type": "mutualTLS",
                    "description": "Over TLS, a certificate under [admin] client_ca. A unix socket needs none: the "
                    "kernel says who connects.",
                }
            },
        },
        "security": [{"clientCertificate": []}, {}],
    }


def _of_status(status: int) -> str:
    return f"Problem{status}"


def _refusal(status: int, body: Schema) -> Schema:
    said = [f"{problem.title} (`{problem.urn}`)" for problem in Problem if problem.status == status]
    answer: Schema = {"description": f"{'; '.join(said)}.", "content": {MEDIA_TYPE: {"schema": body}}}
    if status in (Problem.TOO_MANY.status, Problem.UNAVAILABLE.status):
        answer["headers"] = {
            "Retry-After": {"description": "Seconds until it may be asked again.", "schema": {"type": "integer"}}
        }
    return answer


def _operation(one: Act[Any], components: dict[str, Schema]) -> Schema:
    parameters = list(one.every_parameter())
    outside = [entry for entry in parameters if entry.name in one.in_path or not one.is_change]
    body = [entry for entry in parameters if entry not in outside]
    said = [one.more, _roles(one)]
    operation: Schema = {
        "operationId": one.name,
        "tags": [one.name.partition(".")[0]],
        "summary": one.summary,
        "description": " ".join(text for text in said if text),
        "x-role": one.role.word,
        "parameters": [_parameter(entry, one) for entry in outside],
        "responses": _responses(one, components),
    }
    if one.is_change:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": _body(body)}}}
    return operation


def _roles(one: Act[Any]) -> str:
    raised = [f"{role.word} with {name}" for name, role in one.raised.items()]
    return f"It takes the role {' and '.join([one.role.word, *raised])}."


def _parameter(entry: Parameter, one: Act[Any]) -> Schema:
    is_path = entry.name in one.in_path
    return {
        "name": entry.name,
        "in": "path" if is_path else "query",
        "required": entry.is_required,
        "description": entry.meaning,
        "schema": _schema(entry),
    }


def _body(entries: Sequence[Parameter]) -> Schema:
    properties = {entry.name: _schema(entry) | {"description": entry.meaning} for entry in entries}
    required = [entry.name for entry in entries if entry.is_required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(entry: Parameter) -> Schema:
    default = {} if entry.default is None else {"default": entry.default}
    return {**entry.kind.schema, **default}


def _responses(one: Act[Any], components: dict[str, Schema]) -> Schema:
    content = {"type": "string"} if one.answer is str else schema.of(one.answer, components)
    responses: Schema = {"200": {"description": "It is done." if one.is_change else "The answer.",
                                 "content": {one.media: {"schema": content}}}}  # fmt: skip
    if one.accepted is not None:
        going = schema.of(one.accepted, components)
        responses["202"] = {
            "description": "It goes on: the task says how far it is.",
            "content": {JSON: {"schema": going}},
        }
    refusals = [*_ALWAYS, *one.problems]
    if one.in_path or any(entry.name in _NAMED for entry in one.every_parameter()):
        refusals.append(Problem.NOT_FOUND)
    if one.is_change:
        refusals += [Problem.CONFLICT, Problem.TOO_LARGE, Problem.NOT_JSON]
    for status in sorted({problem.status for problem in refusals}):
        responses[str(status)] = {"$ref": f"#/components/responses/{_of_status(status)}"}
    responses["403"] = _forbidden(one)
    return responses


def _forbidden(one: Act[Any]) -> Schema:
    """The answer to somebody without the role, which the act names."""
    return {
        "description": f"{Problem.FORBIDDEN.title} (`{Problem.FORBIDDEN.urn}`). {_roles(one)}",
        "content": {MEDIA_TYPE: {"schema": {"$ref": schema.REFERENCE + ProblemDocument.__name__}}},
    }
