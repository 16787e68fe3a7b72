"""Observers: what they see of the work, and that they cannot hurt it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import anyio
import pytest
from aftercommit import Observer, Outcome
from aftercommit.errors import ConcurrentUpdate, HandlerTimeout, LeaseExpired
from anyio.lowlevel import checkpoint

from aftercommit_tests.builders import (
    NAMES,
    POLICY,
    a_claim,
    a_command,
    a_command_work,
    a_thing_id,
)
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Claim, CommandWork, Handler
from aftercommit_tests.inside.process import CompositeObserver
from aftercommit_tests.misbehaving import hangs, on_made, raising, works
from aftercommit_tests.things.domain import Event, MakeThing, RenameThing, ThingNotFound
from aftercommit_tests.things.handlers import HANDLERS, announce
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio


class Recorder(Observer):
    """An observer that remembers what it has seen, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        self.seen.append(("begin", name))
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.seen.append(("end", error))

    def command(self, envelope: CommandWork, seconds: float) -> AbstractContextManager[None]:
        return self.watch(envelope.name)

    def attempt(self, delivery: Claim, seconds: float) -> AbstractContextManager[None]:
        return self.watch(delivery.name)

    def port_call(self, port: str, method: str) -> AbstractContextManager[None]:
        return self.watch(f"{port}.{method}")

    def finished(self, outcome: Outcome) -> None:
        self.seen.append((outcome.status, outcome.work.name))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.mark.parametrize(
    ("handler", "error", "outcome"),
    [
        (works, None, "succeeded"),
        (raising(OSError()), OSError, "retried"),
        (hangs, HandlerTimeout, "retried"),
    ],
)
async def test_an_observer_sees_begin_end_and_outcome(
    new_world: NewWorld,
    recorder: Recorder,
    handler: Handler[Event, None],
    error: type[Exception] | None,
    outcome: str,
) -> None:
    """Of the command, and then of each delivery: with the error that is stored, if it has failed.

    Anyone who counts what runs would otherwise count what has failed forever.
    """
    policy = replace(POLICY, handler_timeout_seconds=3.0)
    world = await new_world(event_handlers=on_made(handler), policy=policy, observers=[recorder])

    await world.bus.handle(a_command())

    assert recorder.seen[:3] == [("begin", "MakeThing"), ("end", None), ("succeeded", "MakeThing")]
    begin, (end, raised), finished = recorder.seen[3:]
    assert (begin, end) == (("begin", handler.__name__), "end")
    assert type(raised) is (error or type(None))
    assert finished == (outcome, handler.__name__)


async def test_an_observer_works_in_the_task_that_runs_the_handler(new_world: NewWorld) -> None:
    """So it can set what the handler, and all it calls, will find."""
    found: list[str] = []
    ambient: ContextVar[str] = ContextVar("ambient")

    class Sets(Observer):
        @contextmanager
        def attempt(self, delivery: Claim, seconds: float) -> Iterator[None]:
            ambient.set("set by the observer")
            yield

    async def finds(event: Event) -> None:
        found.append(ambient.get("nothing"))

    world = await new_world(event_handlers=on_made(finds), observers=[Sets()])
    await world.bus.handle(a_command())

    assert found == ["set by the observer"]


async def test_an_observer_sees_lost_races(new_world: NewWorld, recorder: Recorder) -> None:
    """They cost time, and somebody may want to know how much."""

    async def loses(command: MakeThing, uow: UnitOfWork) -> None:
        if len(recorder.seen) < 3:
            raise ConcurrentUpdate

    handlers = {**HANDLERS.commands, MakeThing: loses}
    world = await new_world(command_handlers=handlers, observers=[recorder])

    await world.bus.handle(a_command())

    assert recorder.seen[1:3] == [("conflict", "MakeThing")] * 2


async def test_an_observer_sees_the_calls_to_external_systems(
    new_world: NewWorld, recorder: Recorder
) -> None:
    """Begin and end, within those of the attempt; and why one has failed."""
    world = await new_world(event_handlers=on_made(announce), observers=[recorder])
    stuck = world.bell.failures["lamp"] = OSError("the bell is stuck")

    await world.bus.handle(a_command("lamp"))

    begun = [("begin", "announce"), ("begin", "bell.ring")]
    assert recorder.seen[3:7] == [*begun, ("end", stuck), ("end", stuck)]


async def ring(text: str) -> str:
    """Be a port by itself."""
    await checkpoint()
    return text


class Client:
    """Rings in each way in which an object of others may be used."""

    def __init__(self, text: str = "ding") -> None:
        self.text = text

    async def __call__(self, text: str) -> str:
        return await ring(text)

    async def __aenter__(self) -> Self:
        await checkpoint()
        return self

    async def __aexit__(self, *error: object) -> None:
        await checkpoint()

    async def __aiter__(self) -> AsyncIterator[str]:
        yield await ring(self.text)

    async def ring(self) -> str:
        return await ring(self.text)


async def calls(port: Any) -> str:
    return str(await port("ding"))


async def iterates(port: Any) -> str:
    return "".join([text async for text in port])


async def enters(port: Any) -> str:
    async with port as client:
        return str(await client.ring())


