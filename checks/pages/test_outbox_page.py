"""What outbox.md tells its readers to write is what an outbox takes."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import make_dataclass
from datetime import timedelta
from typing import Any

import pytest
from aftercommit import Later, Limited, Ordered, Outbox, on

from tools.repository import ROOT

pytestmark = pytest.mark.check

PAGE = (ROOT / "packages/aftercommit/docs/outbox.md").read_text()


def a_handler(name: str) -> Callable[[object], Awaitable[None]]:
    async def handler(event: object) -> None:
        """A name is all that the table needs of it."""

    handler.__name__ = name
    return handler


def test_the_table_of_handlers_is_accepted() -> None:
    """Readers begin with it, and put in their own."""
    [table] = re.findall(r"^```python\n(\[\n.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    given: dict[str, Any] = {
        each.__name__: each for each in (Later, Limited, Ordered, on, timedelta)
    }
    events = {*re.findall(r"on\((\w+)", table)}
    handlers = {*re.findall(r"\b[a-z_]+\b", table)} - given.keys()

    shown = {name: make_dataclass(name, [("article", str)], frozen=True) for name in events}
    outbox = Outbox(
        "shop",
        "sqlite:///shop.db",
        eval(table, given | shown | {name: a_handler(name) for name in handlers}),
    )

    assert outbox.app.bound.events.keys() == {
        "reserve",
        "confirm",
        "ask_for_feedback",
        "tell_warehouse",
        "book_parcel",
    }
