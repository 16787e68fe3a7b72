"""Deliveries on asyncpg: claimed and completed by statements in the file `.sql` beside."""

import logging
import re
from collections.abc import Collection, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from anyio import current_time
from sqlalchemy import text

from aftercommit.claims import Claim
from aftercommit.codec import MAX_EVENT_LENGTH
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.errors import InvalidPayload
from aftercommit.extensions.postgresql.single_statements import Records, SingleStatements
from aftercommit.sql import claim_ends, delivery_store
from aftercommit.sql.claim_ends import Batches, ClaimKey
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import done

_, *_PARTS = re.split(r"-- name: (\w+)\n", Path(__file__).with_suffix(".sql").read_text())
STATEMENTS = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
NO_TIME = InvalidPayload("an event", "its time is not within the years 1 to 9999")

logger = logging.getLogger(__name__)


class AsyncpgDeliveryStore(delivery_store.SqlAlchemyDeliveryStore):
    """The deliveries in PostgreSQL: most of what workers ask for is asked for in this way."""

    def __init__(
        self, statements: SingleStatements, database: Database, policy: DeliveryPolicy
    ) -> None:
        super().__init__(database, policy)
        self._statements, self._compiled = statements, cache(self._compile)
        completed = done(database.clock, policy.lease_seconds, again=True)
        self._completions = Batches(database, completed, end_all=self._complete_all)
        versions = database.codec.versions
        self._constants = {
            "process": database.process,
            "lease": policy.lease_seconds,
            "lease_expired": claim_ends.LEASE_EXPIRED,
            "max_attempts": policy.max_attempts,
            "max_failures": claim_ends.MAX_FAILURES,
            "max_length": MAX_EVENT_LENGTH,
            "no_time": claim_ends.describe(NO_TIME),
            "too_long": delivery_store.TOO_LONG,
            "types": list(versions),
            "unfinished": delivery_store.LAST_ATTEMPT_UNFINISHED,
            "versions": list(versions.values()),
        }

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        if not handlers:
            return ()
        leased_at, asked = current_time(), {"limit": limit, "parts": len(handlers)}
        names = list(handlers)
        rows = await self._execute("claim", **asked, handlers=names, replay=False)
        rows = rows or await self._execute("claim", **asked, handlers=names, replay=True)
        found = [({**event, "handler": event["subscriber"]}, event) for event in rows]
        delivery_store.log_taken_over(delivery for delivery, _ in found)
        for delivery, event in found:
            if event["problem"]:
                delivery_store.log_parked(delivery, event["problem"])
        return await self._readable([each for each in found if not each[1]["problem"]], leased_at)

    async def _complete_all(self, claims: Sequence[ClaimKey]) -> set[ClaimKey]:
        ids, handlers, tokens = map(list, zip(*claims, strict=True))
        rows = await self._execute("complete", event_ids=ids, handlers=handlers, tokens=tokens)
        return {ClaimKey(row["event_id"], row["handler"], row["token"]) for row in rows}

    async def _execute(
        self, name: str, *, limit: int = 0, parts: int = 0, **values: Any
    ) -> Records:
        sql, names = self._compiled(name, limit, parts)
        values |= self._constants
        return await self._statements.fetch(sql, [values[each] for each in names])

    def _compile(self, name: str, limit: int, parts: int) -> tuple[str, Sequence[str]]:
        """Return a statement as asyncpg wants it, and the names of its parameters in order."""
        dialect, one = self.database.engine.dialect, STATEMENTS["due_of_one"]
        now = str(self.database.clock.compile(dialect=dialect))
        versions = range(1, delivery_store.latest_version(self.database.codec) + 1)
        each = (
            one.replace(":number", str(number)).replace(":this_version", str(version))
            for number, version in product(range(1, parts + 1), versions)
        )
        sql = STATEMENTS[name].replace(":due_of_each", "UNION ALL\n".join(each))
        sql = sql.replace(":now", now).replace(":limit", str(limit))
        compiled: Any = text(sql).compile(dialect=dialect)
        return compiled.string, compiled.positiontup
