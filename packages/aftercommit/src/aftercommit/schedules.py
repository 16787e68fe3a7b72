"""Times that become events: which of them have come since the last one. Pure: no I/O.

The library decides what an expression means, also where the clocks of a zone are changed: cronsim,
which does what Debian's cron does. All times here are seconds since 1970, or aware datetimes.
"""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import islice, takewhile
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from aftercommit.errors import InvalidValue, WiringError, install_hint

E_co = TypeVar("E_co", covariant=True)

EXTRA = "schedules"
MOST_COUNTED = 1_000
"""Missed times are counted up to this number, because each takes time, up to a millisecond."""
A_MINUTE = 60.0


class Due(NamedTuple):
    """The latest time that has come, and how many came before it that nobody has stored."""

    at: datetime
    missed: int


@dataclass(frozen=True, slots=True)
class Every(Generic[E_co]):
    """A schedule: at each time of a cron expression, an event is stored, once in all processes.

    `make` gets the time, in the zone `tz`, and returns the event. It only makes the event: it is
    also called at start, with the next time, so that its mistakes are found then. The events are
    `about` the given id, or else about the schedule's name.

    The expression has five fields: minute, hour, day of the month, month, day of the week. At the
    changes of summer time it means what it means to Debian's cron.

    Workers store the events. A new schedule begins when a worker first sees it. After an outage,
    only the latest time that was missed becomes an event. To rename a schedule, pass its first name
    as `renamed`, and it continues where it was.

    :raises InvalidValue: if the expression, the zone or a name is wrong, or if cronsim is missing

    >>> from dataclasses import dataclass
    >>> from datetime import date
    >>> from aftercommit import Every, Outbox, on
    >>> @dataclass(frozen=True)
    ... class NightHasCome:
    ...     day: date
    >>> async def send_summary(event: NightHasCome) -> None:
    ...     print(f"the summary of {event.day}")
    >>> nightly = Every("nightly", "0 3 * * *", lambda at: NightHasCome(at.date()), tz="Asia/Tokyo")
    >>> outbox = Outbox("shop", "sqlite:///a.db", [on(NightHasCome, send_summary)], every=[nightly])
    """

    name: str
    cron: str
    make: Callable[[datetime], E_co]
    _: KW_ONLY
    tz: str = "UTC"
    about: object = None
    renamed: str | None = None
    zone: tzinfo = field(init=False, repr=False, compare=False)  # here: it is read from a file

    def __post_init__(self) -> None:
        names: tuple[Any, ...] = (self.name, self.key)
        for name in names:
            if not (isinstance(name, str) and name and name.isprintable() and name == name.strip()):
                raise InvalidValue("the name of a schedule", f"is a line of text, not {name!r}")
        make: Any = self.make
        if not callable(make):
            problem = "needs a function that makes an event of a time, such as lambda at: …, not"
            raise InvalidValue(self._what, f"{problem} {make!r}")
        object.__setattr__(self, "zone", _zone(self._what, self.tz))
        _ensure_cron(self._what, self.cron)

    @property
    def key(self) -> str:
        """Its name in the database, which never changes: its first one."""
        return self.name if self.renamed is None else self.renamed

    @property
    def subject(self) -> str:
        """What its events are about."""
        return self.name if self.about is None else str(self.about)

    @property
    def _what(self) -> str:
        return f"the schedule {self.name}"

    def times_after(self, seconds: float) -> Iterator[datetime]:
        """Yield its times after this one; none, if the next is more than fifty years away."""
        from cronsim import CronSim

        for at in CronSim(self.cron, datetime.fromtimestamp(seconds, self.zone)):
            if at.timestamp() > seconds:  # in an hour that comes twice, it may begin with the first
                yield at

    def next_after(self, seconds: float) -> datetime | None:
        """Return its first time after this one."""
        return next(self.times_after(seconds), None)

    def due(self, last: float, now: float) -> Due | None:
        """Return the latest time after the `last` one that has come, or None."""
        if not (found := [*islice(self._come(last, now), MOST_COUNTED + 1)]):
            return None
        if len(found) > MOST_COUNTED:
            found[-1] = self._latest(found[-1], now)
        return Due(found[-1], len(found) - 1)

    def _come(self, after: float, now: float) -> Iterator[datetime]:
        return takewhile(lambda at: at.timestamp() <= now, self.times_after(after))

    def _latest(self, known: datetime, now: float) -> datetime:
        """Return the latest time that has come, without a walk through all after the known one."""
        first, seconds = known.timestamp(), A_MINUTE
        while not (found := [*self._come(max(first, now - seconds), now)]):
            if now - seconds <= first:
                return known
            seconds *= 2
        return found[-1]

    def event_at(self, at: datetime) -> E_co:
        """Return the event of a time.

        :raises WiringError: if its function fails
        """
        try:
            return self.make(at)
        except Exception as error:
            raised = f"raised {type(error).__name__}: {error}"
            raise WiringError(f"the function of {self._what} {raised}, at", str(at)) from error


def _zone(what: str, tz: Any) -> tzinfo:
    try:
        return UTC if tz == "UTC" else ZoneInfo(tz)
    except Exception as error:
        hint = f"Europe/Berlin is one; if no zone is known here, {install_hint(EXTRA)}"
        raise InvalidValue(what, f"has the zone {tz!r}, which is not known ({hint})") from error


def _ensure_cron(what: str, cron: Any) -> None:
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError:
        raise InvalidValue(what, f"needs cronsim; {install_hint(EXTRA)}") from None
    form = "has five fields (minute, hour, day of the month, month, day of the week)"
    if not isinstance(cron, str) or len(cron.split()) != 5:
        raise InvalidValue(what, f"has the cron expression {cron!r}, and such an expression {form}")
    try:
        first = next(CronSim(cron, datetime(2000, 1, 1)), None)
    except CronSimError as error:
        problem = f"has the cron expression {cron!r}: {str(error).lower()}"
        raise InvalidValue(what, f"{problem}; it {form}") from None
    if first is None:
        raise InvalidValue(what, f"has the cron expression {cron!r}, whose time never comes")
