"""Deliveries on asyncpg: claimed and completed by the statements in the `.sql` file next to it."""

import logging
import re
from collections.abc import Collection, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from anyio import current_time

from aftercommit.claims import Claim, CommandWork
from aftercommit.codec import MAX_EVENT_LENGTH
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries import claim_statement, ends, store
from aftercommit.deliveries.ends import Batches, ClaimKey
from aftercommit.deliveries.inbox import row_of_command
from aftercommit.deliveries.new_events import Row
from aftercommit.deliveries.states import done
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.errors import DeliverySuperseded, InvalidPayload
from aftercommit.extensions.postgresql.single_statements import Records, SingleStatements
from aftercommit.giving_up import BEFORE_THAT, TOO_LATE, UNFINISHED
from aftercommit.limits import NO_LIMITS, Limit, Limits

_, *_PARTS = re.split(r"-- name: (\w+)\n", Path(__file__).with_suffix(".sql").read_text())
STATEMENTS = dict(zip(_PARTS[::2], _PARTS[1::2], strict=True))
NO_TIME = InvalidPayload("an event", "its time is not within the years 1 to 9999")

logger = logging.getLogger(__name__)


class AsyncpgDeliveryStore(store.SqlAlchemyDeliveryStore):
    """The delivery store of PostgreSQL: most statements of workers are executed here."""

    def __init__(
        self,
        statements: SingleStatements,
        database: Database,
        policy: DeliveryPolicy,
        limits: Limits = NO_LIMITS,
        instead: Collection[str] = (),
    ) -> None:
        super().__init__(database, policy, limits, instead)
        self._write_at_once = self._write if database.backend.writes_at_once else None
        self._statements, self._compiled = statements, cache(self._compile)
        completed = done(database.clock, policy.lease_seconds, again=True)
        self._completions = Batches(database, completed, end_all=self._complete_all)
        versions = database.codec.versions
        self._constants = {
            "before_that": BEFORE_THAT,
            "instead": list(instead),
            "process": database.process,
            "lease": policy.lease_seconds,
            "lease_expired": ends.LEASE_EXPIRED,
            "max_attempts": policy.max_attempts,
            "max_failures": ends.MAX_FAILURES,
            "max_length": MAX_EVENT_LENGTH,
            "no_time": ends.describe(NO_TIME),
            "too_late": TOO_LATE,
            "too_long": claim_statement.TOO_LONG,
            "types": list(versions),
            "unfinished": UNFINISHED,
            "unfinished_last": claim_statement.LAST_ATTEMPT_UNFINISHED,
            "versions": list(versions.values()),
        }

    async def _claim(
        self, most: int, handlers: Sequence[str], limit: Limit | None
    ) -> Sequence[Claim]:
        if limit:  # it counts with a statement that begins after the lock
            return await super()._claim(most, handlers, limit)
        leased_at, asked = current_time(), {"limit": most, "parts": len(handlers)}
        names = list(handlers)
        rows = await self._execute("claim", **asked, handlers=names, replay=False)
        rows = rows or await self._execute("claim", **asked, handlers=names, replay=True)
        found = [({**event, "handler": event["subscriber"]}, event) for event in rows]
        ends.log_taken_over(delivery for delivery, _ in found)
        for delivery, event in found:
            if event["problem"]:
                ends.log_parked(delivery, event["problem"])
        return await self._readable([each for each in found if not each[1]["problem"]], leased_at)

    async def _complete_all(self, claims: Sequence[ClaimKey]) -> set[ClaimKey]:
        ids, handlers, tokens = map(list, zip(*claims, strict=True))
        rows = await self._execute("complete", event_ids=ids, handlers=handlers, tokens=tokens)
        return {ClaimKey(row["event_id"], row["handler"], row["token"]) for row in rows}

    async def _write(
        self,
        transaction: Transaction,
        events: Sequence[Row],
        deliveries: Sequence[Row],
        completes: Claim | None,
        command: CommandWork | None,
    ) -> None:
        sql, names = self._compiled("write", 0, 0)

        def write(connection: sa.Connection) -> int:
            """Use SQLAlchemy, so that errors, their texts, and guards are those of other work."""
            values = {
                "events": _json(events),
                "deliveries": _json(deliveries),
                "commands": _json([row_of_command(command)] if command else []),
                "this_event_id": completes and completes.envelope.id,
                "this_handler": completes and completes.handler,
                "this_token": completes and completes.token,
                "lease": self._policy.lease_seconds,
            }
            parameters = tuple(values[name] for name in names)
            completed: int = connection.exec_driver_sql(sql, parameters).scalar_one()
            return completed

        if await transaction.run_sync(write) != 1 and completes:
            raise DeliverySuperseded(completes.envelope.id, completes.handler)

    async def _execute(
        self, name: str, *, limit: int = 0, parts: int = 0, **values: Any
    ) -> Records:
        sql, names = self._compiled(name, limit, parts)
        values |= self._constants
        return await self._statements.fetch(sql, [values[each] for each in names])

    def _compile(self, name: str, limit: int, parts: int) -> tuple[str, Sequence[str]]:
        """Return a statement in asyncpg's form, and the names of its parameters in order."""
        dialect, one = self.database.engine.dialect, STATEMENTS["due_of_one"]
        now = str(self.database.clock.compile(dialect=dialect))
        versions = range(1, claim_statement.latest_version(self.database.codec) + 1)
        each = (
            one.replace(":number", str(number)).replace(":this_version", str(version))
            for number, version in product(range(1, parts + 1), versions)
        )
        sql = STATEMENTS[name].replace(":due_of_each", "UNION ALL\n".join(each))
        sql = sql.replace(":now", now).replace(":limit", str(limit))
        compiled: Any = sa.text(sql).compile(dialect=dialect)
        return compiled.string, compiled.positiontup


def _json(rows: Sequence[Row]) -> str:
    """Return rows as text: for no type of its own does asyncpg query each connection."""
    return msgspec.json.encode(rows).decode()
