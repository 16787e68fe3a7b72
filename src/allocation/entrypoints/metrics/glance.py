"""One question to the database at a time, however many ask it, and an answer in a moment or none.

A call of a driver is waited for, also when nobody wants its answer any more. If each who asks made
one, those who ask every second would soon hold all connections of a database that says nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from anyio import Event, fail_after
from anyio.abc import TaskGroup

T = TypeVar("T")

PATIENCE_SECONDS = 2.0  # less than what those who scrape and probe have themselves


@dataclass(slots=True)
class _Asked(Generic[T]):
    """A question under way, and its answer, or what went wrong, when it is over."""

    is_over: Event = field(default_factory=Event)
    answers: list[T] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


class Glance(Generic[T]):
    """Asks in a task of the group, and gives the answer to all who wait for it."""

    def __init__(
        self,
        group: TaskGroup,
        ask: Callable[[], Awaitable[T]],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._group, self._ask, self._patience = group, ask, patience
        self._asked: _Asked[T] | None = None

    async def __call__(self) -> T:
        """Return the answer.

        :raises TimeoutError: if it does not come in time; the next to ask waits for the same one
        :raises Exception: what went wrong
        """
        if (asked := self._asked) is None:
            asked = self._asked = _Asked()
            self._group.start_soon(self._find_out, asked)
        with fail_after(self._patience):
            await asked.is_over.wait()
        if asked.errors:
            raise asked.errors[0]
        return asked.answers[0]

    async def _find_out(self, asked: _Asked[T]) -> None:
        try:
            asked.answers.append(await self._ask())
        except Exception as error:
            asked.errors.append(error)
        finally:
            self._asked = None
            asked.is_over.set()
