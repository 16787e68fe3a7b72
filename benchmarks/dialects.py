"""Measures how long a registration takes with each driver of SQLite, on each event loop.

    python benchmarks/dialects.py [SECONDS [FOLDER]]

One task registers users, one after the other, in a new database; the handlers of events are left to
workers. Short rounds alternate, so that a noisy machine is noisy for all; medians are compared. The
database is in memory where the system has a folder there: a disk takes the same time from all.
"""

import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId

ROUNDS = 12
IN_MEMORY = "/dev/shm"
STOCK = ("asyncio", "sqlite+aiosqlite")
LIMITS = {
    STOCK: 1.0,
    ("asyncio", "sqlite+anyio"): 1.5,
    ("trio", "sqlite+anyio"): 1.3,  # room: trio
}


async def seconds_each(settings: Settings, duration: float) -> list[float]:
    seconds = []
    async with bootstrap(settings) as application:
        until = time.perf_counter() + duration
        while (started := time.perf_counter()) < until:
            user_id = UserId(uuid4())
            command = RegisterUser(user_id=user_id, name="Иван", email=f"{user_id}@example.com")
            await application.bus.execute(command)
            seconds.append(time.perf_counter() - started)
    return seconds


def measure(backend: str, driver: str, duration: float, place: str | None) -> list[float]:
    with TemporaryDirectory(dir=place) as folder:
        url = f"{driver}:///{folder}/benchmark.db"
        settings = Settings(database_url=url, backend=backend, dispatch="worker")
        return anyio.run(seconds_each, settings, duration, backend=backend)


def main(duration: float, place: str | None) -> None:
    if place is None and Path(IN_MEMORY).is_dir():
        place = IN_MEMORY
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in LIMITS}
    for _ in range(ROUNDS):
        for way, measured in seconds.items():
            measured.extend(measure(*way, duration, place))
    stock = median(seconds[STOCK])
    for (backend, driver), limit in LIMITS.items():
        each = median(seconds[backend, driver])
        verdict = "ok" if stock / each >= limit else f"under {limit}"
        print(f"{backend:8} {driver:17} {each * 1000:.2f} ms  ratio {stock / each:.2f}  {verdict}")


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    main(seconds, sys.argv[2] if len(sys.argv) > 2 else None)
