"""The events of the shop, what handles them, and the outbox that stores and delivers them."""

from dataclasses import dataclass
from uuid import UUID

from aftercommit import IdempotencyKey, Outbox, on
from database import engine, new_session
from effects import send_confirmation, take_from_stock
from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True)
class OrderPlaced:
    order_id: UUID
    article: str
    email: str


async def keep_article(event: OrderPlaced, session: AsyncSession) -> None:
    await take_from_stock(session, event.article)  # takes effect exactly once


async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
    await send_confirmation(event.order_id, event.email, idempotency_key)  # at least once


outbox = Outbox("shop", engine, [on(OrderPlaced, keep_article, confirm)], session=new_session)
