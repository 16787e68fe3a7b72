"""What the application needs before it starts."""

from dataclasses import replace

import pytest
from aftercommit import InvalidValue

from allocation.bootstrap import bootstrap
from allocation.config import Settings

pytestmark = pytest.mark.anyio


async def test_a_process_that_delivers_needs_a_place_for_its_emails(app_settings: Settings) -> None:
    """Only a SQLite file has a folder beside it: elsewhere, e-mails would go nowhere."""
    elsewhere = replace(app_settings, database_url="postgresql://nobody@127.0.0.1:1/nothing")

    with pytest.raises(InvalidValue, match="ALLOCATION_MAIL_URL"):
        async with bootstrap(elsewhere):
            pass


async def test_a_worker_has_a_slot_for_each_of_its_deliveries(app_settings: Settings) -> None:
    """Otherwise it would hold leases of deliveries that cannot begin."""
    async with bootstrap(replace(app_settings, worker_concurrency=70)) as app:
        assert app.bus.slots.value == 70
