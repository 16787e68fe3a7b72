"""Registers the users of a CSV file, many with one commit, in constant memory."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from uuid import UUID, uuid5

from anyio import to_thread

from allocation.adapters.operations.sharing import Sharing
from allocation.bootstrap import Application
from allocation.domain.commands import RegisterUser
from allocation.domain.events import UserId
from allocation.domain.exceptions import Conflict, InvalidValue, Malformed, Refused, Unavailable
from allocation.domain.values import EmailAddress, PersonName
from allocation.entrypoints.operations.csv_rows import Row
from allocation.entrypoints.operations.together import execute_all
from allocation.service_layer.delivery import Failure
from allocation.service_layer.envelopes import Envelope, ReceivedMessage

NAMESPACE = UUID("f1b4e1d6-9a0f-4bb4-8d3e-6c1c7d3f2a55")
IMPORT = ReceivedMessage(source="import")
CHUNK_ROWS = 100  # with one commit: more are hardly faster, and keep other writers waiting
INLINE_CHUNK_ROWS = 10  # all their handlers are at work at once, and have one lease

Outcome = tuple[Envelope, ...] | Exception  # what a row has caused, or why it was refused


@dataclass(slots=True)
class Summary:
    """How many rows came out how, and how many deliveries are left to workers."""

    imported: int = 0
    known: int = 0
    refused: int = 0
    left: int = 0

    @property
    def rows(self) -> int:
        """How many rows there were until now."""
        return self.imported + self.known + self.refused


class Import:
    """Imports rows. They are independent: a bad one does not stop the others.

    `summary` counts them; `refuse` is told why one is not imported, in the order of the lines, and
    `fail` which deliveries failed. `inline`: handlers of events are run here, not left to workers.
    """

    def __init__(
        self,
        application: Application,
        summary: Summary,
        refuse: Callable[[str], Awaitable[None]],
        fail: Callable[[Sequence[Failure]], None],
        *,
        inline: bool,
    ) -> None:
        bus = application.bus
        policy = replace(bus.policy, inline=inline)
        self._sharing = Sharing(application.database, policy, bus.envelope_factory)
        self._bus = replace(bus, policy=policy, new_uow=self._sharing.new_uow)
        self._summary = summary
        self._refuse = refuse
        self._fail = fail
        self._chunk_rows = INLINE_CHUNK_ROWS if inline else CHUNK_ROWS

    async def run(self, rows: Iterator[Row]) -> None:
        """Register every user of the rows; those already registered are left as they are.

        The user id is made from the e-mail address, so repeating the import repeats the commands.
        A user whose name or address has changed since is refused, and left as it is.

        :raises InvalidValue: if the file has no columns name and email
        :raises Unavailable: if the database goes away, or takes too long; what is committed stays
        """
        while chunk := await to_thread.run_sync(_take, rows, self._chunk_rows):
            await self._import([(line, _read(cells)) for line, cells in chunk])

    async def _import(self, rows: Sequence[tuple[int, RegisterUser | InvalidValue]]) -> None:
        executed = await self._execute([row for _, row in rows if isinstance(row, RegisterUser)])
        outcomes = iter(executed)
        for line, row in rows:
            await self._count(line, next(outcomes) if isinstance(row, RegisterUser) else row)
        await self._dispatch(chain.from_iterable(o for o in executed if isinstance(o, tuple)))

    async def _execute(self, commands: Sequence[RegisterUser]) -> Sequence[Outcome]:
        """Execute commands with one commit, or else each alone: one of them may be the reason."""
        bus, users = self._bus, [command.user_id for command in commands]
        try:
            return await execute_all(bus, self._sharing, commands, IMPORT, users=users)
        except Unavailable:
            raise
        except Exception:
            return [await self._execute_alone(command) for command in commands]

    async def _execute_alone(self, command: RegisterUser) -> Outcome:
        try:
            return await self._bus.execute(command, IMPORT)
        except (Malformed, Refused, Conflict) as error:
            return error

    async def _count(self, line: int, outcome: Outcome) -> None:
        if isinstance(outcome, Exception):
            self._summary.refused += 1
            await self._refuse(f"line {line}: {outcome}")
        else:
            self._summary.imported += bool(outcome)
            self._summary.known += not outcome

    async def _dispatch(self, events: Iterable[Envelope]) -> None:
        if self._bus.policy.inline:
            self._fail((await self._bus.dispatch(events)).failures)
        else:
            self._summary.left += sum(map(len, map(self._bus.envelope_factory.subscribers, events)))


def _read(cells: dict[str, str] | str) -> RegisterUser | InvalidValue:
    """Return the command that a row says, or why it says none."""
    try:
        if isinstance(cells, str):
            raise InvalidValue("row", cells)
        email, name = EmailAddress(cells["email"]), PersonName(cells["name"])
    except InvalidValue as error:
        return error
    user_id = UserId(uuid5(NAMESPACE, email.key))
    return RegisterUser(user_id=user_id, name=name.value, email=email.value)


def _take(rows: Iterator[Row], count: int) -> list[Row]:
    return list(islice(rows, count))
