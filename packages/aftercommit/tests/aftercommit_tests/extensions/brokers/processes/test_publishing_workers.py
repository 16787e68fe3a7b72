"""Workers that publish many events at once, as real processes: what is in flight when it breaks."""

import json
import signal
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from uuid import UUID

import pytest
from aftercommit import testing

from aftercommit_tests.extensions.brokers.outside import Outside
from aftercommit_tests.processes import LIMIT_SECONDS, PATIENCE, Installation, stop, wait_until
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import APP

pytestmark = [pytest.mark.parametrize("proxied", ["rabbitmq"], indirect=True), pytest.mark.check]

THINGS = 60
PUBLISHING = "aftercommit_deliveries WHERE handler = 'publish_event_to_rabbitmq'"
LEFT = f"{PUBLISHING} AND completed_at IS NULL"
RETRY = (
    "UPDATE aftercommit_deliveries SET available_at = 0"
    " WHERE completed_at IS NULL AND owner IS NULL"
)


@pytest.fixture
def installation(tmp_path: Path, backend: str, proxied: tuple[str, Proxy, Outside]) -> Installation:
    """The application, with many events that a worker publishes, all of them at once.

    Their handlers have much more time than the broker gets for a confirm.
    """
    testing.sqlite_url(APP, tmp_path, "things.db")
    slots = {"broker_urls": proxied[0], "dispatch": "worker", "worker_concurrency": "500"}
    settings = {**PATIENCE, "shutdown_grace_seconds": "10", **slots}
    installation = Installation(tmp_path, backend=backend, settings=settings)
    installation.succeed("make-things", str(THINGS))
    return installation


@pytest.fixture
def in_the_middle(installation: Installation) -> str:
    """The id of an event that others are published before, and others after."""
    [(event_id,)] = installation.rows(
        f"SELECT event_id FROM {PUBLISHING} ORDER BY available_at LIMIT 1 OFFSET {THINGS // 2}"
    )
    return str(UUID(event_id))


def test_what_is_in_flight_when_the_connection_breaks_is_published_again(
    installation: Installation, proxied: tuple[str, Proxy, Outside], in_the_middle: str
) -> None:
    """No event is lost, and only those come twice whose confirms the worker has not heard."""
    _, proxy, outside = proxied
    proxy.cuts_after = in_the_middle.encode()
    with installation.running("worker") as worker:
        wait_until(lambda: has_failed_for_all(installation))
        confirmed = confirmed_by(installation)
        proxy.cuts_after = None
        proxy.open()
        wait_until(lambda: has_published_all(installation))
        assert stop(worker) == 0

    ensure_all_are_published(outside, confirmed)


def test_what_is_in_flight_when_the_worker_is_killed_is_published_again(
    installation: Installation, proxied: tuple[str, Proxy, Outside], in_the_middle: str
) -> None:
    """By the next worker, as soon as the leases are over."""
    _, proxy, outside = proxied
    proxy.freezes_at = in_the_middle.encode()
    with installation.running("worker") as worker:
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)
        worker.send_signal(signal.SIGKILL)
        worker.wait(LIMIT_SECONDS)
    confirmed = confirmed_by(installation)
    proxy.freezes_at = None
    proxy.open()
    installation.end_leases()

    with installation.running("worker") as worker:
        wait_until(lambda: has_published_all(installation))
        assert stop(worker) == 0

    ensure_all_are_published(outside, confirmed)


def test_events_that_a_blocked_broker_does_not_read_are_given_up_in_seconds(
    installation: Installation, proxied: tuple[str, Proxy, Outside], in_the_middle: str
) -> None:
    """RabbitMQ stops reading when it is short of memory; handlers do not wait for its end."""
    _, proxy, outside = proxied
    proxy.freezes_at = in_the_middle.encode()
    with installation.running("worker") as worker:
        assert proxy.asked_in_vain.wait(LIMIT_SECONDS)
        wait_until(lambda: has_failed_for_all(installation))
        confirmed = confirmed_by(installation)
        proxy.freezes_at = None
        proxy.open()
        wait_until(lambda: has_published_all(installation))
        assert stop(worker) == 0

    ensure_all_are_published(outside, confirmed)


def ensure_all_are_published(outside: Outside, confirmed: Collection[str]) -> None:
    """Check that no event is missing, and that what was confirmed at first came once."""
    times = times_published(outside)
    assert len(times) == THINGS
    assert {times[event_id] for event_id in confirmed} <= {1}


def has_failed_for_all(installation: Installation) -> bool:
    """Tell whether all events that are left have failed to be published, and some are left."""
    left, failed = installation.count(LEFT), installation.count(f"{LEFT} AND last_error <> ''")
    return left == failed > 0


def has_published_all(installation: Installation) -> bool:
    """Tell whether no event is left; what has failed is due again, whenever it is asked."""
    installation.change(RETRY)
    return not installation.count(LEFT)


def confirmed_by(installation: Installation) -> set[str]:
    """Return the ids of the events whose confirms a worker has heard and stored, at first.

    An attempt that was interrupted may have published its event before.
    """
    at_first = f"{PUBLISHING} AND completed_at IS NOT NULL AND attempts = 1"
    rows = installation.rows(f"SELECT event_id FROM {at_first}")
    return {str(UUID(event_id)) for (event_id,) in rows}


def times_published(outside: Outside) -> Counter[str]:
    """Return how often each event was published, as soon as each was."""
    seen = outside.events(
        lambda seen: len({json.loads(each.body)["id"] for each in seen}) >= THINGS
    )
    return Counter(json.loads(each.body)["id"] for each in seen)
