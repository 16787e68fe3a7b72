"""What outbox.md tells its readers to write is what an outbox takes."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import make_dataclass
from datetime import timedelta
from typing import Any

import pydantic
import pydantic.dataclasses
import pytest
from aftercommit import Later, Limited, Ordered, Outbox, on
from aftercommit.alembic import upgrade_tables
from aftercommit.errors import WiringError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

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


class Customer(pydantic.BaseModel):
    """As an application has it at its edge."""

    id: int
    name: str


@pytest.mark.anyio
@pytest.mark.on("asyncio")
async def test_what_a_class_of_pydantic_dumps_is_read_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Such a class is refused as an event; a dataclass of pydantic is not."""
    [shown] = re.findall(
        r"^```python\n(@dataclass\(frozen=True\)\nclass Cus.*?)```", PAGE, re.M | re.S
    )
    given: dict[str, Any] = {"Customer": Customer, "AsyncSession": AsyncSession}
    exec("from dataclasses import dataclass\n" + shown, given)
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    rows = [on(given["CustomerSignedUp"], given["welcome"])]
    given["outbox"] = outbox = Outbox("shop", engine, rows)
    async with engine.begin() as connection:
        await connection.run_sync(upgrade_tables)

    async with AsyncSession(engine) as session:
        await given["sign_up"](Customer(id=7, name="Maria"), session)
        assert await outbox.deliver(session) == 1
    await engine.dispose()

    assert capsys.readouterr().out == "welcome, Maria\n"
    with pytest.raises(WiringError, match="has to be a dataclass"):
        Outbox("shop", engine, [on(Customer, a_handler("welcome"))])
    fields = pydantic.dataclasses.dataclass(frozen=True)(
        type("Signed", (), {"__annotations__": {"id": int}})
    )
    Outbox("shop", engine, [on(fields, a_handler("welcome"))])
