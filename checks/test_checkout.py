"""The example of a process: its rules without a database, its handlers with one, and kills."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from aftercommit import Application, Unavailable, testing

from checks.console_blocks import commands
from examples.checkout import domain
from examples.checkout.app import APP, bootstrap, stock_up
from examples.checkout.domain import Checkout
from examples.checkout.handlers import HANDLERS
from examples.checkout.payments import CardRefused
from examples.checkout.storage import checkouts, stocks
from tools.repository import ROOT

ORDER = UUID(int=1)
PAGE = ROOT / "examples" / "checkout" / "README.md"


def a_checkout(*happened: Callable[[Checkout], None]) -> Checkout:
    """Return a process to which this has happened."""
    checkout = Checkout(ORDER, "lamp", 2, "good")
    for each in happened:
        each(checkout)
    return checkout


RESERVED, DENIED, PAID = Checkout.stock_reserved, Checkout.stock_denied, Checkout.paid
DEADLINE = Checkout.deadline_passed


def refused(checkout: Checkout) -> None:
    checkout.payment_given_up(certain=True)


def failed(checkout: Checkout) -> None:
    checkout.payment_given_up(certain=False)


PLACED = domain.OrderPlaced(order_id=ORDER, article="lamp", pieces=2)
DUE = domain.PaymentDue(order_id=ORDER, pieces=2, card="good")
SHIP = domain.ShippingDue(order_id=ORDER, article="lamp", pieces=2)
REFUND = domain.RefundDue(order_id=ORDER)


def cancelled(why: domain.Why, reserved: int) -> domain.OrderCancelled:
    return domain.OrderCancelled(order_id=ORDER, article="lamp", reserved=reserved, why=why)


@pytest.mark.parametrize(
    ("happened", "follows"),
    [
        ([], []),
        ([RESERVED], [DUE]),
        ([RESERVED, PAID], [DUE, SHIP]),
        ([RESERVED, PAID, DEADLINE], [DUE, SHIP]),
        ([DENIED], [cancelled("out of stock", 0)]),
        ([DENIED, DEADLINE], [cancelled("out of stock", 0)]),
        ([RESERVED, refused], [DUE, cancelled("payment refused", 2)]),
        ([RESERVED, failed], [DUE, REFUND, cancelled("payment failed", 2)]),
        ([RESERVED, DEADLINE, PAID], [DUE, cancelled("too late", 2), REFUND]),
        ([RESERVED, DEADLINE, failed], [DUE, cancelled("too late", 2), REFUND]),
        ([RESERVED, DEADLINE, refused], [DUE, cancelled("too late", 2)]),
        ([DEADLINE, RESERVED], [cancelled("too late", 0), cancelled("too late", 2)]),
        ([DEADLINE, DENIED], [cancelled("too late", 0)]),
    ],
)
def test_the_process_decides_what_is_next(
    happened: list[Callable[[Checkout], None]], follows: list[object]
) -> None:
    """In whichever order things happen, and however late."""
    assert [*a_checkout(*happened).pull_events()] == [PLACED, *follows]


@dataclass
class RecordingPayments:
    """The port, without a service behind it."""

    error: Exception | None = None
    charged: list[UUID] = field(default_factory=list)
    undone: list[UUID] = field(default_factory=list)

    async def charge(self, order_id: UUID, card: str, amount: int) -> None:
        self.charged.append(order_id)
        if self.error:
            raise self.error

    async def undo(self, order_id: UUID) -> None:
        self.undone.append(order_id)


async def place(application: Application) -> UUID:
    await stock_up(application, "lamp", 5)
    order_id = uuid4()
    command = domain.PlaceOrder(order_id=order_id, article="lamp", pieces=2, card="good")
    await application.bus.handle(command)
    await testing.deliver_due(application)
    return order_id


async def end_of(application: Application) -> tuple[str, int]:
    """Return how the one order has ended, and how many pieces are free."""
    async with application.database.read_transaction() as transaction:
        [row] = (await transaction.execute(sa.select(checkouts))).all()
        [stock] = (await transaction.execute(sa.select(stocks))).all()
    return row.cancelled or ("shipped" if row.is_shipping else "open"), stock.free


@pytest.fixture
def url(tmp_path: Path) -> str:
    return testing.sqlite_url(APP, tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("error", "happens", "end", "undone"),
    [
        (None, "nothing", ("shipped", 3), 0),
        (CardRefused("no"), "nothing", ("payment refused", 5), 0),
        (Unavailable("the service"), "nothing", ("open", 3), 0),
        (Unavailable("the service"), "an hour passes", ("too late", 5), 1),
        (ValueError("bug"), "it is given up", ("payment failed", 5), 1),
    ],
)
async def test_the_handlers_bring_it_to_its_end(
    url: str, error: Exception | None, happens: str, end: tuple[str, int], undone: int
) -> None:
    """In a test, all attempts are used up in one line, and so does an hour pass."""
    settings = APP.load({"database_url": url})
    async with bootstrap(APP, settings, payments=(payments := RecordingPayments(error))) as it:
        order_id = await place(it)
        if happens == "an hour passes":
            await testing.let_time_pass(it, hours=2)
        elif happens == "it is given up":
            await testing.give_up(it, "charge_card")
        await testing.deliver_due(it)

        assert await end_of(it) == end
        assert payments.undone == [order_id] * undone


STEPS = {*HANDLERS.by_name()}
STEPS |= {"ConfirmPayment", "GiveUpPayment", "ConfirmRefund", "instead of charge_card"}
STEPS |= {"payments.charge", "payments.undo"}
COMMITS = {"ConfirmPayment", "GiveUpPayment", "ConfirmRefund", "reserve_stock", "ship"}


@pytest.mark.check
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_order_has_one_good_end_although_workers_are_killed_at_each_step(
    database: str, request: pytest.FixtureRequest
) -> None:
    """Shipped and paid, or cancelled with all money given back; on a real payment service."""
    command = [sys.executable, "-m", "examples.checkout.soak"]
    if database == "postgresql":
        command += ["--url", request.getfixturevalue("empty_postgres_url")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    kills = {line.strip() for line in done.stdout.splitlines()}
    expected = {f"{step} begins 0" for step in STEPS} | {f"{step} ends 0" for step in COMMITS}
    assert expected <= kills, expected - kills
    assert "too late, but paid after that, and the money went back" in done.stdout


@pytest.mark.check
def test_the_commands_of_the_page_work(tmp_path: Path, free_tcp_port: int) -> None:
    """In their order, and each as a process; the first one is a server."""
    [block] = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    environment = os.environ | {"CHECKOUT_DATABASE_URL": f"sqlite:///{tmp_path}/checkout.db"}
    environment |= {"CHECKOUT_PAYMENTS_PORT": str(free_tcp_port)}
    service, *others = [
        command.line.replace("8099", str(free_tcp_port)).split()[1:] for command in commands(block)
    ]
    order = ""
    started = subprocess.Popen([sys.executable, *service], cwd=ROOT, stdout=subprocess.PIPE)
    with started as server:
        try:
            assert server.stdout
            assert server.stdout.readline()
            for line in others:
                given = [sys.executable, *(order if each == "ORDER" else each for each in line)]
                done = subprocess.run(
                    given, cwd=ROOT, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{line}: {done.stderr}"
                order = done.stdout.split()[-1] if "place-order" in line else order
        finally:
            server.kill()

    assert "order_cancelled" in done.stdout
