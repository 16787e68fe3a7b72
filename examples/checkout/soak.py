"""Kills workers at each step of many checkouts, and looks whether every order has one good end.

    python -m examples.checkout.soak [--orders 8] [--times 1] [--url URL]

It has three parts: orders that are paid, refused or out of stock; orders whose deadline passes
without a payment; and an order whose payment is answered after its deadline. It ends with an error
if an order is neither shipped and paid, nor cancelled with all money given back; if pieces are
lost; or if a delivery is parked.
"""

import os
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import anyio
import sqlalchemy as sa
from aftercommit import Application, testing

from examples.checkout import dying_worker
from examples.checkout.app import APP, Settings, stock_up
from examples.checkout.domain import PlaceOrder
from examples.checkout.payment_service import PaymentService
from examples.checkout.storage import checkouts, stocks

WORKERS = 3
PIECES = 2  # of an order
LONGEST_SECONDS = 540.0
QUICK: Mapping[str, Any] = {
    "dispatch": "worker",
    "handler_timeout_seconds": 40.0,
    "lease_seconds": 60.0,  # that of a dead worker is ended at once
    "retry_initial_seconds": 0.2,
    "retry_max_seconds": 0.5,
    "max_attempts": 40,  # a kill counts as one
}
OUTSTANDING = """SELECT count(*) FROM aftercommit_deliveries
    WHERE completed_at IS NULL AND parked_at IS NULL"""
PARKED = "SELECT handler, last_error FROM aftercommit_deliveries WHERE parked_at IS NOT NULL"
END_LEASES = """UPDATE aftercommit_deliveries SET available_at = 0
    WHERE owner LIKE :owner AND completed_at IS NULL AND parked_at IS NULL"""
TAKEN, NOT_TAKEN = "too late, and the money went back", "too late, and no money was taken"
PAID_TOO_LATE = "too late, but paid after that, and the money went back"
HOUR, DEADLINE = 3600.0, 3.0  # seconds
SHORT, LONG = 1.0, 30.0  # seconds that a worker waits for the payment service
AFTER_THE_ANSWER = ("ConfirmPayment succ", "undo_payment", "payments.undo", "ConfirmRefund")
"""Where workers are killed once more when a payment is answered after the deadline."""


@dataclass(frozen=True)
class Result:
    """What has become of the orders, and where workers were killed."""

    ends: Counter[str]
    problems: Sequence[str]
    kills: Sequence[str]


@dataclass(frozen=True)
class Soak:
    """An application, its payment service, and the folder that knows who was killed where."""

    application: Application
    service: PaymentService
    given: Mapping[str, Any]
    folder: Path
    times: int
    ids: Iterator[UUID]

    async def pay_and_ship(self, orders: int) -> None:
        """Bring orders to their end long before their deadline, and then let it pass."""
        cards = ["refused" if order % 3 == 1 else "good" for order in range(orders)]
        await self.place(cards, "lamp", HOUR)
        await self.let_work(f"{OUTSTANDING} AND handler <> 'cancel_if_unpaid'", HOUR, SHORT)
        await testing.let_time_pass(self.application, hours=2)
        await self.let_work(OUTSTANDING, HOUR, SHORT)

    async def wait_for_payment(self) -> None:
        """Let the deadline pass while the payment service is down, or does not answer.

        On a busy machine, it may pass before the first request: the next orders have more time.
        """
        deadline, seen = DEADLINE, {TAKEN, NOT_TAKEN}
        while seen - await self.ends():
            await self.place(["down", "hangs"], "table", deadline)
            await self.let_work(OUTSTANDING, deadline, SHORT)
            deadline *= 2

    async def pay_too_late(self) -> None:
        """Let the payment service answer when the order is cancelled, and its request still waits.

        On a busy machine, the deadline may pass before the request: the next order has more time.
        """
        for known in self.folder.iterdir():
            if known.name.startswith(AFTER_THE_ANSWER):
                known.unlink()
        deadline = DEADLINE
        while PAID_TOO_LATE not in await self.ends():
            self.service.answers_now.clear()
            [order] = await self.place(["late"], "table", deadline)
            is_open = sa.select(sa.func.count(checkouts.c.id))
            is_open = is_open.where(checkouts.c.id == order, checkouts.c.cancelled.is_(None))
            async with anyio.create_task_group() as group:
                group.start_soon(self.let_work, OUTSTANDING, deadline, LONG)
                while await self.number(is_open):  # noqa: ASYNC110 - no process tells us
                    await anyio.sleep(0.05)
                self.service.answers_now.set()
            deadline *= 2

    async def ends(self) -> set[str]:
        """Return how orders have ended until now."""
        return {*(await look(self.application, self.service, {}))[0]}

    async def place(self, cards: Sequence[str], article: str, deadline: float) -> list[UUID]:
        """Place orders that are cancelled after so many seconds unless they are paid."""
        settings, placed = APP.load({**self.given, "deadline_seconds": deadline}), list[UUID]()
        async with APP.open(settings) as shop:
            for card in cards:
                placed.append(next(self.ids))
                order = PlaceOrder(order_id=placed[-1], article=article, pieces=PIECES, card=card)
                await shop.bus.handle(order)
        return placed

    async def let_work(self, until: str, deadline: float, patience: float) -> None:
        """Let workers run, and be killed, until a query finds nothing that is left to do."""
        times = {"deadline_seconds": deadline, "payments_timeout_seconds": patience}
        with _Workers({**self.given, **times}, self.folder, self.times) as workers:
            while await self.number(sa.text(until)):
                await self.end_leases(workers.replace_dead())
                await anyio.sleep(0.05)

    async def end_leases(self, dead: Sequence[int | None]) -> None:
        """Let nobody wait for a process that is known to be dead."""
        for process in dead:
            async with self.application.database.write_transaction() as transaction:
                await transaction.execute(sa.text(END_LEASES), {"owner": f"%:{process}"})
                await transaction.commit()

    async def number(self, query: sa.Executable) -> int:
        """Return the number that a query finds."""
        async with self.application.database.read_transaction() as transaction:
            return int((await transaction.execute(query)).scalar_one())


