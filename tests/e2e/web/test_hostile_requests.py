"""What nobody means well: each is refused in plain words, and disturbs no other."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.processes import Application
from tests.e2e.web.serving import Server, everything, post, serving

ASKED = b"GET /healthz HTTP/1.1\r\nHost: test\r\n"
CLOSE = b"Connection: close\r\n\r\n"
FLAT_BYTES = 5_000_000  # one flood sends five times as much that is not read
WEBSOCKET = (
    b"Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
def server(application: Application) -> Iterator[Server]:
    """A server without patience, which is well afterwards."""
    with serving(application, http_seconds="1") as server:
        yield server
        assert server.answer_to(ASKED + CLOSE).startswith(b"HTTP/1.1 200")


def test_slow_heads_and_silence_are_cut_off(server: Server) -> None:
    """A thousand such connections would otherwise keep everybody out."""
    begin = time.monotonic()
    with server.connect() as silent, server.connect() as slow, server.connect() as kept:
        kept.sendall(ASKED + b"\r\n")
        for number in range(100):
            try:
                slow.sendall(b"X-%d: slow\r\n" % number if number else ASKED)
                time.sleep(0.05)
            except ConnectionError:
                break
        assert silent.recv(1) == b""
    assert time.monotonic() - begin < 4


def test_a_slow_body_is_cut_off(server: Server) -> None:
    """With the reason."""
    answer = server.answer_to(post("/users", b"{", length=100))

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body-too-slow" in answer


@pytest.mark.parametrize("length", [b"Content-Length: 10000000", b"Transfer-Encoding: chunked"])
def test_a_large_body_is_refused_whether_it_says_so_or_not(server: Server, length: bytes) -> None:
    """Memory is for everybody."""
    head = b"POST /users HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" + length
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n" if b"chunked" in length else b""

    answer = server.answer_to(head + b"\r\n\r\n", *[piece] * 2)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body-too-large" in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post("/users", b"{", b"Connection: close"), b"400"),
        (post("/users", b"\xff", b"Connection: close"), b"400"),
        (post("/users", b"[" * 60000, b"Connection: close"), b"400"),
        (post("/users", b'{"name": 5}', b"Connection: close"), b"422"),
        (post("/users", b"{}", b"Idempotency-Key: \x07", b"Connection: close"), b"422"),
        (post("/users", b"{}", b"Connection: close").replace(b"/json", b"/xml"), b"415"),
        (b"DELETE /users HTTP/1.1\r\nHost: test\r\n" + CLOSE, b"405"),
        (b"GET /../etc HTTP/1.1\r\nHost: test\r\n" + CLOSE, b"404"),
        (b"GET /healthz HTTP/1.1\r\n" + CLOSE, b"400"),
        (ASKED.replace(b"/healthz", b"/users") + WEBSOCKET, b"40"),
        (b"nonsense\r\n\r\n", b"400"),
        (ASKED + b"X: %s\r\n" % (b"x" * 20000) + CLOSE, b"4"),
        (ASKED + b"".join(b"X-%d: x\r\n" % n for n in range(5000)) + CLOSE, b"4"),
    ],
)
def test_what_is_wrong_is_refused(server: Server, request_bytes: bytes, status: bytes) -> None:
    """By its kind; what is no HTTP at all is refused by the server itself."""
    assert server.answer_to(request_bytes).startswith(b"HTTP/1.1 " + status)


def test_whoever_tries_all_of_it_for_long_costs_no_memory(server: Server) -> None:
    """What was refused is forgotten, if not at once, when an idle connection would be closed."""
    for _ in range(2):  # what is needed once is there then
        flood(server)
    before = server.memory()

    for _ in range(4):
        flood(server)

    assert server.memory() - before < FLAT_BYTES


def flood(server: Server) -> None:
    """Do what is wrong, many times, over many connections at once."""
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = b"POST /users HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    with ExitStack() as opened:
        silent = [opened.enter_context(server.connect()) for _ in range(100)]
        for number in range(20):
            silent[number].sendall(ASKED)
            server.answer_to(head + b"Transfer-Encoding: chunked\r\n\r\n", *[piece] * 40)
            server.answer_to(ASKED + b"".join(b"X-%d: x\r\n" % n for n in range(20_000)) + CLOSE)
            server.answer_to(ASKED + b"X: " + b"x" * 1_000_000 + CLOSE)
            server.answer_to(post("/users", b"[" * 60_000, b"Connection: close"))
            server.answer_to(b"nonsense" * 10_000 + b"\r\n\r\n")
            server.answer_to((ASKED + b"\r\n") * 50 + ASKED + CLOSE)
        assert everything(opened.enter_context(server.connect())) == b""


def test_requests_in_one_piece_are_answered_in_order(server: Server) -> None:
    """Pipelining is allowed, and nobody needs it."""
    answer = server.answer_to(ASKED + b"\r\n" + post("/users", b"{") + ASKED + CLOSE)

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]
