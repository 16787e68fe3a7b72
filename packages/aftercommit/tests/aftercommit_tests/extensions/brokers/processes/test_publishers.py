"""A worker that publishes to a real broker, which is cut off in the middle."""

import json

import anyio
import pytest
from aftercommit.extensions.brokers.settings import BrokerSettings

from aftercommit_tests.builders import a_command
from aftercommit_tests.extensions.brokers.outside import Outside
from aftercommit_tests.processes import Installation, owed, wait_until
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import Settings, bootstrap

THINGS = 300
FAILED_TO_PUBLISH = (
    "SELECT * FROM aftercommit_deliveries WHERE last_error LIKE 'BrokerUnavailable%'"
)


async def make_things(settings: Settings) -> set[str]:
    """Make things whose events are to be published; return the ids of these events."""
    async with bootstrap(settings) as application:
        reports = [await application.bus.handle(a_command()) for _ in range(THINGS)]
    return {str(event.id) for report in reports for event in report.events}


@pytest.mark.parametrize("proxied", ["rabbitmq", "kafka"], indirect=True)
def test_all_events_are_published_though_the_broker_goes_away(
    installation: Installation, proxied: tuple[str, Proxy, Outside]
) -> None:
    """At least once each, with ids by which the doubles can be dropped."""
    url, proxy, outside = proxied
    settings = Settings(
        database_url=f"sqlite:///{installation.database}",
        dispatch="worker",
        of_extensions=(BrokerSettings(broker_urls=url),),
    )
    committed = anyio.run(make_things, settings)
    installation.settings = {
        "broker_urls": url,
        "retry_initial_seconds": "0.5",
        "retry_factor": "1",
        "max_attempts": "1000",
    }

    with installation.running("worker"):
        outside.events(lambda seen: len(seen) >= THINGS // 4)
        proxy.cut()
        wait_until(lambda: installation.rows(FAILED_TO_PUBLISH))
        proxy.open()
        wait_until(lambda: not owed(installation))

    seen = outside.events(lambda seen: len({message.body for message in seen}) >= THINGS)
    assert {json.loads(message.body)["id"] for message in seen} == committed
