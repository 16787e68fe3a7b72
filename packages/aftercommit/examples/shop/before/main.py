"""The web application: orders are placed, and followed by stock and confirmation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

from database import engine, new_session
from effects import send_confirmation, take_from_stock
from fastapi import BackgroundTasks, Depends, FastAPI
from models import Order
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
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
async def place_order(new: NewOrder, session: Session, tasks: BackgroundTasks) -> UUID:
    order = Order(id=uuid4(), article=new.article, email=new.email)
    session.add(order)
    await session.commit()
    tasks.add_task(follow_up, order)
    return order.id


async def follow_up(order: Order) -> None:
    async with new_session() as session, session.begin():
        await take_from_stock(session, order.article)
    await send_confirmation(order.id, order.email)
