"""A door in front of Kafka: it ends TLS, asks who is there, and passes on what is said afterwards.

The broker of the tests has options for both, but ends no TLS, and remembers no user. The logins are
those of Kafka's protocol (KIP-152); SCRAM is checked by a library of its own.
"""

import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import scramp  # type: ignore[import-untyped]
from anyio import (
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    Event,
    IncompleteRead,
    connect_tcp,
    create_task_group,
    create_tcp_listener,
)
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream, TaskStatus
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

HANDSHAKE, API_VERSIONS, AUTHENTICATE = 17, 18, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
GONE = EndOfStream, BrokenResourceError, IncompleteRead

Account = tuple[str, str, str]  # mechanism, user and password


@contextmanager
def kafka_door(
    target: int, *, port: int, tls: ssl.SSLContext | None, account: Account | None
) -> Iterator[None]:
    """Open it on this port of localhost for the time of the context."""
    end = Event()

    async def serve(*, task_status: TaskStatus[None]) -> None:
        listener: Any = await create_tcp_listener(local_host="127.0.0.1", local_port=port)
        if tls:
            listener = TLSListener(listener, tls, standard_compatible=False)
        async with listener, create_task_group() as group:
            group.start_soon(listener.serve, partial(_admit, target, account))
            task_status.started()
            await end.wait()
            group.cancel_scope.cancel()

    with start_blocking_portal("asyncio") as portal:
        serving, _ = portal.start_task(serve)
        try:
            yield
        finally:
            portal.call(end.set)
            serving.result()


async def _admit(target: int, account: Account | None, client: ByteStream) -> None:
    async with client, await connect_tcp("127.0.0.1", target) as server:
        received = BufferedByteReceiveStream(client)
        try:
            if account:
                await _login(received, client, server, *account)
        except GONE:
            return
        async with create_task_group() as group:  # who ends it first, ends it for both
            group.start_soon(_pump, received, server, group.cancel_scope)
            group.start_soon(_pump, server, client, group.cancel_scope)


async def _login(
    received: BufferedByteReceiveStream,
    client: ByteSendStream,
    server: ByteStream,
    mechanism: str,
    user: str,
    password: str,
) -> None:
    """Return when the client has shown that it is this user; else it has to go."""
    answers = BufferedByteReceiveStream(server)
    exchange = _Plain(user, password) if mechanism == "PLAIN" else _Scram(mechanism, user, password)
    while not exchange.is_over:
        request = await _frame(received)
        key, version, number, name_length = struct.unpack_from(">hhih", request)
        body = request[10 + max(0, name_length) :]
        if key == API_VERSIONS:
            await server.send(_framed(request))
            await client.send(_framed(await _frame(answers)))
            continue
        if key == HANDSHAKE:
            code = 0 if body[2:].decode() == mechanism else UNSUPPORTED_MECHANISM
            answer = struct.pack(">hi", code, 1) + _string(mechanism)
        else:
            assert key == AUTHENTICATE, key
            code, told, token = exchange.answer(body[4:])
            answer = struct.pack(">h", code) + _string(told) + struct.pack(">i", len(token)) + token
            answer += struct.pack(">q", 0) if version else b""
        await client.send(_framed(struct.pack(">i", number) + answer))
        if code:
            raise EndOfStream


class _Scram:
    """One login by SCRAM."""

    def __init__(self, mechanism: str, user: str, password: str) -> None:
        known = scramp.ScramMechanism(mechanism)
        accounts: Mapping[str, Any] = {user: known.make_auth_info(password)}
        self._server, self._asked, self.is_over = known.make_server(accounts.__getitem__), 0, False

    def answer(self, token: bytes) -> tuple[int, str, bytes]:
        try:
            if not self._asked:
                self._asked += 1
                self._server.set_client_first(token.decode())
                return 0, "", self._server.get_server_first().encode()
            self._server.set_client_final(token.decode())
            self.is_over = True
            return 0, "", self._server.get_server_final().encode()
        except (KeyError, scramp.ScramException):
            return AUTHENTICATION_FAILED, "Authentication failed: invalid credentials", b""


class _Plain:
    """One login by PLAIN."""

    def __init__(self, user: str, password: str) -> None:
        self._expected, self.is_over = f"\0{user}\0{password}".encode(), False

    def answer(self, token: bytes) -> tuple[int, str, bytes]:
        self.is_over = token.partition(b"\0")[2] == self._expected[1:]
        code = 0 if self.is_over else AUTHENTICATION_FAILED
        return code, "" if self.is_over else "Authentication failed: invalid credentials", b""


async def _pump(source: ByteReceiveStream, sink: ByteSendStream, both: CancelScope) -> None:
    with suppress(*GONE):
        while True:
            await sink.send(await source.receive())
    both.cancel()


async def _frame(stream: BufferedByteReceiveStream) -> bytes:
    (length,) = struct.unpack(">i", await stream.receive_exactly(4))
    return await stream.receive_exactly(length)


def _framed(payload: bytes) -> bytes:
    return struct.pack(">i", len(payload)) + payload


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
