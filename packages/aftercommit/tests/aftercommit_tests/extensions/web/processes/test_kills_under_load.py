"""The server is killed in the middle of requests, again and again: nobody notices."""

import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from uuid import UUID

import httpx
import pytest

from aftercommit_tests.extensions.web.processes.serving import serving
from aftercommit_tests.processes import LIMIT_SECONDS, PATIENCE, Installation, owed

pytestmark = [pytest.mark.on("sqlite"), pytest.mark.check]

NAMES = sorted(f"thing-{number}" for number in range(120))
CALLERS = 20
KILLS = 3
SEED = 2026


class Callers:
    """Make things by several connections at once, and remember what was answered."""

    def __init__(self) -> None:
        self.answers: dict[str, UUID] = {}  # id of the thing, by name
        self.cut_off = 0
        self._lock = Lock()
        self._kill_at = 0
        self._kill: Callable[[], None] = lambda: None

    def kill_at(self, answers: int, kill: Callable[[], None]) -> None:
        """Let a server be killed as soon as there are so many answers.

        Whoever got one waits for that: a caller gets one more at most.
        """
        self._kill_at, self._kill = answers, kill

    def make(self, client: httpx.Client, name: str) -> None:
        """Try once: its key is the name, so it is recognized when it is tried again."""
        try:
            made = client.post("/things", json={"name": name}, headers={"Idempotency-Key": name})
        except httpx.TransportError:
            self.cut_off += 1
            return
        assert made.status_code == 201
        thing_id = UUID(made.json()["thing_id"])
        with self._lock:
            assert self.answers.setdefault(name, thing_id) == thing_id
            if len(self.answers) == self._kill_at:
                self._kill()

    def make_all(self, url: str) -> None:
        """Try those that have no answer yet, each twice at the same moment."""
        limits = httpx.Limits(max_connections=CALLERS)
        with (
            httpx.Client(base_url=url, limits=limits, timeout=LIMIT_SECONDS) as client,
            ThreadPoolExecutor(CALLERS) as pool,
        ):
            missing = [name for name in NAMES if name not in self.answers]
            twice = (name for name in missing for _ in range(2))
            list(pool.map(lambda name: self.make(client, name), twice))


def test_what_was_acknowledged_is_there_and_what_is_owed_is_done(on_each: Installation) -> None:
    """Anyone who got no answer asks again with the same key, at the next server; some ask twice."""
    on_each.settings |= PATIENCE
    callers, dice = Callers(), random.Random(SEED)
    for _ in range(KILLS):
        before = len(callers.answers)
        with serving(on_each) as server:
            callers.kill_at(before + dice.randint(5, CALLERS - 1), server.process.kill)
            callers.make_all(server.url)
            assert server.process.wait(LIMIT_SECONDS) == -signal.SIGKILL
        acknowledged = on_each.count("things")
        assert before < len(callers.answers) <= acknowledged < len(NAMES)
    assert callers.cut_off > KILLS

    with serving(on_each) as server:
        callers.make_all(server.url)
        assert server.stop() == 0
    on_each.end_leases()
    on_each.succeed("worker", "--until-idle")

    things = on_each.rows("SELECT name, id FROM things ORDER BY name")
    assert {name: UUID(str(id_)) for name, id_ in things} == callers.answers
    assert [name for name, _ in things] == NAMES
    assert owed(on_each) == []
    assert on_each.lines == NAMES
    assert on_each.rung == sorted([*NAMES, *(f"{name} shines" for name in NAMES)])
    assert on_each.count("aftercommit_commands") == len(NAMES)
