"""Records an event in a session of SQLAlchemy, and delivers it: python one_delivery.py LOOP URL."""

import sys
from dataclasses import dataclass

import anyio
import click
from aftercommit import Outbox, on
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


@dataclass(frozen=True)
class OrderPlaced:
    """An order was placed."""

    order_id: int


async def main(url: str) -> None:
    """Wait until it is delivered, to the one handler that there is."""
    delivered = anyio.Event()

    async def confirm(event: OrderPlaced, session: AsyncSession) -> None:
        assert session.bind
        click.echo(f"order {event.order_id} is confirmed over {session.bind.dialect.driver}")
        delivered.set()

    outbox = Outbox("shop", url, [on(OrderPlaced, confirm)])
    async with outbox.running():
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session, session.begin():
            await outbox.record(session, OrderPlaced(7), about=7)
        await delivered.wait()
        await engine.dispose()


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], backend=sys.argv[1])
