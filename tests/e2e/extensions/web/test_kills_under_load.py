"""The server is killed in the middle of requests, again and again: nobody notices."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest

from tests.e2e.extensions.web.serving import registration, serving
from tests.e2e.processes import LIMIT_SECONDS, Application, owed, wait_until

USERS = 200
CALLERS = 20
KILLS = 5
SEED = 2026


class Callers:
    """Registers users by several connections at once, and remembers who was answered what."""

    def __init__(self) -> None:
        self.answers: dict[str, UUID] = {}  # id of the user, by address
        self.cut_off = 0

    def register(self, client: httpx.Client, email: str) -> None:
        """Try once: its key is the address, so it is recognized when it is tried again."""
        key = {"Idempotency-Key": email}
        try:
            response = client.post("/users", json=registration(email), headers=key)
        except httpx.TransportError:
            self.cut_off += 1
            return
        assert response.status_code == 201
        self.answers[email] = UUID(response.json()["user_id"])

    def wait_for(self, answers: int) -> None:
        """Return when there are as many."""
        wait_until(lambda: len(self.answers) >= answers)

    def register_all(self, url: str, emails: list[str]) -> None:
        """Try those who have no answer yet."""
        limits = httpx.Limits(max_connections=CALLERS)
        with (
            httpx.Client(base_url=url, limits=limits, timeout=LIMIT_SECONDS) as client,
            ThreadPoolExecutor(CALLERS) as pool,
        ):
            missing = [email for email in emails if email not in self.answers]
            list(pool.map(lambda email: self.register(client, email), missing))


@pytest.mark.timeout(200)
def test_what_was_acknowledged_is_there_and_what_is_owed_is_done(on_each: Application) -> None:
    """Whoever got no answer asks again with the same key, at the next server."""
    emails = [f"user{number}@example.com" for number in range(USERS)]
    callers, dice = Callers(), random.Random(SEED)
    for _ in range(KILLS):
        before = len(callers.answers)
        with serving(on_each) as server, ThreadPoolExecutor(1) as pool:
            done = pool.submit(callers.register_all, server.url, emails)
            callers.wait_for(before + dice.randint(5, USERS // (KILLS + 1)))
            server.process.kill()
            done.result()
        acknowledged = on_each.rows("SELECT count(*) FROM users")[0][0]
        assert before < len(callers.answers) <= acknowledged < USERS
    assert callers.cut_off > KILLS

    with serving(on_each) as server:
        callers.register_all(server.url, emails)
        assert server.stop() == 0
    on_each.end_leases()
    assert on_each.run("worker", "--until-idle").returncode == 0

    users = on_each.rows("SELECT email, id FROM users")
    assert {email: UUID(str(id_)) for email, id_ in users} == callers.answers
    assert len(users) == USERS
    assert owed(on_each) == []
    logged = Counter(email for (email,) in on_each.rows("SELECT email FROM registration_log"))
    assert logged == Counter(emails)
    assert on_each.rows("SELECT count(*) FROM user_view") == [(USERS,)]
    assert on_each.rows("SELECT count(*) FROM aftercommit_commands") == [(USERS,)]
