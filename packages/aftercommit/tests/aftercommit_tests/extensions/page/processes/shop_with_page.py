"""An application of FastAPI as others have it: with a login, an outbox, its page and its metrics.

Run it with uvicorn. `SHOP_ENGINE` is the URL of its engine, on SQLite; `SCRAPER_TOKEN` is for
Prometheus.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hmac import compare_digest

from aftercommit import Outbox, on
from aftercommit.sqlite import prepare
from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.routing import Route

engine = create_async_engine(os.environ["SHOP_ENGINE"])
prepare(engine)
TOKEN = os.environ["SCRAPER_TOKEN"]


@dataclass(frozen=True)
class OrderPlaced:
    """There is a new order."""

    order_id: int


async def reserve(event: OrderPlaced, session: AsyncSession) -> None:
    """Take what was ordered from stock."""


async def print_label(event: OrderPlaced) -> None:
    """Print a label for the parcel."""
    raise OSError("the printer is out of paper")


outbox = Outbox("shop", engine, [on(OrderPlaced, reserve, print_label)], max_attempts=1)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with outbox.running():
        yield
    await engine.dispose()


async def signed_in(request: Request) -> str:
    """Return who has signed in to the shop."""
    if name := request.cookies.get("user"):
        return name
    raise HTTPException(401, "sign in first")


app = FastAPI(lifespan=lifespan)
app.include_router(outbox.page_router(signed_in), prefix="/admin/outbox")


async def scraper(request: Request) -> str:
    """Return who reads the metrics: Prometheus, which sends a token."""
    sent, expected = request.headers.get("authorization", ""), f"Bearer {TOKEN}"
    if compare_digest(sent.encode(), expected.encode()):
        return "prometheus"
    raise HTTPException(401, "metrics need a token")


app.routes.append(Route("/metrics", outbox.metrics(scraper)))


@app.get("/process")
async def process() -> int:
    """Return which of several processes answers."""
    return os.getpid()


@app.post("/login/{name}")
async def login(name: str, response: Response) -> None:
    response.set_cookie("user", name)


@app.post("/logout")
async def logout(response: Response) -> None:
    response.delete_cookie("user")


@app.post("/orders/{number}")
async def place_order(number: int) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await outbox.record(session, OrderPlaced(number), about=number)
