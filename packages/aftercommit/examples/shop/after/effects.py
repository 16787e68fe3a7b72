"""What follows from an order."""

from uuid import UUID

import anyio
from models import Article
from sqlalchemy.ext.asyncio import AsyncSession


async def take_from_stock(session: AsyncSession, name: str) -> None:
    article = await session.get_one(Article, name, with_for_update=True)
    article.in_stock -= 1


async def send_confirmation(order_id: UUID, email: str, key: str) -> None:
    async with await anyio.open_file("confirmations.txt", "a") as file:  # for a mail server
        await file.write(f"{order_id} {email} {key}\n")
