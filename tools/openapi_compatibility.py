"""The HTTP API on which others rely: its OpenAPI document, in a golden file."""

from collections.abc import Iterator, Mapping
from typing import Any

from aftercommit.extensions.web.application import web_application
from aftercommit.extensions.web.settings import WebSettings

from allocation.entrypoints.app import APP

Json = dict[str, Any]


def described() -> Json:
    """Return the document of the application's API, including that of its extensions."""
    return web_application(APP, WebSettings()).openapi()


def broken_in_api(old: Json, new: Json) -> Iterator[str]:
    """Yield a sentence for each thing that others call, send or read, and would no longer find.

    New fields of requests have to be optional; responses may have new fields.
    """
    sent = str(
        [[each.get("requestBody") for each in path.values()] for path in new["paths"].values()]
    )
    for path, operations in old["paths"].items():
        for method, operation in operations.items():
            now = new["paths"].get(path, {}).get(method)
            yield from _broken_operation(f"{method.upper()} {path}", operation, now)
    for name, schema in old["components"]["schemas"].items():
        now = new["components"]["schemas"].get(name)
        if now is None or _properties(schema).items() - _properties(now).items():
            yield f"{name} has another shape, and others rely on it: bring back what it had"
        elif _differs(schema, now, is_sent=f"/{name}'" in sent):
            yield f"{name} requires other properties than before: others send and read the old ones"


def _broken_operation(name: str, old: Json, new: Json | None) -> Iterator[str]:
    if new is None:
        yield f"{name} is gone, and others call it: bring it back"
        return
    for answer in sorted(_answers(old) - _answers(new)):
        yield f"{name} no longer responds with {answer}, and others rely on it"
    for parameter in sorted(_parameters(old) - _parameters(new)):
        yield f"{name} no longer takes the parameter {parameter}, which others send"
    for parameter in sorted(_required(new) - _required(old)):
        yield f"{name} now requires the parameter {parameter}, which others do not send"


def _answers(operation: Json) -> set[str]:
    return {status for status in operation["responses"] if status < "4"}


def _parameters(operation: Json) -> set[str]:
    return {f"{each['in']} {each['name']}" for each in operation["parameters"]}


def _required(operation: Json) -> set[str]:
    required = {each["name"] for each in operation["parameters"] if each["required"]}
    return required | ({"body"} if operation.get("requestBody", {}).get("required") else set())


def _differs(old: Json, new: Json, *, is_sent: bool) -> bool:
    """Tell whether a schema requires something else than before or, in a response, has less."""
    before, now = ({*schema.get("required", [])} for schema in (old, new))
    return before != now if is_sent else not before <= now


def _properties(schema: Json) -> Mapping[str, str]:
    """Return what determines the type of each property."""
    return {name: str(shape(form)) for name, form in schema.get("properties", {}).items()}


def shape(json_: Any) -> Any:
    """Return a document without texts for readers: descriptions, titles, examples."""
    if isinstance(json_, list):
        return [shape(each) for each in json_]
    if not isinstance(json_, dict):
        return json_
    return {key: shape(value) for key, value in json_.items() if not _for_people(key, value)}


def _for_people(key: str, value: Any) -> bool:
    """Tell a description from a field named description."""
    return (key in {"description", "summary", "title"} and isinstance(value, str)) or (
        key == "examples" and isinstance(value, list)
    )
