"""Tells what a document in OpenAPI or AsyncAPI describes, as tables for the site."""

import json
from collections.abc import Iterator
from typing import Any


def described(text: str) -> Iterator[str]:
    """Yield lines about a JSON document; none if it is not one of these."""
    document = json.loads(text)
    if table := next((TABLES[kind] for kind in TABLES if kind in document), None):
        yield document["info"]["description"]
        yield ""
        yield from table(document)
        yield "\n## The document\n"


def _requests(document: dict[str, Any]) -> Iterator[str]:
    yield "| request | what it does | answers |"
    yield "|---|---|---|"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            what = operation["description"].partition("\n\n")[0].replace("\n", " ")
            yield f"| `{method.upper()} {path}` | {what} | {', '.join(operation['responses'])} |"


def _messages(document: dict[str, Any]) -> Iterator[str]:
    yield "| channel | message | what it says | `data` |"
    yield "|---|---|---|---|"
    for channel in document["channels"].values():
        for name in channel["messages"]:
            message = document["components"]["messages"][name]
            fields = message["payload"]["properties"]["data"]["properties"]
            data = ", ".join(f"`{field}`" for field in fields)
            yield f"| `{channel['address']}` | `{name}` | {message['summary']} | {data} |"


TABLES = {"openapi": _requests, "asyncapi": _messages}
