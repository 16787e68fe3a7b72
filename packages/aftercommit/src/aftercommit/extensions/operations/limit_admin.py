"""The limits of handlers: how much of each is used, what each holds, and an operator's numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.limit_uses import LimitUses
from aftercommit.deliveries.pauses import PAUSED
from aftercommit.deliveries.tables import CLAIMABLE, deliveries, limits
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.exceptions import LimitNotFound
from aftercommit.limits import Limit, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerLimit:
    """A limit: the program's numbers, those of an operator, and how much is used.

    `held` deliveries are due, and wait only for the limit. `may_begin` is how many may begin now,
    or None for any number. What is held now begins within `held_seconds`, if it may be that fast:
    None without a number per minute, since the duration of attempts decides then.
    """

    name: str
    handlers: Sequence[str]
    at_once: int | None
    per_minute: int | None
    set_at_once: int | None
    set_per_minute: int | None
    running: int
    may_begin: int | None
    next_at: datetime | None
    held: int
    held_seconds: float | None
    use: str


async def handler_limits(
    transaction: Transaction, database: Database, of: Limits
) -> list[HandlerLimit]:
    """Return all limits of the program, by name."""
    row, found = limits.c, list[HandlerLimit]()
    stored = await transaction.execute(sa.select(row.name, row.at_once, row.per_minute))
    numbers = {each.name: each for each in stored}
    for use, handlers in await LimitUses(database).read_all(transaction, of):
        limit = of[handlers[0]]
        due = await _due(transaction, database, handlers)
        own = numbers.get(limit.name)
        can_begin, held = use.permits >= 1, int(max(0, due - use.permits))
        per_minute = use.limit.per_minute
        found.append(
            HandlerLimit(
                name=limit.name,
                handlers=sorted(handlers),
                at_once=limit.at_once,
                per_minute=limit.per_minute,
                set_at_once=own and own.at_once,
                set_per_minute=own and own.per_minute,
                running=use.running,
                may_begin=int(use.permits) if use.permits < float("inf") else None,
                next_at=None if can_begin else datetime.fromtimestamp(use.permit_at, UTC),
                held=held,
                held_seconds=held * 60 / per_minute if per_minute else None,
                use=str(use),
            )
        )
    return found


async def _due(transaction: Transaction, database: Database, handlers: Collection[str]) -> int:
    row = deliveries.c
    due = row.handler.in_(handlers), CLAIMABLE, ~PAUSED, row.available_at <= database.clock
    counted = sa.select(sa.func.count()).select_from(deliveries).where(*due)
    count: int = (await transaction.execute(counted)).scalar_one()
    return count


async def held_by(transaction: Transaction, database: Database, of: Limits) -> Mapping[str, str]:
    """Return the limit that holds each handler of which nothing may begin now: name and use."""
    held = dict[str, str]()
    for use, handlers in await LimitUses(database).read_all(transaction, of):
        if use.permits < 1:
            held |= dict.fromkeys(handlers, f"{use.limit.name}: {use}")
    return held


async def set_limit(
    database: Database, of: Limits, name: str, decision: Decision, numbers: Mapping[str, int | None]
) -> None:
    """Replace the program's numbers; None: the program's number applies again.

    :raises LimitNotFound: if the program has no limit of this name
    """
    by_name = {limit.name: limit for limit in of.values()}
    if name not in by_name:
        raise LimitNotFound(name, by_name)
    uses, changed = LimitUses(database), sa.update(limits).where(limits.c.name == name)
    async with database.write_transaction() as transaction:
        await uses.create(transaction, name)
        await transaction.execute(changed.values(**numbers))
        now = (await uses.read(transaction, by_name[name])).limit
        await _explained(decision, now).store(transaction, database, "limit")
        transaction.notify_workers()
        await transaction.commit()


def in_words(at_once: int | None, per_minute: int | None) -> str:
    """Return the given numbers in words, such as "5 at once, 100 a minute"."""
    numbers = {"at once": at_once, "a minute": per_minute}
    return ", ".join(f"{number} {what}" for what, number in numbers.items() if number is not None)


def _explained(decision: Decision, now: Limit) -> Decision:
    """Return the decision with the numbers that apply from now on in its reason."""
    reason = f"{now.name}: {in_words(now.at_once, now.per_minute)}"
    given = f"; {decision.reason}" if decision.reason else ""
    return Decision(by=decision.by, reason=(reason + given)[:500])
