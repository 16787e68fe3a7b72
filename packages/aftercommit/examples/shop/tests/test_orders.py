"""What the application does, and what follows from it."""

from pathlib import Path

import main
import pytest
from httpx import AsyncClient
from models import Article
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

LAMP = {"article": "lamp", "email": "ivan@example.com"}


@pytest.mark.anyio
@pytest.mark.parametrize("again", [1, 2])
async def test_an_order_is_stored_and_followed(
    client: AsyncClient, session: AsyncSession, tmp_path: Path, monkeypatch, again: int
) -> None:
    monkeypatch.chdir(tmp_path)

    answer = await client.post("/orders", json=LAMP)

    assert answer.status_code == 201
    assert (await session.get_one(Article, "lamp")).in_stock == 9  # not 8 the second time
    assert "ivan@example.com" in (tmp_path / "confirmations.txt").read_text()


@pytest.mark.anyio
@pytest.mark.usefixtures("outbox_without_worker")
async def test_a_lifespan_starts_no_worker(outbox_engine: AsyncEngine) -> None:
    async with main.app.router.lifespan_context(main.app), outbox_engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())

    assert sorted(tables) == ["articles", "orders"]  # a worker would have made its own
