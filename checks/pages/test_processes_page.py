"""What processes.md tells its readers to write works as it stands."""

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncSession

from tools.repository import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio"), pytest.mark.check]

PAGE = (ROOT / "packages/aftercommit/docs/processes.md").read_text()
LIMIT_SECONDS = 120
CUSTOMERS, CHUNK = 230, 2  # more rounds than a chain of events may have that is a mistake


async def test_work_in_chunks_goes_on_to_its_end(tmp_path: Path) -> None:
    """Each customer gets the bonus once."""
    [code] = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "Outbox(" in each]
    names: dict[str, Any] = {}
    exec(code.replace("///shop.db", f"///{tmp_path}/shop.db"), names)
    names["CHUNK"] = CHUNK
    prepare(engine := names["engine"])
    async with engine.begin() as connection:
        await connection.run_sync(names["Base"].metadata.create_all)
        rows = [{"id": number, "points": 0} for number in range(1, CUSTOMERS + 1)]
        await connection.execute(sa.insert(names["Customer"]), rows)
    left = "SELECT count(*) FROM aftercommit_deliveries"
    left += " WHERE completed_at IS NULL AND parked_at IS NULL"

    async with names["outbox"].running():
        async with AsyncSession(engine) as session, session.begin():
            await names["outbox"].record(session, names["BonusDue"](0), about="bonus")
        with anyio.fail_after(LIMIT_SECONDS):
            async with AsyncSession(engine) as session:
                while await session.scalar(sa.text(left)):
                    await session.rollback()
                    await anyio.sleep(0.05)

    async with AsyncSession(engine) as session:
        assert {*await session.scalars(sa.select(names["Customer"].points))} == {100}
    await engine.dispose()
