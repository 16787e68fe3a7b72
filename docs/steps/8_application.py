"""Step 8: the same on the classes of the application, for any command, event and handler."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import chdir, closing
from inspect import getsourcelines
from itertools import groupby
from operator import methodcaller
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import uuid4

import anyio
from aftercommit import Application, MessageOrigin
from aftercommit.errors import MessageAlreadyHandled
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from sqlalchemy import event

from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.app import APP

MAIL = Path("allocation-mail")
COUNTS = """SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM registration_log),
(SELECT count(*) FROM coupons),
(SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL AND attempts > 0)"""


def registration() -> RegisterUser:
    return RegisterUser(user_id=UserId(uuid4()), name="Ivan", email=f"{uuid4()}@example.com")


async def register(application: Application) -> None:
    await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=100))
    failures = (await application.bus.handle(registration())).failures
    print("  failed:", *sorted(failure.delivery.handler for failure in failures))


async def be_hit(application: Application) -> None:
    events = await application.bus.execute(registration())
    os.kill(os.getpid(), signal.Signals[sys.argv[1]])  # only SIGSTOP is survived
    report = await application.bus.run(events.claims)
    print("  too late:", *{type(failure.error).__name__ for failure in report.failures})


async def receive_twice(application: Application) -> None:
    for command in (registration(), registration()):
        try:
            await application.bus.handle(command, MessageOrigin(source="broker", id="1"))
        except MessageAlreadyHandled as error:
            print(f"  {error}")


async def measure(application: Application) -> None:
    bus, statements, started = application.bus, list[str](), perf_counter()
    trace = methodcaller("set_trace_callback", statements.append)
    engine = application.database.engine.sync_engine
    event.listen(engine, "checkout", lambda driver, *_: driver.run_async(trace))
    for claim in (await bus.execute(registration())).claims:  # who complete together is chance
        await bus.run([claim])
    once = (each for each, _ in groupby(statements))  # a trigger shows its statement again
    asked = [each for each in once if "SELECT aftercommit_handler_pauses" not in each[:36]]
    price = f"some {len(asked)} statements, {(perf_counter() - started) * 1000:.1f} ms"
    ours = (
        module
        for name, module in sys.modules.items()
        if name.startswith(("aftercommit.", "allocation."))
    )
    lines = round(sum(len(getsourcelines(module)[0]) for module in ours), -2)
    print(f"Price: some {lines:,} lines, {price} a registration.")
    print("Stop here if you need most of it: the rest can be left out, an extension at a time.")


async def run(step: Callable[[Application], Awaitable[None]], lease: float = 30) -> None:
    logging.disable()  # failures are returned
    async with APP.open(Settings(lease_seconds=lease, handler_timeout_seconds=lease / 2)) as it:
        await step(it)


def finish() -> None:
    """Do what is pending, as `allocation worker --until-idle` does, and tell what there is then."""
    anyio.run(run, lambda each: Worker(each, Shutdown(), concurrency=20).run(until_idle=True))
    with closing(sqlite3.connect("allocation.db")) as database:
        counts = (*database.execute(COUNTS).fetchone(), len(list(MAIL.glob("new/*"))))
    print("  users {}, log {}, coupons {}, pending {}, e-mails {}".format(*counts), flush=True)


def hit(name: str, how: str) -> None:
    """Let a process be killed or stopped after its commit; finish its work, and let it go on."""
    print(how)
    with subprocess.Popen([sys.executable, __file__, name]) as child:
        os.waitpid(child.pid, os.WUNTRACED)
        finish()
        child.send_signal(signal.SIGCONT)


def main() -> None:
    print("As in steps 1 and 2: e-mails cannot be sent")
    MAIL.touch()  # a file, where the folder should be
    anyio.run(run, register)
    MAIL.unlink()
    finish()
    hit("SIGKILL", "As in step 3: killed after the commit")
    hit("SIGSTOP", "As in steps 4 and 5: frozen after the commit")
    print("As in step 6: a message that comes twice")
    anyio.run(run, receive_twice)
    finish()
    anyio.run(run, measure)


if sys.argv[1:]:
    anyio.run(run, be_hit, 2)
else:
    with TemporaryDirectory() as folder, chdir(folder):
        main()
