"""The line to a server: what those who use it meet is what a broken server would do to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import create_task_group
from anyio.abc import ByteStream, SocketAttribute

from playground.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio


async def echo(client: ByteStream) -> None:
    async with client:
        async for piece in client:
            await client.send(piece)


@asynccontextmanager
async def line() -> AsyncIterator[FaultProxy]:
    """A line to a server that sends back what it gets."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as server:
        port = server.extra(SocketAttribute.local_port)

        async def connect() -> ByteStream:
            return await anyio.connect_tcp("127.0.0.1", port)

        async with create_task_group() as group:
            group.start_soon(server.serve, echo)
            found = FaultProxy(connect)
            group.start_soon(found.run)
            await found.settled()
            yield found
            group.cancel_scope.cancel()


async def connected(to: FaultProxy) -> ByteStream:
    return await anyio.connect_tcp("127.0.0.1", to.port)


@pytest.mark.parametrize("state", ["up", "slow"])
async def test_what_is_sent_comes_back(state: str) -> None:
    """A slow line carries everything, too."""
    async with line() as to_server:
        await to_server.set_mode(state)  # type: ignore[arg-type]
        async with await connected(to_server) as client:
            await client.send(b"Hello")

            assert await client.receive() == b"Hello"


async def test_a_line_that_refuses_has_nobody_who_listens() -> None:
    """And is at the same port again afterwards."""
    async with line() as to_server:
        port = to_server.port
        await to_server.set_mode("refuses")
        with pytest.raises(OSError, match=r"(?i)connect"):
            await connected(to_server)
        await to_server.set_mode("up")

        assert to_server.port == port
        async with await connected(to_server) as client:
            await client.send(b"Hello")
            assert await client.receive() == b"Hello"


async def test_a_line_that_hangs_takes_connections_and_says_nothing() -> None:
    """They are counted as long as those who wait do, and cut off when it is over."""
    async with line() as to_server:
        await to_server.set_mode("hangs")
        async with await connected(to_server), await connected(to_server) as second:
            await second.send(b"Hello")
            await until_stalled(to_server, 2)
            await second.aclose()
            await until_stalled(to_server, 1)
        await until_stalled(to_server, 0)
        async with await connected(to_server) as third:
            await until_stalled(to_server, 1)
            await to_server.set_mode("up")

            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await third.receive()


async def until_stalled(to: FaultProxy, number: int) -> None:
    with anyio.fail_after(60):
        while to.stalled != number:
            await anyio.wait_all_tasks_blocked()


async def test_whoever_is_connected_is_cut_off_when_it_changes() -> None:
    """A server that is started again knows nobody."""
    async with line() as to_server, await connected(to_server) as client:
        await client.send(b"Hello")
        await client.receive()
        await to_server.set_mode("slow")

        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await client.receive()
