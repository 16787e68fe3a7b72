"""What the tests of brokers have in common: the clients of brokers are made for asyncio."""

from collections.abc import Iterator

import pytest

from aftercommit_tests.extensions.brokers.list_broker import ListBroker


@pytest.fixture
def anyio_backend() -> str:
    """Brokers need asyncio."""
    return "asyncio"


@pytest.fixture
def backend() -> str:
    """In processes, too."""
    return "asyncio"


@pytest.fixture
def broker() -> Iterator[ListBroker]:
    """A broker that is a list."""
    broker = ListBroker()
    yield broker
    broker.close()


@pytest.fixture(autouse=True)
def _leaves_its_first_generation(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let a consumer leave its group, as it does where generations begin with 1, as Kafka's do.

    Those of the server that tests run begin with 0, which the client takes for none: the next
    consumer would wait for 13 s, until the server misses the heart beats of the one before.
    """
    if "kafka" not in request.fixturenames:
        return
    from aiokafka.consumer.group_coordinator import (  # type: ignore[import-untyped]
        GroupCoordinator,
    )

    leave = GroupCoordinator._maybe_leave_group

    async def leaves(coordinator: GroupCoordinator) -> None:
        coordinator.generation = coordinator.generation or 1
        await leave(coordinator)

    monkeypatch.setattr(GroupCoordinator, "_maybe_leave_group", leaves)
