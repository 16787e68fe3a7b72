"""The real server: what it is asked to do is done once, no matter who dies meanwhile."""

import signal
import socket
import struct
from uuid import UUID

import httpx
import pytest

from aftercommit_tests.extensions.web.processes.serving import Server, post, serving
from aftercommit_tests.processes import LIMIT_SECONDS, Installation, owed, send_stop, wait_for_line

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]

LINGER_NOT = struct.pack("ii", 1, 0)  # closing resets the connection


@pytest.mark.on("sqlite")
def test_a_token_is_made_where_none_is_set(on_each: Installation) -> None:
    """Being on this machine opens nothing; the token is told once, and never logged."""
    with serving(on_each, token="") as server:
        token = server.token
        answers = [
            httpx.get(f"{server.url}/history", headers={"Authorization": f"Bearer {sent}"})
            for sent in (token, "another")
        ]
        assert server.stop() == 0
        out, err = server.process.communicate()

    assert [answer.status_code for answer in answers] == [200, 401]
    assert token not in out + err


def test_what_was_acknowledged_is_done_after_a_kill(on_each: Installation) -> None:
    """It is killed after the answer, before anything else."""
    with serving(on_each, module=(on_each.crashing, "before the fan-out")) as server:
        assert server.make_thing().status_code == 201
        assert server.process.wait(LIMIT_SECONDS) == -signal.SIGKILL

    assert len(owed(on_each)) == 4
    on_each.end_leases()
    on_each.succeed("worker", "--until-idle")
    assert owed(on_each) == []
    assert on_each.lines == ["lamp"]
    assert on_each.rung == ["lamp", "lamp shines"]


def test_who_never_got_the_answer_repeats_the_request_elsewhere(on_each: Installation) -> None:
    """The first server dies with the commit; the second knows what it has committed."""
    with serving(on_each, module=(on_each.crashing, "after the commit")) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            server.make_thing(key="k1")
        assert server.process.wait(LIMIT_SECONDS) == -signal.SIGKILL
    [(stored,)] = on_each.rows("SELECT id FROM things")

    with serving(on_each) as server:
        response = server.make_thing(key="k1")
        assert server.stop() == 0

    assert response.status_code == 201
    assert UUID(response.json()["thing_id"]) == UUID(str(stored))
    assert on_each.count("things") == 1


def reset_before_it_is_accepted(server: Server, sent: bytes) -> None:
    """Send a request and reset its connection, before the server has looked at either."""
    send_stop(server.process)
    try:
        with server.connect() as connection:
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_who_is_cut_off_at_once_repeats_the_request(on_each: Installation) -> None:
    """Nobody knows the address of a connection that is reset, so nobody knows whose its key is."""
    with serving(on_each) as server:
        sent = post("/things", b'{"name": "lamp"}', b"Idempotency-Key: k1")
        reset_before_it_is_accepted(server, sent)
        wait_for_line(server.process.stderr, "POST '/things'")
        before = on_each.rows("SELECT source FROM aftercommit_commands")
        repeated = server.make_thing(key="k1")
        assert server.stop() == 0

    assert repeated.status_code == 201
    assert before == []


def test_a_port_that_is_taken_is_said(on_each: Installation) -> None:
    """In one line, like everything else that is not available."""
    with serving(on_each) as server:
        other = on_each.run("serve", "--port", str(server.port))

    assert other.returncode == 3
    assert f"error: cannot listen on 127.0.0.1:{server.port}" in other.stderr


def test_an_empty_address_opens_nothing_and_another_event_loop_is_refused(
    installation: Installation,
) -> None:
    """The first is that of a script whose variable is not set. Everything else runs on both."""
    with installation.running("serve", "--host", "", "--port", "0") as process:
        wait_for_line(process.stdout, "listening on http://127.0.0.1:")
    refused = installation.run("serve", "--port", "0", event_loop="trio")

    assert refused.returncode == 2
    assert "is trio, but HTTP is served on asyncio only" in refused.stderr