async def soak(url: str, folder: Path, *, orders: int, times: int) -> Result:
    """Run all parts, and look at what has become of the orders."""
    with PaymentService(late_seconds=LONGEST_SECONDS) as service:
        given = {**QUICK, "database_url": url, "payments_port": service.port}
        async with APP.open(APP.load(given)) as application:
            ids = (UUID(int=number) for number in count(1))
            pieces = {"lamp": PIECES * (orders // 2), "table": 100 * PIECES}  # too few lamps
            for article, number in pieces.items():
                await stock_up(application, article, number)
            this = Soak(application, service, given, folder, times, ids)
            with anyio.fail_after(LONGEST_SECONDS):
                await this.pay_and_ship(orders)
                await this.wait_for_payment()
                await this.pay_too_late()
            ends, problems = await look(application, service, pieces)
    return Result(ends, problems, sorted(os.listdir(folder)))


async def look(
    application: Application, service: PaymentService, pieces: Mapping[str, int]
) -> tuple[Counter[str], list[str]]:
    """Return how the orders have ended, and what is wrong."""
    async with application.database.read_transaction() as transaction:
        rows = (await transaction.execute(sa.select(checkouts))).all()
        all_stocks = (await transaction.execute(sa.select(stocks))).all()
        problems = [f"parked: {each}" for each in await transaction.execute(sa.text(PARKED))]
    ends, shipped = Counter[str](), Counter[str]()
    for row in rows:
        taken, returned = service.charged[str(row.id)], service.refunded[str(row.id)]
        money = "and the money went back" if taken else "and no money was taken"
        late = "but paid after that, " if row.payment == "paid" else ""
        ends[f"{row.cancelled}, {late}{money}" if row.cancelled else "shipped"] += 1
        shipped[row.article] += row.pieces * row.is_shipping
        is_shipped = row.is_shipping and row.cancelled is None and (taken, returned) == (1, 0)
        is_cancelled = row.cancelled and not row.is_shipping and taken == returned
        if not is_shipped and not is_cancelled:
            problems.append(f"{row}, charged {taken}, refunded {returned}")
    for stock in all_stocks:
        free = pieces.get(stock.article, 0) - shipped[stock.article]
        if (stock.free, stock.shipped) != (free, shipped[stock.article]):
            problems.append(f"{stock}, of which {shipped[stock.article]} were to be shipped")
    return ends, problems


class _Workers:
    """Processes that are replaced when they were killed.

    They are forked from one that has imported everything: most of them live for a moment only.
    """

    def __init__(self, given: Mapping[str, Any], folder: Path, times: int) -> None:
        named = {Settings.variable(name): str(value) for name, value in given.items()}
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([dying_worker.__name__])
        self._arguments, self._running = (folder, times, named), list[BaseProcess]()

    def __enter__(self) -> "_Workers":
        return self

    def replace_dead(self) -> list[int | None]:
        """Let the usual number run; return the ids of those that have died."""
        dead = [each for each in self._running if not each.is_alive()]
        self._running = [each for each in self._running if each not in dead]
        for _ in range(WORKERS - len(self._running)):
            made = self._context.Process(target=dying_worker.work, args=self._arguments)
            made.start()
            self._running.append(made)
        return [each.pid for each in dead]

    def __exit__(self, *error: object) -> None:
        for each in self._running:
            each.kill()
            each.join()


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Print what has become of the orders."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=8, help="in the first part")
    parser.add_argument("--times", type=int, default=1, help="kills at each step")
    parser.add_argument("--url", help="of an empty database; else a new SQLite file")
    asked = parser.parse_args()
    with _folder() as folder, _folder() as kills:
        url = asked.url or testing.sqlite_url(APP, folder)
        if asked.url:
            testing.migrate(APP, asked.url)
        result = anyio.run(lambda: soak(url, kills, orders=asked.orders, times=asked.times))
    sys.stdout.write(f"{dict(result.ends)}\n{len(result.kills)} kills\n")
    sys.stdout.write("".join(f"  {each}\n" for each in result.kills))
    if result.problems:
        sys.exit("\n".join(result.problems))


if __name__ == "__main__":
    main()
