"""The OpenAPI document: complete, and what others rely on. That it is kept: `test_language.py`."""

import re
from copy import deepcopy
from typing import Any

import pytest
from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.problems import STATUS
from aftercommit.extensions.web.settings import WebSettings

from allocation.entrypoints.allocation import Allocation
from allocation.entrypoints.http.routes import FORM, public
from allocation.extension_list import EXTENSIONS
from tools.api_language import broken_in_api, own

Json = dict[str, Any]


@pytest.fixture(scope="module")
def operations() -> Json:
    """The operations of the document, by method and path."""
    document = web_application(Allocation(), WebSettings(), EXTENSIONS).openapi()
    assert document["openapi"].startswith("3.1.")
    paths = document["paths"]
    return {f"{method} {path}": of for path in paths for method, of in paths[path].items()}


def test_every_answer_is_documented(operations: Json) -> None:
    """Developers of a client find everything in one place."""
    for name, operation in operations.items():
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


def test_every_status_of_an_error_is_documented(operations: Json) -> None:
    """One that is not would surprise a client."""
    documented = {status for each in operations.values() for status in each["responses"]}

    assert set(map(str, STATUS.values())) <= documented


def test_a_key_is_documented_alike_wherever_one_is_taken(operations: Json) -> None:
    """With the characters that it may have: another one is refused."""
    parameters = [each for operation in operations.values() for each in operation["parameters"]]
    keys = [each for each in parameters if each["name"] == "Idempotency-Key"]

    assert keys == [keys[0]] * len(keys)
    assert "pattern" in keys[0]["schema"]


@pytest.fixture(scope="module")
def document() -> Json:
    """The document of the application itself."""
    return own()


def users_changed(change: str, document: Json) -> Json:
    """Return the document after one change that would break a client."""
    new = deepcopy(document)
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
        case "type":
            schemas["Registration"]["properties"]["name"]["type"] = "integer"
        case "required":
            schemas["Registration"]["required"] += ["user_id"]
    return new


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("operation", "POST /users is gone"),
        ("answer", "POST /users does not answer 201 any more"),
        ("parameter", "GET /users does not take the parameter query email any more"),
        ("requires", "GET /users requires the parameter email now"),
        ("property", "UserResponse has another shape"),
        ("type", "Registration has another shape"),
        ("required", "Registration requires other properties"),
    ],
)
def test_a_change_that_would_break_a_client_is_named(
    change: str, sentence: str, document: Json
) -> None:
    """In one sentence, before it is written into the golden file."""
    [found] = broken_in_api(document, users_changed(change, document))

    assert found.startswith(sentence)


def test_an_addition_breaks_nobody(document: Json) -> None:
    """An operation, an answer's property, a parameter that may be left out."""
    old = users_changed("operation", document)
    del old["components"]["schemas"]["UserResponse"]["properties"]["name"]
    old["components"]["schemas"]["UserResponse"]["required"].remove("name")

    assert list(broken_in_api(old, document)) == []


MARKUP = r"(inner|outer|insertAdjacent)HTML|document\.write|\beval\b|Function\(|srcdoc|DOMParser"


def test_the_form_turns_no_text_into_markup_and_asks_nobody_else() -> None:
    """It keeps the rules of the page into which it is put, and is where the page looks for it."""
    assert not re.search(MARKUP, FORM)
    assert re.findall(r"\w+://", FORM) == []
    assert {*Allocation.page_scripts} <= {getattr(route, "path", None) for route in public.routes}


def test_the_form_has_all_words_in_each_language_of_the_page() -> None:
    """A missing word would be an error in the middle of the page."""
    english, russian = (
        {*re.findall(r"(\w+): \"", found)} for found in re.findall(r"  (?:en|ru): \{(.*)\}", FORM)
    )

    used = {*re.findall(r"words\.(?!js)(\w+)", FORM), *re.findall(r'field\("(\w+)"', FORM)}
    assert english == russian == used
