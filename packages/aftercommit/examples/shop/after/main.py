"""The web application: orders are placed, and followed by stock and confirmation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from database import engine, new_session
from events import OrderPlaced, outbox
from fastapi import Depends, FastAPI
from models import Order
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with outbox.running():
        yield
    await engine.dispose()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


app = FastAPI(lifespan=lifespan)
Session = Annotated[AsyncSession, Depends(get_session)]


class NewOrder(BaseModel):
    article: str
    email: str


@app.post("/orders", status_code=201)
async def place_order(new: NewOrder, session: Session) -> UUID:
    order = Order(id=uuid4(), article=new.article, email=new.email)
    session.add(order)
    placed = OrderPlaced(order.id, order.article, order.email)
    await outbox.record(session, placed, about=order.id)
    await session.commit()
    return order.id
