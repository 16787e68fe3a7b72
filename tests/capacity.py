"""Works out, from what was measured, what many users a day take: a table of docs/operations.md.

Every figure is one of `benchmarks/results.json`, is counted in the tables of handlers or in
docs/price.md, or is an assumption that the table names.
"""

from collections.abc import Iterator
from math import ceil

from allocation.config import Settings
from allocation.domain.events import CouponAllocated, UserRegistered
from allocation.service_layer.handler_table import PUBLISH, Later, Unsubscribed
from allocation.service_layer.handlers import HANDLERS as TABLE
from benchmarks import results
from benchmarks.page import figure
from tests.measured import PRICE, measured

USERS_A_DAY = (10**6,)
SECONDS_A_DAY = 24 * 60 * 60
PEAK = 5  # times the mean: an assumption
KEPT_DAYS = 30
OTHER_CONNECTIONS = 6  # of a process on PostgreSQL, beside the pool: a test counts them

EVENTS = (UserRegistered, CouponAllocated)  # what one registration commits, while coupons last


def capacity() -> Iterator[str]:
    """Yield the table: what it is, how it is worked out, and a column for each number of users."""
    columns = [dict(_figures(users / SECONDS_A_DAY)) for users in USERS_A_DAY]
    yield "| | worked out as | a million a day |"
    yield "|---|---|---|"
    for row in columns[0]:
        what, how = row
        cells = " | ".join(column[row] for column in columns)
        yield f"| {what} | {how} | {cells} |"


def _figures(mean: float) -> Iterator[tuple[tuple[str, str], str]]:
    owed = sum(handler is not PUBLISH for event in EVENTS for handler in TABLE.events[event])
    published = sum(PUBLISH in TABLE.events[event] for event in EVENTS)
    subscribers = [each for event in EVENTS for each in TABLE.events[event]]
    wrapped = (Later, Unsubscribed)
    handlers = [each for each in subscribers if each is not PUBLISH]
    named = [each.handler if isinstance(each, wrapped) else each for each in handlers]
    emails = sum(handler.__name__.startswith("send_") for handler in named)
    peak = PEAK * mean
    whole, bare = _measured("registration_postgresql", "PostgreSQL, 10 at a time", "asyncpg")
    done, _ = _measured("worker_in_transactions", "1,000 deliveries, 20 slots", "asyncpg")
    relayed, _ = _measured("relay", "1,000 events, 100 at a time", "aio-pika")
    answered, _ = _measured("http", "PostgreSQL, dispatch: worker", "FastAPI by hand")
    processes = [peak / answered, peak * owed / done, peak * published / relayed]
    started = 2 * sum(map(_processes, processes))
    pool_size = Settings().pool_size
    commits = sum(int(row.split("|")[4]) for row in measured("price", PRICE)[3:5])
    rows = 1 + len(EVENTS) + owed + published

    yield ("registrations a second, mean", "users ÷ 86,400"), figure(mean)
    yield ("at the peak", f"× {PEAK}, assumed"), figure(peak)
    yield (
        ("machines of two cores, server and all", f"peak ÷ {figure(whole)} registrations/s"),
        _whole(peak / whole),
    )
    yield (
        ("`serve` processes", f"peak ÷ {figure(answered)} requests/s, handlers left to workers"),
        _whole(peak / answered),
    )
    yield (
        (
            "deliveries a second at the peak",
            f"× {owed} handlers; {published} more is published, see below",
        ),
        figure(peak * owed),
    )
    yield (
        ("workers", f"÷ {figure(done)} deliveries/s, a transaction each"),
        _whole(peak * owed / done),
    )
    yield (
        (
            "commits a second at the peak",
            f"× {commits}: 1 of the command, {commits - 1} of handlers ([counted](price.md));"
            " handlers for later commit weeks later",
        ),
        figure(peak * commits),
    )
    yield (
        ("coupons a second from one batch", f"peak; {figure(whole)} were measured, from one batch"),
        figure(peak),
    )
    yield (
        (
            "e-mails a second at the peak",
            f"× {emails} at most; no mail server was measured, so ask for the limit of yours",
        ),
        figure(peak * emails),
    )
    yield (
        (
            "servers of PostgreSQL that write",
            f"peak ÷ {figure(bare)} registrations/s, the same SQL by asyncpg without this program",
        ),
        _whole(peak / bare),
    )
    yield (
        ("processes that publish", f"peak × {published} ÷ {figure(relayed)} events/s"),
        _whole(peak * published / relayed),
    )
    yield (
        (
            "connections to PostgreSQL",
            f"two of each of the {started // 2} processes × ({pool_size} + {OTHER_CONNECTIONS})",
        ),
        f"{started * (pool_size + OTHER_CONNECTIONS):,}",
    )
    yield (
        (
            f"million rows in {KEPT_DAYS} days",
            f"a command, {len(EVENTS)} events, {owed} + {published} deliveries each",
        ),
        figure(mean * SECONDS_A_DAY * KEPT_DAYS * rows / 10**6),
    )
    yield (
        (
            "minutes to catch up with an hour without workers",
            "at the mean, with twice the processes that work",
        ),
        figure(mean * 3600 * owed / (2 * _processes(peak * owed / done) * done - mean * owed) / 60),
    )


def _measured(topic: str, what: str, other: str) -> tuple[float, float]:
    """Return what was measured of ours, and of what it was compared with."""
    [row] = [r for r in results.read()[topic].rows if (r.what, r.other) == (what, other)]
    return row.ours, row.theirs


def _processes(number: float) -> int:
    return max(1, ceil(number))


def _whole(number: float) -> str:
    return f"{_processes(number):,}"
