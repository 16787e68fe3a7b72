"""What a schedule means, without a database: its times, where clocks are changed, and errors."""

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aftercommit import Every, Handlers, InvalidValue, on
from aftercommit.errors import WiringError

from aftercommit_tests.builders import an_envelope_factory
from aftercommit_tests.inside.stored import schedule_rows
from aftercommit_tests.things.domain import ThingMade, ThingPolished

BERLIN = ZoneInfo("Europe/Berlin")


def an_every(cron: str = "0 3 * * *", **changed: Any) -> Every[str]:
    return Every(**{"name": "nightly", "cron": cron, "make": str, "tz": "Europe/Berlin", **changed})


def at(text: str, **time: Any) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, **time).timestamp()


def times(every: Every[str], after: float, count: int) -> list[str]:
    found = every.times_after(after)
    return [next(found).isoformat() for _ in range(count)]


def test_the_hour_that_is_left_out_in_spring() -> None:
    """What would come in it comes at its end; what comes every half hour goes on."""
    nightly, half_hourly = an_every("30 2 * * *"), an_every("*/30 * * * *")

    assert times(nightly, at("2026-03-28T12:00"), 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]
    assert times(half_hourly, at("2026-03-29T01:15"), 2) == [
        "2026-03-29T01:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
    ]


def test_the_hour_that_comes_twice_in_autumn() -> None:
    """A nightly time comes once, at the first; what comes every half hour comes in both."""
    nightly, half_hourly = an_every("30 2 * * *"), an_every("*/30 * * * *")

    assert times(nightly, at("2026-10-24T12:00"), 2) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]
    assert times(half_hourly, at("2026-10-25T02:10"), 3) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
    ]


@pytest.mark.parametrize("cron", ["30 2 * * *", "15,45 2 * * *", "0 1-3 * * *", "*/20 * * * *"])
def test_no_time_is_before_the_one_after_which_it_comes(cron: str) -> None:
    """From each minute of both nights: an event would be stored twice, or never."""
    for day in ("2026-03-29", "2026-10-25"):
        begin = at(f"{day}T00:00")
        all_times = [each.timestamp() for each in an_every(cron)._come(begin, begin + 30 * 3600)]
        for minute in range(5 * 60):
            after = begin + 60 * minute + 7

            found = an_every(cron).next_after(after)

            assert found is not None
            assert found.timestamp() == next(each for each in all_times if each > after)


def test_after_an_outage_the_latest_time_counts_and_the_others_are_counted() -> None:
    """Forty summaries in a row would help nobody."""
    nightly, last = an_every(), at("2026-05-01T03:00")

    assert nightly.due(last, last + 86_399) is None
    assert nightly.due(last, at("2026-05-02T03:00")) == (datetime(2026, 5, 2, 3, tzinfo=BERLIN), 0)
    assert nightly.due(last, at("2026-05-11T12:00")) == (datetime(2026, 5, 11, 3, tzinfo=BERLIN), 9)


@pytest.mark.parametrize("cron", ["* * * * *", "*/7 3,14 * * 2", "0 12 1 1 *", "* * 1 1 *"])
def test_a_very_long_outage_takes_no_long_time(cron: str) -> None:
    """Thirty years of minutes are found without a walk through all of them: it would take ages."""
    every, now = an_every(cron), datetime(2026, 5, 11, 14, 22, 30, tzinfo=BERLIN)

    due = every.due((now - timedelta(days=30 * 365)).timestamp(), now.timestamp())

    assert due is not None
    later = every.next_after(due.at.timestamp())
    assert later is not None
    assert due.at <= now < later
    assert due.missed == (29 if cron == "0 12 1 1 *" else 1000)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "letters": ({"cron": "at three"}, "has the cron expression 'at three', and .* has five fields"),
    "a minute": ({"cron": "61 3 * * *"}, "'61 3 . . .': bad minute; it has five fields"),
    "seconds": ({"cron": "0 0 3 * * *"}, "'0 0 3 . . .', and such an expression has five fields"),
    "a day": ({"cron": "0 3 30 2 *"}, "'0 3 30 2 .': bad day-of-month"),
    "never": ({"cron": "0 3 */20 * 1L"}, "whose time never comes"),
    "a zone": ({"tz": "Europe/Bonn"}, "has the zone 'Europe/Bonn', which is not known"),
    "a name": ({"name": ""}, "the name of a schedule is a line of text, not ''"),
    "a first name": ({"renamed": "a\nb"}, "the name of a schedule is a line of text"),
    "an event": ({"make": ThingMade(thing_id=None, name="")}, "needs a function that makes"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_where_it_is_made(mistake: str) -> None:
    """Not at three in the morning."""
    changed, told = WRONG[mistake]

    with pytest.raises(InvalidValue, match=told):
        an_every(**changed)


def test_without_its_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only applications with schedules need it."""
    monkeypatch.setitem(sys.modules, "cronsim", None)

    told = r'the schedule nightly needs cronsim; pip install "aftercommit\[schedules\]"'
    with pytest.raises(InvalidValue, match=told):
        an_every()


def mistake_the_type(at: datetime) -> ThingMade:
    return ThingMade(thing_id=at, name="at night")  # type: ignore[arg-type]


def fail(at: datetime) -> ThingMade:
    raise LookupError("no such night")


MISWIRED: dict[str, tuple[Callable[[datetime], Any], str]] = {
    "fails": (fail, "the function of the schedule nightly raised LookupError: no such night, at"),
    "another type": (
        mistake_the_type,
        "the schedule nightly makes an event that could not be read again: invalid payload of",
    ),
    "no entry": (str, r"makes an event that has no entry: add on\(str, …\) to the table"),
}


@pytest.mark.parametrize("mistake", MISWIRED)
def test_an_event_that_cannot_be_made_is_found_at_start(mistake: str) -> None:
    """The next one is made, and not stored."""
    make, told = MISWIRED[mistake]

    with pytest.raises(WiringError, match=told):
        schedule_rows.check_schedules([an_every(make=make)], an_envelope_factory())


def test_two_schedules_cannot_share_a_row() -> None:
    """Nor can one have the first name of another: of their times, some would be lost."""
    one = an_every(make=lambda at: ThingPolished(thing_id=None, name=str(at)))  # type: ignore[arg-type]
    other = an_every(name="other", renamed="nightly")

    with pytest.raises(WiringError, match="two schedules have one name: nightly"):
        schedule_rows.check_schedules([one, other], an_envelope_factory())


def test_a_table_takes_schedules_only() -> None:
    """A cron expression alone makes no event."""
    wrong: Any = ["0 3 * * *"]

    with pytest.raises(WiringError, match="`every` is a list of Every.*'0 3 "):
        Handlers[Any, Any](commands=[], events=[on(ThingMade)], every=wrong)
