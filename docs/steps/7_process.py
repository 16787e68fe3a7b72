"""Step 7: a process that waits.

Before, an order waits forever if the bank takes the money, and its answers get lost. Now, a row
remembers what has happened, a deadline is a delivery that is due later, and what may have happened
is undone.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from inspect import getsourcelines
from tempfile import TemporaryDirectory
from time import perf_counter

import anyio
from aiosqlite import Connection, connect

TABLES = """CREATE TABLE orders (state); INSERT INTO orders VALUES ('waits for the bank');
CREATE TABLE deliveries (handler, due, pending DEFAULT TRUE, attempts DEFAULT 0);"""
NOW = "julianday('now') * 86400"  # the database's clock, in seconds
DELIVER = f"INSERT INTO deliveries (handler, due) VALUES (?, {NOW} + ?)"
PENDING = "SELECT 1 FROM deliveries WHERE pending AND attempts < 3"
CLAIM = f"""UPDATE deliveries SET attempts = attempts + 1, due = {NOW} + 0.1
WHERE pending AND attempts < 3 AND due <= {NOW} RETURNING rowid, handler"""
COMPLETE = "UPDATE deliveries SET pending = FALSE WHERE rowid = ?"


@dataclass
class Bank:
    """Another system: no transaction has both its database and ours."""

    database: Connection
    answers: bool
    TAKE = "INSERT OR IGNORE INTO payments VALUES ('order 1', 'taken')"  # a repetition takes none
    UNDO = "INSERT OR REPLACE INTO payments VALUES ('order 1', 'undone')"  # so does TAKE after it

    async def ask(self, request: str) -> str:
        """Do what is asked, and return what has become of the payment."""
        await self.database.execute(request)
        await self.database.commit()
        if request == self.TAKE and not self.answers:
            raise TimeoutError
        [(state,)] = await self.database.execute_fetchall("SELECT state FROM payments")
        return str(state)


@dataclass
class Order:
    """The process. It takes what has happened, however late, and returns what is due now."""

    state: str

    def paid(self) -> list[str]:
        if self.state != "cancelled":  # or the deadline was faster, and has the payment undone
            self.state = "shipped"
        return []

    def deadline_passed(self) -> list[str]:
        if self.state == "shipped":
            return []
        self.state = "cancelled"
        return ["refund"]  # whether money was taken or not: nobody knows


async def remember(shop: Connection, happened: Callable[[Order], list[str]]) -> None:
    """Let the order decide; store its state and what is due, in the transaction of the handler."""
    [(state,)] = await shop.execute_fetchall("UPDATE orders SET state = state RETURNING state")
    due = happened(order := Order(state))
    await shop.execute("UPDATE orders SET state = ?", [order.state])
    await shop.executemany(DELIVER, [(handler, 0) for handler in due])


async def charge(shop: Connection, bank: Bank) -> None:
    if await bank.ask(Bank.TAKE) == "taken":
        await remember(shop, Order.paid)


async def deadline(shop: Connection, bank: Bank) -> None:
    await remember(shop, Order.deadline_passed)


async def refund(shop: Connection, bank: Bank) -> None:
    await bank.ask(Bank.UNDO)


async def work(shop: Connection, bank: Bank) -> None:
    """Work until nothing is pending; what has failed three times is left to an operator."""
    while await shop.execute_fetchall(PENDING):
        for row, handler in (claimed := await shop.execute_fetchall(CLAIM)):
            await shop.commit()
            with suppress(TimeoutError):
                await globals()[handler](shop, bank)
                await shop.execute(COMPLETE, [row])
                await shop.commit()
        await anyio.sleep(0 if claimed else 0.01)  # until a lease is over, or the deadline


async def show(*due: tuple[str, float], answers: bool) -> str:
    """Place an order, with what is due then; work, and print what has become of it."""
    statements: list[str] = []
    with TemporaryDirectory() as folder:
        async with connect(f"{folder}/shop.db") as shop, connect(f"{folder}/bank.db") as database:
            await shop.executescript(TABLES)
            await database.execute("CREATE TABLE payments (key PRIMARY KEY, state)")
            await shop.set_trace_callback(statements.append)
            started = perf_counter()
            await shop.executemany(DELIVER, due)
            await work(shop, Bank(database, answers))
            price = f"{len(statements)} statements, {(perf_counter() - started) * 1000:.1f} ms"
            [(order,)] = await shop.execute_fetchall("SELECT state FROM orders")
            [(payment,)] = await database.execute_fetchall("SELECT state FROM payments")
    bank = "answers" if answers else "takes the money, and its answers get lost"
    print(f"  the bank {bank}: order {order}, payment {payment}")
    return price


async def main() -> None:
    print("Before: wait for the bank")
    price = await show(("charge", 0), answers=True)
    await show(("charge", 0), answers=False)
    print("Now: wait for the bank, or for the deadline")
    for answers in (True, False):
        await show(("charge", 0), ("deadline", 0.5), answers=answers)
    lines = len(getsourcelines(Order)[0] + getsourcelines(remember)[0])
    print(f"Price: {lines} lines, {price} an order, without its deadline.")
    print("Still to do: all of this for more than one process, command, event and handler.")
    print("Stop here if one of each is all you have: then one file is enough.")


anyio.run(main)
