"""A synchronous application whose engine is there in its context only, as that of Flask-SQLAlchemy.

python -m aftercommit_tests.outbox.processes.in_a_context NUMBER   # place an order
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from aftercommit import IdempotencyKey, Outbox, on
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

_engine: ContextVar[sa.Engine] = ContextVar("engine")


class Base(DeclarativeBase):
    """Base of all models."""


class Order(Base):
    """An order, and what has followed from it."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reserved: Mapped[int] = mapped_column(default=0)
    notes: Mapped[list[object]] = mapped_column(sa.JSON, default=list)


@dataclass(frozen=True)
class OrderPlaced:
    """There is a new order."""

    order_id: int


@contextmanager
def app_context() -> Iterator[None]:
    """Make the engine, as an application that is made by a factory."""
    engine = sa.create_engine(os.environ["DATABASE"], json_serializer=_dumps, pool_size=3)
    prepare(engine)
    token = _engine.set(engine)
    try:
        yield
    finally:
        _engine.reset(token)


def _dumps(value: object) -> str:
    return json.dumps(value, default=str)


def current_engine() -> sa.Engine:
    """Return the engine, in the context of the application."""
    return _engine.get()


async def reserve(event: OrderPlaced, session: AsyncSession) -> None:
    """Have an effect in the database, and die in it, if a file says so."""
    order = await session.get_one(Order, event.order_id)
    order.reserved += 1
    order.notes = [UUID(int=event.order_id)]  # which the serializer of the application knows
    await session.flush()
    die_if_asked()


async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
    """Have an effect outside, in the context of the application."""
    confirmed(f"{event.order_id} {idempotency_key} {current_engine().dialect.name}\n")


def die_if_asked() -> None:
    """Kill this process, once."""
    if (file := Path("die")).exists():
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def confirmed(line: str) -> None:
    """Write to the file that stands for a mail server."""
    with Path("confirmed.txt").open("a") as file:
        file.write(line)


ENTRIES = [on(OrderPlaced, reserve, confirm)]
SHORT: dict[str, Any] = {"lease_seconds": 3.0, "handler_timeout_seconds": 2.0}
outbox = Outbox("shop", current_engine, ENTRIES, context=app_context, **SHORT)
outside = Outbox("shop", current_engine, ENTRIES)


def place(number: int) -> None:
    """Place an order, in a session as Flask-SQLAlchemy's."""
    with app_context(), Session(current_engine()) as session, session.begin():
        Base.metadata.create_all(session.connection())
        session.add(Order(id=number))
        outbox.record_sync(session, OrderPlaced(number), about=number)


if __name__ == "__main__":
    place(int(sys.argv[1]))
