"""The circuit breaker: who tries a resource that is down, and who need not."""

import anyio
import pytest
from aftercommit import Unavailable
from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint

from aftercommit_tests.inside.process import CircuitBreaker, circuit_breaker

pytestmark = pytest.mark.anyio


class Away(Unavailable):
    """The resource is down."""


def a_breaker() -> CircuitBreaker:
    return CircuitBreaker(Away, outages=(Away, TimeoutError))


def fail(breaker: CircuitBreaker, error: Exception) -> None:
    with pytest.raises(type(error)), breaker.attempt():
        raise error


@pytest.mark.parametrize("outage", [Away("it is cut"), TimeoutError("it is cut")])
async def test_after_an_outage_attempts_fail_without_trying(outage: Exception) -> None:
    """As unavailable, whatever the outage was: nothing was tried, so nothing counts."""
    breaker = a_breaker()
    fail(breaker, outage)

    with pytest.raises(Away, match="it is cut; it will be tried again soon"), breaker.attempt():
        pytest.fail("it was tried")


async def test_an_error_that_is_no_outage_hurts_no_other_attempt() -> None:
    """A refused message says nothing about the next one."""
    breaker = a_breaker()
    fail(breaker, ValueError("refused"))

    with breaker.attempt():
        pass


async def test_after_the_pause_one_attempt_tries_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource that stays away must not hold up all who need it again and again."""
    times = [0.0]
    monkeypatch.setattr(circuit_breaker, "current_time", lambda: times[-1])
    breaker, answer = a_breaker(), Event()
    fail(breaker, Away("it is cut"))
    times.append(circuit_breaker.PAUSE_SECONDS)

    async def try_it() -> None:
        with breaker.attempt():
            await answer.wait()

    async with create_task_group() as group:
        group.start_soon(try_it)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Away), breaker.attempt():
            pytest.fail("it was tried")
        answer.set()
    with breaker.attempt(), breaker.attempt():
        pass  # it is back: all may


async def test_an_attempt_that_is_cancelled_has_not_found_out_anything() -> None:
    """Neither that the resource is down, nor that it is back."""
    working, away = a_breaker(), a_breaker()
    with CancelScope() as scope, working.attempt(), away.attempt():
        fail(away, Away("it is cut"))
        scope.cancel()
        await checkpoint()

    with working.attempt():
        pass
    with pytest.raises(Away), away.attempt():
        pytest.fail("it was tried")
