"""The real server: what it is asked to do is done once, whoever dies meanwhile."""

import json
import signal
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest

from tests.e2e.extensions.web.serving import Server, post, registration, serving
from tests.e2e.processes import LIMIT_SECONDS, Application, owed, wait_for_line, wait_until

CRASHING = ("tests.e2e.crashing", "before the fan-out")
USERS = 100  # each is registered twice
LINGER_NOT = struct.pack("ii", 1, 0)  # closing resets the connection


def test_a_registration_is_answered_repeated_and_followed(on_each: Application) -> None:
    """As the page about extensions shows."""
    with serving(on_each) as server, server.client() as client:
        body, key = registration("ivan@example.com"), {"Idempotency-Key": '"k1"'}
        first = client.post("/users", json=body, headers=key)
        again = client.post("/users", json=body, headers=key)
        wait_until(lambda: owed(on_each) == [])
        trace = client.get(f"/traces/{first.headers['x-request-id']}")

        assert (first.status_code, again.status_code) == (201, 201)
        assert first.content == again.content
        assert client.get(first.headers["location"]).json()["email"] == "ivan@example.com"
        assert {node["state"] for node in trace.json()} == {"done"}
        assert server.stop() == 0


def test_a_token_is_made_where_none_is_set(on_each: Application) -> None:
    """Being on this machine opens nothing; the token is told once, and never logged."""
    with serving(on_each, token="") as server:
        token = server.token
        answers = [
            httpx.get(f"{server.url}/users", headers={"Authorization": f"Bearer {sent}"})
            for sent in (token, "another")
        ]
        assert server.stop() == 0
        out, err = server.process.communicate()

    assert [answer.status_code for answer in answers] == [200, 401]
    assert token not in out + err


def test_two_hundred_at_once_are_answered_rightly(on_each: Application) -> None:
    """Half are duplicates, and half of these repeat the key: the right users, and fair answers."""

    def register(number: int) -> tuple[int, int, str]:
        user = number % USERS
        key = f"{user}" if user < USERS / 2 else f"{number}"
        body = registration(f"user{user}@example.com")
        response = client.post("/users", json=body, headers={"Idempotency-Key": key})
        return user, response.status_code, response.text

    limits = httpx.Limits(max_connections=40)
    with (
        serving(on_each, dispatch="worker") as server,
        httpx.Client(base_url=server.url, limits=limits, timeout=LIMIT_SECONDS) as client,
        ThreadPoolExecutor(40) as pool,
    ):
        answers = list(pool.map(register, range(2 * USERS)))
        assert server.stop() == 0

    by_key = [(status, text) for user, status, text in answers if user < USERS / 2]
    assert {status for status, _ in by_key} == {201}
    assert set(Counter(text for _, text in by_key).values()) == {2}
    others = Counter(status for user, status, _ in answers if user >= USERS / 2)
    assert others == {201: USERS / 2, 409: USERS / 2}
    assert on_each.rows("SELECT count(DISTINCT email) FROM users") == [(USERS,)]


def test_what_was_acknowledged_is_done_after_a_kill(on_each: Application) -> None:
    """It is killed after the answer, before anything else."""
    with serving(on_each, module=CRASHING) as server:
        response = httpx.post(f"{server.url}/users", json=registration("ivan@example.com"))
        assert server.process.wait(LIMIT_SECONDS) == -9

    assert response.status_code == 201
    assert len(owed(on_each)) == 4
    on_each.end_leases()
    assert on_each.run("worker", "--until-idle").returncode == 0
    assert owed(on_each) == []
    assert on_each.rows("SELECT email FROM user_view") == [("ivan@example.com",)]


def test_who_never_got_the_answer_repeats_the_request_elsewhere(on_each: Application) -> None:
    """The first server dies with the commit; the second knows what it has committed."""
    body, key = registration("ivan@example.com"), {"Idempotency-Key": "k1"}
    with serving(on_each, module=("tests.e2e.crashing", "after the commit")) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{server.url}/users", json=body, headers=key)
        assert server.process.wait(LIMIT_SECONDS) == -9
    [(stored,)] = on_each.rows("SELECT id FROM users")

    with serving(on_each) as server:
        response = httpx.post(f"{server.url}/users", json=body, headers=key)
        assert server.stop() == 0

    assert response.status_code == 201
    assert UUID(response.json()["user_id"]) == UUID(str(stored))
    assert on_each.rows("SELECT count(*) FROM users") == [(1,)]


def reset_before_it_is_accepted(server: Server, sent: bytes) -> None:
    """Send a request and reset its connection, before the server has looked at either."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        with server.connect() as connection:
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_who_is_cut_off_at_once_repeats_the_request(on_each: Application) -> None:
    """Nobody knows the address of a connection that is reset, so nobody knows whose its key is."""
    body = registration("ivan@example.com")
    sent = post("/users", json.dumps(body).encode(), b"Idempotency-Key: k1")
    with serving(on_each) as server, server.client() as client:
        reset_before_it_is_accepted(server, sent)
        wait_for_line(server.process.stderr, "POST '/users'")
        before = on_each.rows("SELECT source FROM aftercommit_commands")
        del client.headers["Authorization"]
        repeated = client.post("/users", json=body, headers={"Idempotency-Key": "k1"})
        assert server.stop() == 0

    assert repeated.status_code == 201
    assert before == []


def test_a_port_that_is_taken_is_said(on_each: Application) -> None:
    """In one line, like everything else that is not available."""
    with serving(on_each) as server:
        other = on_each.run("serve", "--port", str(server.port))

    assert other.returncode == 3
    assert f"error: cannot listen on 127.0.0.1:{server.port}" in other.stderr


def test_another_event_loop_is_refused(application: Application) -> None:
    """In one sentence, before anything is opened; everything else runs on both."""
    refused = application.run("serve", "--port", "0", event_loop="trio")

    assert refused.returncode == 2
    assert "is trio, but HTTP is served on asyncio only" in refused.stderr


def test_an_empty_address_opens_nothing(application: Application) -> None:
    """It is that of a script whose variable is not set."""
    with application.running("serve", "--host", "", "--port", "0") as process:
        wait_for_line(process.stdout, "listening on http://127.0.0.1:")
