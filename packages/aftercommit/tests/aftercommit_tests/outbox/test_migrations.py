"""The migrations of somebody else, beside our tables."""

from functools import partial

import pytest
import sqlalchemy as sa
from aftercommit.alembic import not_ours, upgrade_tables
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from anyio import to_thread

from aftercommit_tests.outbox.orders import Base, OrderPlaced, open_shop, until


def differences(url: str, **options: object) -> list[str]:
    """Return what `alembic revision --autogenerate` would do to the database."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = compare_metadata(
            MigrationContext.configure(connection, opts=options), Base.metadata
        )
    engine.dispose()
    return sorted(f"{change[0]} {change[1].name}" for change in found if "table" in change[0])


@pytest.mark.anyio
async def test_the_tables_come_in_a_migration_and_are_left_alone_later(
    tmp_path: object, anyio_backend: str
) -> None:
    """Autogenerate would drop what the models do not name."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, anyio_backend) as shop:
        async with shop.engine.begin() as connection:
            await connection.run_sync(upgrade_tables)
        async with shop.outbox.running():
            await shop.order(1)
            await until(shop.reserved)
            assert shop.outbox.app.handlers().events.keys() >= {OrderPlaced}

    without = await to_thread.run_sync(differences, url)
    assert "remove_table aftercommit_deliveries" in without
    assert await to_thread.run_sync(partial(differences, url, include_name=not_ours)) == []
