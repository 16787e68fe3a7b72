"""How much of a limit is used; an index of limited handlers only counts running deliveries.

A claim by a limit first locks the limit's row, and then counts in a separate statement. One
statement would count in its snapshot, from before the lock, and miss the claims of those that held
the lock meanwhile: then 37 ran at once with a limit of five.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.rare import rare
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import RUNNING, deliveries, limits
from aftercommit.limits import Limit, Limits, LimitUse, claimed_together

NAME = sa.bindparam("of_limit", type_=sa.String)
CREATE = sa.text(
    "INSERT INTO aftercommit_limits (name) VALUES (:of_limit) ON CONFLICT DO NOTHING RETURNING name"
)
ADD_CLAIMS = (
    sa.update(limits)
    .where(limits.c.name == NAME)
    .values(
        claims=limits.c.claims + sa.bindparam("number", type_=sa.Integer),
        claimed_at=sa.bindparam("now", type_=sa.Double),
        tat=sa.bindparam("new_tat", type_=sa.Double),
    )
)


class LimitUses:
    """Reads the use of limits, and adds to it."""

    def __init__(self, database: Database) -> None:
        now, name = database.clock, limits.c.name
        locked = sa.select(name, *database.backend.end_if_idle).where(name == NAME)
        self._lock = locked.with_for_update(skip_locked=True)
        running = RUNNING, rare(deliveries.c.limit_name == NAME), deliveries.c.available_at > now
        count = sa.select(sa.func.count()).select_from(deliveries).where(*running)
        first = sa.select(sa.func.min(deliveries.c.available_at)).where(*running)
        one, stored = sa.select(sa.literal(1).label("one")).subquery(), limits.c
        self._read = sa.select(
            now.label("now"),
            count.scalar_subquery().label("running"),
            first.scalar_subquery().label("next_end"),
            *(stored.at_once, stored.per_minute, stored.tat, stored.claimed_at),
        ).select_from(one.outerjoin(limits, stored.name == NAME))

    async def read(self, transaction: Transaction, limit: Limit) -> LimitUse:
        """Return how much of a limit is used now. An operator's numbers override its own."""
        asked = {"of_limit": limit.name}
        row = (await transaction.execute(self._read, asked)).one()
        return LimitUse(
            limit=Limit(
                limit.name, row.at_once or limit.at_once, row.per_minute or limit.per_minute
            ),
            now=row.now,
            running=row.running,
            next_end=row.next_end,
            tat=row.tat or 0.0,
            claimed_at=row.claimed_at,
        )

    async def read_all(
        self, transaction: Transaction, of: Limits
    ) -> list[tuple[LimitUse, Sequence[str]]]:
        """Return the use of each limit, by its name, with the handlers that share it."""
        groups = claimed_together(of, of)
        return [(await self.read(transaction, of[its[0]]), its) for its in groups]

    async def lock(self, transaction: Transaction, limit: Limit) -> LimitUse | None:
        """Return the use of a limit, and let nobody else claim by it until this transaction ends.

        Return None if somebody else is claiming by it now. SQLite has one writer, which is this. A
        process that is frozen meanwhile keeps a limit for `end_if_idle`, where the server can end
        its transaction; on SQLite, it keeps everything.
        """
        found = (await transaction.execute(self._lock, {"of_limit": limit.name})).first()
        if not found and not await self.create(transaction, limit.name):
            return None
        return await self.read(transaction, limit)

    async def create(self, transaction: Transaction, name: str) -> bool:
        """Store a limit that is used for the first time; return whether it was missing."""
        created = await transaction.execute(CREATE, {"of_limit": name})
        return created.first() is not None

    async def add(self, transaction: Transaction, use: LimitUse, number: int) -> None:
        """Count more claims, in a transaction that has locked the limit."""
        new = {"number": number, "now": use.now, "new_tat": use.after(number)}
        await transaction.execute_dml(ADD_CLAIMS, {"of_limit": use.limit.name, **new})
