"""The limits of handlers: how much of each is used, what it holds, and an operator's numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.exceptions import LimitNotFound
from aftercommit.limits import Limit, Limits, LimitUse
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED
from aftercommit.sql.limit_uses import LimitUses
from aftercommit.sql.tables import CLAIMABLE, deliveries, limits
from aftercommit.sql.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerLimit:
    """A limit: the numbers of the program, those of an operator, and how much is used.

    `held` deliveries are due, and wait only for the limit. `may_begin` now; None: any number.
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
    use: str


async def handler_limits(
    transaction: Transaction, database: Database, of: Limits
) -> list[HandlerLimit]:
    """Return all limits of the program, by name."""
    row, found = limits.c, list[HandlerLimit]()
    stored = await transaction.execute(sa.select(row.name, row.at_once, row.per_minute))
    numbers = {each.name: each for each in stored}
    for name, handlers in named(of).items():
        limit = of[handlers[0]]
        use = await LimitUses(database).read(transaction, limit)
        due = await _due(transaction, database, handlers)
        own = numbers.get(name)
        can_begin = use.permits >= 1
        found.append(
            HandlerLimit(
                name=name,
                handlers=handlers,
                at_once=limit.at_once,
                per_minute=limit.per_minute,
                set_at_once=own and own.at_once,
                set_per_minute=own and own.per_minute,
                running=use.running,
                may_begin=int(use.permits) if use.permits < float("inf") else None,
                next_at=None if can_begin else datetime.fromtimestamp(use.permit_at, UTC),
                held=int(max(0, due - use.permits)),
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
    """Return by which limit each handler is held now of which none may begin: its name and use."""
    held = dict[str, str]()
    for name, handlers in named(of).items():
        use: LimitUse = await LimitUses(database).read(transaction, of[handlers[0]])
        if use.permits < 1:
            held |= dict.fromkeys(handlers, f"{name}: {use}")
    return held


def named(of: Limits) -> Mapping[str, Sequence[str]]:
    """Return the handlers of each limit, by its name."""
    names = sorted({limit.name for limit in of.values()})
    return {name: sorted(each for each, it in of.items() if it.name == name) for name in names}


async def set_limit(
    database: Database, of: Limits, name: str, decision: Decision, numbers: Mapping[str, int | None]
) -> None:
    """Let other numbers count than those of the program; None: those count again.

    :raises LimitNotFound: if the program has no limit of this name
    """
    if name not in (known := named(of)):
        raise LimitNotFound(name, known)
    uses, changed = LimitUses(database), sa.update(limits).where(limits.c.name == name)
    async with database.write_transaction() as transaction:
        await uses.create(transaction, name)
        await transaction.execute(changed.values(**numbers))
        now = (await uses.read(transaction, of[known[name][0]])).limit
        await _explained(decision, now).store(transaction, database, "limit")
        transaction.notify_workers()
        await transaction.commit()


def _explained(decision: Decision, now: Limit) -> Decision:
    """Return the decision with the numbers that count from now on in its reason."""
    said = {"at once": now.at_once, "a minute": now.per_minute}
    words = ", ".join(f"{number} {what}" for what, number in said.items() if number is not None)
    reason = f"{now.name}: {words}"
    given = f"; {decision.reason}" if decision.reason else ""
    return Decision(by=decision.by, reason=(reason + given)[:500])
