"""Registers the users of a CSV file, many at a time, in constant memory."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from allocation.bootstrap import Application
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from allocation.domain.exceptions import Conflict, InvalidValue, Malformed, Refused
from allocation.domain.values import EmailAddress
from allocation.entrypoints.operations.csv_rows import Row
from allocation.entrypoints.running import task_group
from allocation.service_layer.delivery import Failure

NAMESPACE = UUID("f1b4e1d6-9a0f-4bb4-8d3e-6c1c7d3f2a55")
CONCURRENCY = 8
CHUNK_ROWS = 100


@dataclass(slots=True)
class Summary:
    """How many rows came out how."""

    imported: int = 0
    known: int = 0
    refused: int = 0


class Import:
    """One run over one file. Rows are independent: a bad one does not stop the others."""

    def __init__(
        self,
        application: Application,
        refuse: Callable[[str], Awaitable[None]],
        fail: Callable[[Sequence[Failure]], None],
    ) -> None:
        self._summary = Summary()
        self._bus = application.bus
        self._refuse = refuse
        self._fail = fail

    async def run(self, rows: Iterator[Row]) -> Summary:
        """Register every user of the rows; those already registered are left as they are.

        The user id is made from the e-mail address, so repeating the import repeats the commands.
        A user whose name or address has changed since is refused, and left as it is.

        :raises InvalidValue: if the file has no columns name and email
        :raises Unavailable: if the database goes away; what is committed stays
        """
        send, receive = anyio.create_memory_object_stream[Row](CONCURRENCY)
        async with receive, task_group() as group, send:
            for _ in range(CONCURRENCY):
                group.start_soon(self._register_all, receive)
            while chunk := await to_thread.run_sync(_take, rows):
                for row in chunk:
                    await send.send(row)
        return self._summary

    async def _register_all(self, rows: MemoryObjectReceiveStream[Row]) -> None:
        async for line, cells in rows:
            try:
                await self._register(cells)
            except (Malformed, Refused, Conflict) as error:
                self._summary.refused += 1
                await self._refuse(f"line {line}: {error}")

    async def _register(self, cells: dict[str, str] | str) -> None:
        if isinstance(cells, str):
            raise InvalidValue("row", cells)
        email = EmailAddress(cells["email"])
        user_id = UserId(uuid5(NAMESPACE, email.key))
        command = RegisterUser(user_id=user_id, name=cells["name"], email=email.value)
        report = await self._bus.handle(command)
        self._summary.imported += bool(report.events)
        self._summary.known += not report.events
        self._fail(report.failures)


def _take(rows: Iterator[Row]) -> list[Row]:
    return [row for _, row in zip(range(CHUNK_ROWS), rows, strict=False)]
