"""The tasks: `taskiq worker tasks:broker`."""

from typing import Annotated

from database import Invoice, engine
from events import broker, outbox
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import Context, TaskiqDepends


@broker.task(task_name="create_invoice")
async def create_invoice(order_id: int, context: Annotated[Context, TaskiqDepends()]) -> None:
    async with AsyncSession(engine) as session, session.begin():
        if await outbox.once(session, "taskiq", context.message.task_id):  # it may come twice
            session.add(Invoice(order_id=order_id))
