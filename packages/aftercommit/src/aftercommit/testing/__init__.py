"""The test kit for applications: databases in milliseconds, passing time, and checks.

Only `MemoryStore` replaces something: with it, a unit test calls a handler, within `no_io`. In all
other tests, the bus, the unit of work and the database are the real ones. A SQLite file is a copy
of one that was migrated once in the process, so a test gets its own in 10 ms.
`aftercommit.testing.fixtures` contains such databases as fixtures.

    @pytest.fixture
    async def application(tmp_path):
        url = testing.sqlite_url(APP, tmp_path)
        async with APP.open(APP.load({"database_url": url})) as application:
            yield application

    async def test_a_reminder(application):
        await application.bus.handle(RegisterUser(...))
        await testing.let_time_pass(application, days=25)
        report = await testing.deliver_due(application)
        assert report.failures == []
"""

from aftercommit.testing.databases import migrate as migrate
from aftercommit.testing.databases import postgresql_server as postgresql_server
from aftercommit.testing.databases import postgresql_url as postgresql_url
from aftercommit.testing.databases import sqlite_url as sqlite_url
from aftercommit.testing.delayed_handlers import check_delayed as check_delayed
from aftercommit.testing.golden_lists import check_handler_names as check_handler_names
from aftercommit.testing.golden_lists import check_public_routes as check_public_routes
from aftercommit.testing.golden_lists import check_settings as check_settings
from aftercommit.testing.inbound_messages import check_contract as check_contract
from aftercommit.testing.inbound_messages import inbound as inbound
from aftercommit.testing.killing import kill_when_it_waits as kill_when_it_waits
from aftercommit.testing.memory_aggregates import MemoryStore as MemoryStore
from aftercommit.testing.no_io import no_io as no_io
from aftercommit.testing.omissions import omissions as omissions
from aftercommit.testing.running import deliver_due as deliver_due
from aftercommit.testing.running import give_up as give_up
from aftercommit.testing.running import let_time_pass as let_time_pass
from aftercommit.testing.running import replay as replay
from aftercommit.testing.running import time_comes as time_comes
from aftercommit.testing.running import unit_of_work as unit_of_work
from aftercommit.testing.stored_events import check_stored_events as check_stored_events
