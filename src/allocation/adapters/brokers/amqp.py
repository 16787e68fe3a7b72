"""Connections to RabbitMQ, as FastStream makes them, without a life of their own.

The library below mends a lost connection, tells nobody, and goes on trying when nobody waits for it
any more. Who uses these decides about that: one that is lost stays lost, and says why.
"""

from aio_pika import RobustConnection
from aio_pika.abc import AbstractConnection, TimeoutType
from aiormq.exceptions import ChannelPreconditionFailed, InvalidFrameError
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from allocation.adapters.brokers.line import CONNECT_SECONDS, close_quietly


class _Socket(RobustConnection):
    """What is below; leaves nothing behind when it cannot connect, or may not any longer.

    The library would go on trying, and keep the process from ending.
    """

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 - the library's
        try:
            await super().connect(timeout)
        except BaseException:
            await close_quietly(self.close)
            raise


class Connection(RabbitBroker):
    """A connection that stays lost when it is lost, and knows why.

    The library would open it again, and tell nobody.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            timeout=CONNECT_SECONDS,
            default_channel=Channel(on_return_raises=True),  # or a dead letter could be lost
            on_close=[self._on_loss],
            logger=None,
            apply_types=False,
        )
        self._connection_kwargs["connection_class"] = _Socket
        self.loss: BaseException | None = None

    async def connect(self) -> RobustConnection:
        try:
            return await super().connect()
        except InvalidFrameError as error:  # the library drops the server's reason
            raise ConnectionError(
                "it refuses the virtual host in the URL: there is none of this name, or the user"
                " may not enter it"
            ) from error

    async def _on_loss(
        self, connection: AbstractConnection | None, error: BaseException | None
    ) -> None:
        self.loss = self.loss or error or ConnectionError("the connection was lost")
        if isinstance(connection, RobustConnection):
            # beside, since closing waits for those who are told of the loss
            self._ending = connection.loop.create_task(close_quietly(connection.close))


async def declare(broker: Connection, queue: RabbitQueue) -> bool:
    """Connect, make a queue, and tell whether it is as wanted; if not, there is another one.

    Which is used as it is: whoever has made it may have had reasons.
    """
    connection = await broker.connect()
    async with connection.channel() as channel:
        try:
            await channel.declare_queue(
                queue.name, durable=True, arguments=queue.arguments, robust=False
            )
        except ChannelPreconditionFailed:
            return False
    return True
