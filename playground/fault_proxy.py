"""A TCP proxy in front of a server that can be cut. Its clients have real connections."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

import anyio
from anyio import CancelScope, Event, create_task_group
from anyio.abc import ByteStream, SocketAttribute

State = Literal["up", "refuses", "hangs", "slow"]

SLOW_SECONDS = 0.1  # for each piece, so that an e-mail takes a second or two
GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


class FaultProxy:
    """Listens on a port of this machine, and forwards data to a server and back."""

    def __init__(self, connect: Callable[[], Awaitable[ByteStream]]) -> None:
        self.state: State = "up"
        self.port = 0
        self.stalled = 0  # connections that get no answer
        self._connect = connect
        self._scope = CancelScope()
        self._settled = Event()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            with CancelScope() as self._scope:
                if self.state == "refuses":
                    self._settled.set()
                    await anyio.sleep_forever()
                async with await self._listener() as listener:
                    self._settled.set()
                    await listener.serve(self._carry_one)

    async def set_mode(self, state: State) -> None:
        """Behave like this from now on; connected clients are cut off."""
        self.state, self._settled = state, Event()
        self._scope.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Wait until it behaves as it should."""
        await self._settled.wait()

    async def _listener(self) -> anyio.abc.Listener[ByteStream]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = listener.extra(SocketAttribute.local_port)
        return listener

    async def _carry_one(self, client: ByteStream) -> None:
        with suppress(*GONE):
            async with client:
                if self.state == "hangs":
                    await self._hold(client)
                async with await self._connect() as server, create_task_group() as group:
                    group.start_soon(self._carry_one_way, client, server)
                    group.start_soon(self._carry_one_way, server, client)

    async def _hold(self, client: ByteStream) -> None:
        """Send nothing until the client gives up."""
        self.stalled += 1
        try:
            while True:
                await client.receive()
        finally:
            self.stalled -= 1

    async def _carry_one_way(self, source: ByteStream, target: ByteStream) -> None:
        with suppress(*GONE):
            async for piece in source:
                await anyio.sleep(SLOW_SECONDS if self.state == "slow" else 0)
                await target.send(piece)
            await target.send_eof()
