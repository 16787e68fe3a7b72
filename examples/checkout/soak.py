"""Kills workers at each step of many checkouts, and looks whether every order has one good end.

    python -m examples.checkout.soak [--orders 40] [--times 1] [--url URL]

It ends with an error if an order is neither shipped and paid, nor cancelled with all money given
back; if pieces are lost; or if a delivery is parked.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import anyio
import sqlalchemy as sa
from aftercommit import Application, testing

from examples.checkout.app import APP, Settings, stock_up
from examples.checkout.domain import PlaceOrder
from examples.checkout.payment_service import PaymentService
from examples.checkout.storage import checkouts, stocks

CARDS = ("good", "good", "refused", "late", "down", "hangs")
PIECES = 2  # of an order
LONGEST_SECONDS = 540.0
QUICK: Mapping[str, Any] = {
    "dispatch": "worker",
    "handler_timeout_seconds": 1.0,
    "lease_seconds": 2.0,
    "retry_initial_seconds": 0.2,
    "retry_max_seconds": 1.0,
    "max_attempts": 40,  # a kill counts as one
    "payments_timeout_seconds": 0.4,
    "deadline_seconds": 90.0,
}


@dataclass(frozen=True)
class Result:
    """What has become of the orders, and where workers were killed."""

    ends: Counter[str]
    problems: Sequence[str]
    kills: Sequence[str]


async def soak(url: str, folder: Path, *, orders: int, times: int, workers: int = 3) -> Result:
    """Place orders, and let workers that are killed handle them, until each has its end."""
    with PaymentService() as service:
        settings = APP.load({"database_url": url, "payments_port": service.port, **QUICK})
        async with APP.open(settings) as application:
            await stock_up(application, "lamp", PIECES * (orders - 2))  # not enough for all
            for number in range(orders):
                card = CARDS[number % len(CARDS)]
                order = PlaceOrder(
                    order_id=UUID(int=number + 1), article="lamp", pieces=PIECES, card=card
                )
                await application.bus.handle(order)
            given = {**QUICK, "database_url": url, "payments_port": service.port}
            with anyio.fail_after(LONGEST_SECONDS), _Workers(given, folder, times) as running:
                while await outstanding(application):
                    running.keep(workers)
                    await anyio.sleep(0.2)
            ledger = await anyio.to_thread.run_sync(_payments, service.port)
            ends, problems = await look(application, ledger, PIECES * (orders - 2))
    return Result(ends, problems, sorted(os.listdir(folder)))


async def outstanding(application: Application) -> int:
    """Return how many deliveries are neither done nor parked."""
    left = "SELECT count(*) FROM aftercommit_deliveries"
    left += " WHERE completed_at IS NULL AND parked_at IS NULL"
    async with application.database.read_transaction() as transaction:
        return int((await transaction.execute(sa.text(left))).scalar_one())


async def look(
    application: Application, ledger: Mapping[str, Mapping[str, int]], pieces: int
) -> tuple[Counter[str], list[str]]:
    """Return how the orders have ended, and what is wrong."""
    parked = "SELECT handler, last_error FROM aftercommit_deliveries WHERE parked_at IS NOT NULL"
    async with application.database.read_transaction() as transaction:
        rows = (await transaction.execute(sa.select(checkouts))).all()
        [stock] = (await transaction.execute(sa.select(stocks))).all()
        problems = [f"parked: {each}" for each in await transaction.execute(sa.text(parked))]
    ends, shipped = Counter[str](), 0
    for row in rows:
        key = str(row.id)
        taken, returned = ledger["charged"].get(key, 0), ledger["refunded"].get(key, 0)
        ends[row.cancelled or "shipped"] += 1
        shipped += row.pieces * row.is_shipping
        is_shipped = row.is_shipping and row.cancelled is None and (taken, returned) == (1, 0)
        is_cancelled = row.cancelled and not row.is_shipping and taken == returned
        if not is_shipped and not is_cancelled:
            problems.append(f"{row}, charged {taken}, refunded {returned}")
    if (stock.free, stock.shipped) != (pieces - shipped, shipped):
        problems.append(f"{stock.free} free and {stock.shipped} shipped of {pieces}")
    return ends, problems


def _payments(port: int) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/payments")
    return json.loads(connection.getresponse().read())


class _Workers:
    """Processes that are started again when they were killed."""

    def __init__(self, given: Mapping[str, Any], folder: Path, times: int) -> None:
        named = {Settings.variable(name): str(value) for name, value in given.items()}
        self._environment = {**os.environ, **named}
        module = [sys.executable, "-m", "examples.checkout.dying_worker"]
        self._command = [*module, str(folder), str(times)]
        self._running = list[subprocess.Popen[bytes]]()

    def __enter__(self) -> "_Workers":
        return self

    def keep(self, number: int) -> None:
        """Let so many run."""
        self._running = [each for each in self._running if each.poll() is None]
        for _ in range(number - len(self._running)):
            quiet = subprocess.DEVNULL
            made = subprocess.Popen(
                self._command, env=self._environment, stdout=quiet, stderr=quiet
            )
            self._running.append(made)

    def __exit__(self, *error: object) -> None:
        for each in self._running:
            each.kill()
            each.wait()


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    """Print what has become of the orders."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=40)
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
