"""The OpenAPI document: it is complete, and what others rely on is kept."""

from copy import deepcopy
from typing import Any

import pytest

from tools.openapi_compatibility import broken_in_api, described

Json = dict[str, Any]


def operations() -> Json:
    paths = described()["paths"]
    return {f"{method} {path}": of for path in paths for method, of in paths[path].items()}


def test_every_answer_is_documented() -> None:
    """Anyone who writes a client finds everything in one place."""
    for name, operation in operations().items():
        documented = operation["responses"]
        for status, answer in documented.items():
            is_problem = "application/problem+json" in answer.get("content", ())
            assert status < "4" or is_problem, name
        assert {"400", "422", "500", "503"} <= documented.keys(), name
        assert ("401" in documented) == ("security" in operation), name
        names = {parameter["name"] for parameter in operation["parameters"]}
        assert {"traceparent", "X-Request-ID"} <= names, name
        if "requestBody" in operation:
            assert {"413", "415"} <= documented.keys(), name
            assert "Idempotency-Key" in names, name


def users_changed(change: str) -> Json:
    """Return the document after one change that somebody could not live with."""
    new = deepcopy(described())
    users, schemas = new["paths"]["/users"], new["components"]["schemas"]
    match change:
        case "operation":
            del users["post"]
        case "answer":
            users["post"]["responses"]["202"] = users["post"]["responses"].pop("201")
        case "parameter":
            users["get"]["parameters"] = users["get"]["parameters"][1:]
        case "requires":
            users["get"]["parameters"][0]["required"] = True
        case "property":
            del schemas["UserResponse"]["properties"]["name"]
        case "required":
            schemas["Registration"]["required"] += ["user_id"]
    return new


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("operation", "POST /users is gone"),
        ("answer", "POST /users no longer responds with 201"),
        ("parameter", "GET /users no longer takes the parameter query email"),
        ("requires", "GET /users now requires the parameter email"),
        ("property", "UserResponse has another shape"),
        ("required", "Registration requires other properties"),
    ],
)
def test_what_would_break_a_client_is_said(change: str, sentence: str) -> None:
    """In one sentence, before it is written."""
    [found] = broken_in_api(described(), users_changed(change))

    assert found.startswith(sentence)


def test_what_is_new_breaks_nobody() -> None:
    """An operation, an answer's property, a parameter that may be left out."""
    old = users_changed("operation")
    del old["components"]["schemas"]["UserResponse"]["properties"]["name"]
    old["components"]["schemas"]["UserResponse"]["required"].remove("name")

    assert list(broken_in_api(old, described())) == []
