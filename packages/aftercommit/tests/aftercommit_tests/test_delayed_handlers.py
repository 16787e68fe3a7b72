"""A test runs each handler that is for later: as things were, and after they have changed."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aftercommit import App, Application, Handlers, IdempotencyKey, Later, on, testing

from aftercommit_tests.builders import a_command
from aftercommit_tests.things import app, handlers
from aftercommit_tests.things.app import APP, Settings
from aftercommit_tests.things.bell import Bell, RecordingBell
from aftercommit_tests.things.domain import MakeThing, RenameThing, ThingMade
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

LAMP = a_command("lamp")


async def made(application: Application) -> None:
    await application.bus.handle(LAMP)


async def renamed(application: Application) -> None:
    await application.bus.handle(RenameThing(thing_id=LAMP.thing_id, name="torch"))


async def nothing(application: Application) -> None:
    """What leads to no event."""


async def looks(event: ThingMade, uow: UnitOfWork) -> None:
    thing = await uow.things.get(event.thing_id)
    if thing.name == event.name:
        thing.polish()


async def polishes(event: ThingMade, uow: UnitOfWork) -> None:
    (await uow.things.get(event.thing_id)).polish()


async def writes(event: ThingMade, uow: UnitOfWork) -> None:
    uow.write(event.name)


async def rings(event: ThingMade, bell: Bell, idempotency_key: IdempotencyKey) -> None:
    await bell.ring("too late", idempotency_key=idempotency_key)


async def fails(event: ThingMade, uow: UnitOfWork) -> None:
    if (await uow.things.get(event.thing_id)).name != event.name:
        raise LookupError("another name")
    uow.write(event.name)


def with_later(handler: Callable[..., Awaitable[None]]) -> App[Settings]:
    """Return the application with a handler that comes a day later."""
    entry = on(ThingMade, Later(handler, after=timedelta(days=1)))
    commands = [on(MakeThing, handlers.make_thing), on(RenameThing, handlers.rename_thing)]
    table: Any = Handlers(commands=commands, events=[entry, *others()])

    def open_it(
        made: App[Any], settings: Settings, *, observers: Any, delivers: bool
    ) -> AbstractAsyncContextManager[Application]:
        bell = RecordingBell()
        return app.bootstrap(settings, handlers=table, bell=bell, observers=observers)

    return APP.with_parts(handlers=table, open=open_it)


def others() -> list[Any]:
    return [
        on(event, *listed) for event, listed in HANDLERS.events.items() if event is not ThingMade
    ]


async def test_a_handler_that_looks_at_the_state_passes(tmp_path: Path) -> None:
    """It has an effect if nothing has changed, and none afterwards."""
    await testing.check_delayed(with_later(looks), tmp_path, {looks: (made, renamed)})


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (polishes, "it records ThingPolished"),
        (writes, "it changes lines"),
        (rings, "it calls bell.ring"),
    ],
)
async def test_one_that_does_not_look_is_named_with_its_effect(
    handler: Callable[..., Awaitable[None]], told: str, tmp_path: Path
) -> None:
    """Events, rows and calls of a port are effects."""
    with pytest.raises(AssertionError) as refused:
        await testing.check_delayed(with_later(handler), tmp_path, {handler: (made, renamed)})

    said = str(refused.value)
    assert said.startswith(f"{handler.__name__} has an effect although renamed came before: ")
    assert told in said
    assert "let it check the state" in said


@pytest.mark.parametrize(
    ("scenarios", "told"),
    [
        ({}, "fails is Later, and the test does not know what can happen before it runs"),
        ({fails: (nothing, nothing)}, "fails has no effect even if nothing has changed"),
        ({fails: (made, renamed)}, "fails fails after renamed: LookupError"),
    ],
    ids=["missing", "no effect", "failing"],
)
async def test_what_would_show_nothing_is_refused(
    scenarios: Any, told: str, tmp_path: Path
) -> None:
    """A test that cannot fail is none; a delivery that fails waits for an operator."""
    check = partial(testing.check_delayed, with_later(fails), tmp_path)
    with pytest.raises(AssertionError) as refused:
        await check(scenarios)

    assert told in str(refused.value)
