"""Registers the users of a CSV file, many at a time, in constant memory."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from allocation.bootstrap import Application
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from allocation.domain.exceptions import InvalidValue, Malformed, Refused
from allocation.domain.model import EmailAddress
from allocation.entrypoints.running import task_group
from allocation.service_layer.delivery import Failure

NAMESPACE = UUID("f1b4e1d6-9a0f-4bb4-8d3e-6c1c7d3f2a55")
CONCURRENCY = 8
CHUNK_ROWS = 100
COLUMNS = {"name", "email"}

Row = tuple[int, dict[str, str] | str]  # the line it starts on, and its cells or why it has none


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
        *,
        refuse: Callable[[str], None],
        advance: Callable[[int], None],
        fail: Callable[[tuple[Failure, ...]], None],
    ) -> None:
        self.summary = Summary()
        self._bus = application.bus
        self._refuse = refuse
        self._advance = advance
        self._fail = fail

    async def run(self, path: Path) -> Summary:
        """Register every user of the file; those already registered are left as they are.

        The user id is made from the e-mail address, so repeating the import repeats the commands.

        :raises InvalidValue: if the file has no columns name and email
        :raises Unavailable: if the database goes away; what is committed stays
        """
        send, receive = anyio.create_memory_object_stream[Row](CONCURRENCY)
        with _open(path, self._advance) as rows:
            async with task_group() as group, send:
                for _ in range(CONCURRENCY):
                    group.start_soon(self._register_all, receive)
                while chunk := await to_thread.run_sync(_take, rows):
                    for row in chunk:
                        await send.send(row)
        return self.summary

    async def _register_all(self, rows: MemoryObjectReceiveStream[Row]) -> None:
        async for line, cells in rows:
            try:
                await self._register(cells)
            except (Malformed, Refused) as error:
                self.summary.refused += 1
                self._refuse(f"line {line}: {error}")

    async def _register(self, cells: dict[str, str] | str) -> None:
        if isinstance(cells, str):
            raise InvalidValue("row", cells)
        email = EmailAddress(cells["email"])
        user_id = UserId(uuid5(NAMESPACE, email.key))
        command = RegisterUser(user_id=user_id, name=cells["name"], email=email.value)
        report = await self._bus.handle(command)
        self.summary.imported += bool(report.events)
        self.summary.known += not report.events
        self._fail(report.failures)


@contextmanager
def _open(path: Path, advance: Callable[[int], None]) -> Iterator[Iterator[Row]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield _rows(_counted(file, advance))


def _counted(lines: Iterator[str], advance: Callable[[int], None]) -> Iterator[str]:
    for line in lines:
        advance(len(line.encode(errors="surrogateescape")))
        yield line


def _rows(lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(lines)
    header = [cell.strip().lower() for cell in next(reader, [])]
    if not set(header) >= COLUMNS:
        raise InvalidValue("the first line", "does not name the columns name,email")
    while True:
        line = reader.line_num + 1
        try:
            cells = dict(zip(header, next(reader), strict=False))
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"is not valid CSV: {error}"
            continue
        if cells:
            yield line, cells if cells.keys() >= COLUMNS else "has too few cells"


def _take(rows: Iterator[Row]) -> list[Row]:
    return [row for _, row in zip(range(CHUNK_ROWS), rows, strict=False)]
