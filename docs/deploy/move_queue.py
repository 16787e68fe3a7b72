"""Makes a classic queue of RabbitMQ a quorum queue of the same name, with all that waits in it.

    AMQP_URL=amqps://user:password@host python move_queue.py allocation.commands.dead

Its messages go to another queue and back. Each leaves its queue when RabbitMQ has confirmed it in
the other one: an interruption loses none, and may double one. Run this again then.
"""

import asyncio
import os
import sys
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed

# as the program makes it
DEAD_LETTERS: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": -1}


async def make_quorum(url: str, name: str) -> None:
    """Move all that is there, in its order, and keep the name."""
    beside = f"{name}.moving"
    async with await aio_pika.connect(url) as connection:
        if not await declare(connection, name):
            await declare(connection, beside)
            await move(connection, name, beside)
            await (await connection.channel()).queue_delete(name, if_empty=True)
            await declare(connection, name)
        await declare(connection, beside)
        print(f"{await move(connection, beside, name)} messages are in the quorum queue {name}")
        await (await connection.channel()).queue_delete(beside)


async def declare(connection: AbstractConnection, name: str) -> bool:
    """Make a quorum queue, and tell whether it is one now; else there is another."""
    try:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True, arguments=DEAD_LETTERS)
    except ChannelPreconditionFailed:
        return False
    return True


async def move(connection: AbstractConnection, source: str, target: str) -> int:
    """Return how many messages were moved."""
    channel, moved = await connection.channel(on_return_raises=True), 0
    queue = await channel.get_queue(source, ensure=False)
    while message := await queue.get(fail=False):
        await channel.default_exchange.publish(message, target)
        await message.ack()
        moved += 1
    return moved


if __name__ == "__main__":
    asyncio.run(make_quorum(os.environ["AMQP_URL"], sys.argv[1]))
