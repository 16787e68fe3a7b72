"""Fixtures for every layer."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each asynchronous test on both event loops, unless a layer says otherwise."""
    return str(request.param)


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail every test in which a call blocks the event loop (asyncio only)."""
    with blockbuster_ctx() as detector:
        for harmless in ("os.path.abspath", "os.getcwd"):
            detector.functions[harmless].deactivate()  # SQLAlchemy makes a path absolute, at start
        for function in detector.functions.values():
            # Alembic reads its scripts: once, at start, before any message is handled
            function.can_block_in("allocation/adapters/schema.py", {"_upgrade", "_is_known"})
        yield detector
