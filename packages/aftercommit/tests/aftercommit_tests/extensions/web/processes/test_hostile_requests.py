"""What nobody means well, however many send it: refused in plain words, it disturbs no other."""

import random
import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from aftercommit_tests.extensions.web.processes.serving import Server, post, serving
from aftercommit_tests.processes import Installation, wait_for_line, wait_until

pytestmark = pytest.mark.check

HEAD = b"HTTP/1.1\r\nHost: localhost\r\n"
ASKED = b"GET /healthz " + HEAD
CLOSE = b"Connection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
WEBSOCKET = b"Connection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
HTTP_2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \xff\r\n\r\n"
FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
ODD = [
    (post("/things", b"{}", b"Idempotency-Key: \x07", b"Connection: close"), b"422"),
    (b"GET /../etc " + HEAD + CLOSE, b"404"),
    (b"GET /%ff%00 " + HEAD + CLOSE, b"404"),
    (b"GET /healthz HTTP/1.1\r\n" + CLOSE, b"400"),
    (b"GET /things " + HEAD + WEBSOCKET, b"40"),
    (b"nonsense\r\n\r\n", b"400"),
    (b"M\xe4H / " + HEAD + CLOSE, b"400"),
    (b"CONNECT http://[ " + HEAD + CLOSE, b"40"),
    (b"HEAD /healthz " + HEAD + CLOSE, b"200"),
    (b"HEAD /healthz " + HEAD + CHUNKED + b"\r\n\r\nzz\r\n", b""),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FRAME * 1500, b"40"),
]
HALF = [
    ASKED + HTTP_2,
    ASKED + b"X: " + b"x" * 5000,
    post("/things", b"{}", CHUNKED),
    post("/things", b"{}", length=9999),
    b"",
]
FLAT_BYTES = 5_000_000  # one flood sends twice as much that is not read
SEED = 2026
CONNECTIONS = 3000
AT_A_TIME = 50


@pytest.fixture
def server(installation: Installation) -> Iterator[Server]:
    """A server that is the same process afterwards, answers, and ends as it should."""
    with serving(installation) as server:
        yield server
        assert server.answer_to(ASKED + CLOSE).startswith(b"HTTP/1.1 200")
        assert server.process.poll() is None
        with server.client() as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
        assert server.stop() == 0


def test_what_is_wrong_is_refused(server: Server) -> None:
    """By its kind; what is no HTTP at all is refused by the server itself."""
    for sent, status in ODD:
        assert server.answer_to(sent).startswith(b"HTTP/1.1 " + status), sent[:100]


def test_requests_in_one_piece_are_answered_in_order(server: Server) -> None:
    """Pipelining is allowed, and nobody needs it."""
    answer = server.answer_to(ASKED + b"\r\n" + post("/things", b"{") + ASKED + CLOSE)

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]


def test_whoever_tries_all_of_it_for_long_costs_no_memory(server: Server) -> None:
    """What was refused is forgotten, also if its connection stays."""
    for _ in range(2):  # what is needed once is there then
        flood(server)
    before = server.memory()

    for _ in range(4):
        flood(server)

    assert server.memory() - before < FLAT_BYTES


def flood(server: Server) -> None:
    """Do what is wrong, many times, over many connections at once."""
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = b"POST /things " + HEAD + b"Content-Type: application/json\r\n"
    with ExitStack() as opened:
        silent = [opened.enter_context(server.connect()) for _ in range(100)]
        for number in range(10):
            silent[number].sendall(ASKED)
            server.answer_to(head + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 40)
            server.answer_to(ASKED + b"".join(b"X-%d: x\r\n" % n for n in range(20_000)) + CLOSE)
            server.answer_to(ASKED + b"X: " + b"x" * 1_000_000 + CLOSE)
            server.answer_to(post("/things", b"[" * 60_000, b"Connection: close"))
            server.answer_to(b"nonsense" * 10_000 + b"\r\n\r\n")
            server.answer_to((ASKED + b"\r\n") * 50 + ASKED + CLOSE)


@pytest.mark.timeout(300)
def test_odd_connections_disturb_nobody(installation: Installation) -> None:
    """Upgrades, prefaces of HTTP/2, broken heads and bodies, noise, and callers who hang up.

    They do not fill the log either: there is a line for each answer, and no traceback.
    """
    dice, sent = random.Random(SEED), [*HALF, *(each for each, _ in ODD)]

    def mutated(one: bytes) -> bytes:
        at, noise = dice.randint(0, len(one)), dice.randbytes(dice.randint(1, 40))
        return dice.choice([one, one[:at], one[:at] + noise + one[at + dice.randint(0, 3) :]])

    with serving(installation) as server:
        for _ in range(CONNECTIONS // AT_A_TIME):
            with ExitStack() as opened:
                for _ in range(AT_A_TIME):
                    connection = opened.enter_context(server.connect())
                    with suppress(ConnectionError):
                        connection.sendall(mutated(dice.choice(sent)))
            assert server.process.poll() is None
        assert server.answer_to(ASKED + CLOSE).startswith(b"HTTP/1.1 200")
        log = server.log()

    assert "Traceback" not in log
    assert "pip install" not in log
    assert max(map(len, log.splitlines())) < 10_000
    assert len(log.splitlines()) < CONNECTIONS


def test_strangers_who_take_all_descriptors_do_not_fill_the_log(installation: Installation) -> None:
    """A line says so, however often the server tries; when they have gone, it goes on."""
    with serving(installation) as server, ExitStack() as opened:
        files = len([*Path(f"/proc/{server.process.pid}/fd").iterdir()])
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files + 5, files + 5))
        for _ in range(20):
            opened.enter_context(server.connect())
        told = wait_for_line(server.process.stderr, "Too many open files")
        opened.pop_all().close()
        assert server.answer_to(ASKED + CLOSE).startswith(b"HTTP/1.1 200")
        log = server.log()

    assert "no new connections" in told
    assert "Traceback" not in log
    assert len(log) < 10_000
