"""What schedules.md tells its readers to write works as it stands."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tools.repository import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio"), pytest.mark.check]

PAGE = (ROOT / "packages/aftercommit/docs/schedules.md").read_text()
LIMIT_SECONDS = 120


@pytest.fixture
def names(tmp_path: Path) -> dict[str, Any]:
    """What the blocks of code define that stand for themselves, one after the other."""
    blocks = [dedent(each) for each in re.findall(r"^ *```python\n(.*?)```", PAGE, re.M | re.S)]
    names: dict[str, Any] = {}
    for block in (each for each in blocks if "outbox = Outbox(" in each or "Reminder" in each):
        exec(block.replace("///shop.db", f"///{tmp_path}/shop.db"), names)
    prepare(names["engine"])
    return names


async def passes(names: dict[str, Any], outbox: str, *, seconds: float, until: str) -> int:
    """Let time pass for the schedules, and return what a query says when it is not 0."""
    url = names["engine"].url.render_as_string()
    engine = create_async_engine(url)
    prepare(engine)

    async def number(query: str) -> int:
        async with AsyncSession(engine) as session:
            return int((await session.execute(sa.text(query))).scalar_one())

    async def wait(query: str) -> None:
        with anyio.fail_after(LIMIT_SECONDS):
            while not await number(query):  # noqa: ASYNC110 - the worker tells nobody
                await anyio.sleep(0.05)

    try:
        async with names[outbox].running():
            await wait("SELECT count(*) FROM aftercommit_schedules")
        async with AsyncSession(engine) as session, session.begin():
            older = f"UPDATE aftercommit_schedules SET last_at = last_at - {seconds}"
            await session.execute(sa.text(older))
        async with names[outbox].running():
            await wait(until)
        return await number(until)
    finally:
        await engine.dispose()
        await names["engine"].dispose()


DONE = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NOT NULL AND handler = "


async def test_the_summary_comes_once_after_two_days(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the night that was missed, there is no summary."""
    count = await passes(names, "outbox", seconds=2 * 86400, until=f"{DONE} 'store_summary'")

    assert count == 1
    assert capsys.readouterr().out.count("the summary of 20") == 1


async def test_reminders_of_users_come_from_their_table(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each that is due once, however long nobody was up; and then it has its next time."""
    async with names["engine"].begin() as connection:
        await connection.run_sync(names["Base"].metadata.create_all)
        rows = [
            {"id": 1, "seconds": 3600, "next_at": 1e9},
            {"id": 2, "seconds": 60, "next_at": 9e9},
        ]
        await connection.execute(sa.insert(names["Reminder"]), rows)

    await passes(names, "reminders", seconds=3600, until=f"{DONE} 'remind'")

    assert capsys.readouterr().out == "reminder 1\n"