USES: dict[str, tuple[object, Callable[[Any], Awaitable[str]], list[str]]] = {
    "an async function": (ring, calls, ["__call__"]),
    "a partial of one": (partial(ring), calls, ["__call__"]),
    "a bound method": (Client().__call__, calls, ["__call__"]),
    "an object that can be called": (Client(), calls, ["__call__"]),
    "an object that is entered": (Client(), enters, ["__aenter__", "__aexit__"]),
    # what is no coroutine function has begun nothing yet
    "a plain function": (lambda text: ring(text), calls, []),
    "a class": (Client, lambda port: port("ding").ring(), []),
    "objects by name": ({"one": Client()}, lambda port: port["one"].ring(), []),
    "an object that is iterated": (Client(), iterates, []),
}


@pytest.mark.parametrize(("port", "use", "seen"), USES.values(), ids=USES)
async def test_a_port_is_used_as_it_can_be_used(
    recorder: Recorder, port: object, use: Callable[[Any], Awaitable[str]], seen: list[str]
) -> None:
    """It has passed the start: each attempt would fail if what stands for it could do less."""
    observed = CompositeObserver([recorder]).port("bell", port)

    assert await use(observed) == "ding"

    assert [what for when, what in recorder.seen if when == "begin"] == [f"bell.{m}" for m in seen]


async def test_an_observer_sees_an_attempt_that_was_not_begun(
    new_world: NewWorld, recorder: Recorder
) -> None:
    """Its lease was over before: anyone who counts attempts has to know what became of it."""
    world = await new_world(observers=[recorder])
    late = replace(a_claim(), leased_at=anyio.current_time() - POLICY.lease_seconds)

    await world.bus.run([late])

    (_, begun), (_, error), outcome = recorder.seen
    assert (begun, type(error)) == (late.handler, LeaseExpired)
    assert outcome == ("handed over", late.handler)


class Fails(Observer):
    """An observer that fails at the call, the begin, the end, or the outcome."""

    def __init__(self, moment: str, raised: BaseException) -> None:
        self._moment, self._raised = moment, raised

    def command(self, envelope: CommandWork, seconds: float) -> Self:
        return self.at("call")

    def attempt(self, delivery: Claim, seconds: float) -> Self:
        return self.at("call")

    def port_call(self, port: str, method: str) -> Self:
        return self.at("call")

    def finished(self, outcome: Outcome) -> None:
        self.at("outcome")

    def at(self, moment: str) -> Self:
        if moment == self._moment:
            raise self._raised
        return self

    def __enter__(self) -> None:
        self.at("begin")

    def __exit__(self, *error: object) -> bool:
        return bool(self.at("end"))  # which would swallow an error


@pytest.mark.parametrize("moment", ["call", "begin", "end", "outcome"])
@pytest.mark.parametrize("raised", [SystemExit(), asyncio.CancelledError(), RuntimeError()])
async def test_whatever_an_observer_raises_is_logged(
    new_world: NewWorld,
    recorder: Recorder,
    raised: BaseException,
    moment: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may neither end the program nor make a cancellation up, nor hide it from the others."""
    world = await new_world(observers=[Fails(moment, raised), recorder])

    report = await world.bus.handle(a_command())

    assert (report.failures, await world.deliveries()) == ([], {})
    assert "an observer failed" in caplog.text
    seen = [what for what, _ in recorder.seen]
    assert seen.count("begin") == seen.count("end")
    assert {("begin", name) for name in NAMES} < {*recorder.seen}


async def test_an_observer_sees_why_a_command_was_refused_and_cannot_swallow_it(
    new_world: NewWorld, recorder: Recorder
) -> None:
    """It leaves no row: who counts refusals has nothing else to count."""
    world = await new_world(observers=[recorder, Fails("never", RuntimeError())])

    with pytest.raises(ThingNotFound) as refused:
        await world.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))

    assert recorder.seen == [("begin", "RenameThing"), ("end", refused.value)]


def test_ctrl_c_is_not_kept_by_an_observer() -> None:
    """It comes whenever it comes, and somebody waits for the program to end."""
    for moment in ("call", "outcome"):
        instrumentation = CompositeObserver([Fails(moment, KeyboardInterrupt())])

        with pytest.raises(KeyboardInterrupt):
            with instrumentation.port_call("bell", "ring"):
                pass
            instrumentation.finished(Outcome(a_claim(), "succeeded"))


async def test_what_stands_before_a_port_is_not_in_its_way() -> None:
    """A port may have attributes, which nobody watches, and parameters of any name."""
    sent: list[str] = []

    async def send(*, name: str, function: str) -> None:
        sent.append(f"{name} {function}")

    port = SimpleNamespace(place="a folder", send=send)

    watched = CompositeObserver([Fails("call", KeyboardInterrupt())])
    assert watched.port("mail", port).place == "a folder"
    await CompositeObserver().port("mail", port).send(name="letter", function="greeting")
    assert sent == ["letter greeting"]


@pytest.mark.parametrize("method", ["command", "attempt", "port_call", "finished", "message"])
def test_an_observer_is_asked_for_whatever_it_has_of_its_own(method: str) -> None:
    """What it leaves as it is costs nothing; so each method is looked at, and not the class."""
    seen: list[str] = []

    def watch(self: Observer, *what: object) -> AbstractContextManager[None]:
        seen.append(method)
        return nullcontext()

    both = CompositeObserver([type("Watches", (Observer,), {method: watch})(), Observer()])
    with (
        both.command(a_command_work(), 1.0),
        both.attempt(a_claim(), 1.0),
        both.port_call("bell", "ring"),
    ):
        both.finished(Outcome(a_claim(), "succeeded"))
        both.message("commands", "executed")

    assert seen == [method]
