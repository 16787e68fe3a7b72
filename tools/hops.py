"""Counts the functions and files that a reader meets when following one message through the code.

    python3 -m tools.hops           # four ways, each with its numbers and limits
    python3 -m tools.hops --list    # and the functions, in the order in which they are met

It counts the functions of our packages that begin on the way, on SQLite: for a command from the bus
to its COMMIT, for an attempt with an external effect and one with `session` in a worker, and for
`Outbox.record`. Each is counted on its second run, after one-time work. Functions of the
application are not counted, because it may grow.
"""

import dis
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import NamedTuple

import anyio
import sqlalchemy as sa
from aftercommit import MessageBus, Outbox, on, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from allocation.entrypoints.app import cli
from tools.repository import ROOT

RESUME = dis.opmap["RESUME"]
PACKAGES = f"{ROOT}/packages/"


class Limit(NamedTuple):
    """At most so many functions and files."""

    functions: int
    files: int


LIMITS = {
    "a command, from the bus to its COMMIT": Limit(63, 22),
    "an attempt with an effect": Limit(41, 15),
    "an attempt with session": Limit(62, 20),
    "outbox.record": Limit(17, 7),
}
COMMAND, EFFECT, SESSION, RECORD = LIMITS


@dataclass(slots=True)
class Way:
    """The functions that have begun on a way, in their order, and how often."""

    calls: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def functions(self) -> int:
        """How many functions there are on the way."""
        return len(self.calls)

    @property
    def files(self) -> int:
        """In how many files these are."""
        return len({file for file, _ in self.calls})

    def see(self, code: CodeType) -> None:
        """Note that a function has begun, if it is one of the packages."""
        if "/src/" in code.co_filename and code.co_filename.startswith(PACKAGES):
            place = code.co_filename.rpartition("/src/")[2], code.co_qualname
            if "<" not in code.co_name:  # a comprehension is read together with its function
                self.calls[place] = self.calls.get(place, 0) + 1


def ways() -> Mapping[str, Way]:
    """Follow all ways, each in its own process, because a profile shows only the main thread."""
    with TemporaryDirectory() as folder:
        found = {COMMAND: _of_command(folder)}
        os.environ.pop("ALLOCATION_DATABASE_URL", None)
        found |= anyio.run(_of_outbox, folder)
    return found


def _of_command(folder: str) -> Way:
    """Register the second user of a database, by the command line."""
    os.environ["ALLOCATION_DATABASE_URL"] = f"sqlite:///{folder}/allocation.db"
    arguments = ["register-user", "Anna"]
    first = [sys.executable, "-m", "allocation", *arguments, "anna@example.com"]
    subprocess.run(first, check=True, capture_output=True)
    way, handle = Way(), MessageBus.handle.__code__
    with profile(way, begins=handle), suppress(SystemExit):
        cli([*arguments, "anna@example.org"], prog_name="allocation")
    return way


@dataclass(frozen=True)
class Happened:
    """An event."""

    number: int


async def effect(event: Happened) -> None:
    """Have an external effect."""


async def write(event: Happened, session: AsyncSession) -> None:
    """Change something in the delivery's transaction."""
    await session.execute(sa.text("SELECT 1"))


async def _of_outbox(folder: str) -> Mapping[str, Way]:
    """Record events in a session, and deliver them as a worker does."""
    url = f"sqlite:///{folder}/outbox.db"
    outbox = Outbox("shop", url, [on(Happened, effect, write)])
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    sqlite.prepare(engine)
    found = {EFFECT: Way(), SESSION: Way(), RECORD: Way()}
    async with outbox.running():
        pass
    async with AsyncSession(engine) as session, session.begin():
        await outbox.record(session, Happened(0), about=0)
        with profile(found[RECORD]):
            await outbox.record(session, Happened(1), about=1)
    async with outbox.app.open(outbox.app.load({"dispatch": "worker"})) as application:
        for handler, name in ((effect, EFFECT), (write, SESSION)):
            bus = application.bus
            first, second = await bus.delivery_store.claim(2, [handler.__name__])
            await bus.run([first])
            with profile(found[name]):
                await bus.run([second])
    await engine.dispose()
    return found


@contextmanager
def profile(way: Way, *, begins: CodeType | None = None) -> Iterator[None]:
    """Observe what begins in the body: everything, or between a function and the COMMIT."""
    is_on = begins is None

    def see(frame: FrameType, event: str, _: object) -> None:
        nonlocal is_on
        is_on |= frame.f_code is begins and event == "call"
        if is_on and event == "call" and _begins(frame):
            way.see(frame.f_code)

    def stop(connection: sa.Connection) -> None:
        nonlocal is_on, begins
        if is_on and begins is not None:
            is_on, begins = False, None

    sa.event.listen(sa.Engine, "commit", stop)
    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)
        sa.event.remove(sa.Engine, "commit", stop)


def _begins(frame: FrameType) -> bool:
    """Tell the beginning of a function from a coroutine that goes on after waiting."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at] == RESUME and code[at + 1] == 0


def main() -> int:
    """Print what is met on each way, and return whether one is longer than its limit."""
    parser = ArgumentParser(prog="python3 -m tools.hops", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the functions, too")
    is_long, longer = parser.parse_args().list, 0
    for name, way in ways().items():
        limit = LIMITS[name]
        longer += way.functions > limit.functions or way.files > limit.files
        text = f"{name}: {way.functions} functions (limit {limit.functions})"
        print(f"{text} in {way.files} files (limit {limit.files}), {sum(way.calls.values())} calls")
        for file, function in way.calls if is_long else ():
            print(f"    {file} {function}")
    return int(longer > 0)


if __name__ == "__main__":
    sys.exit(main())
