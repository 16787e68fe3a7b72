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
