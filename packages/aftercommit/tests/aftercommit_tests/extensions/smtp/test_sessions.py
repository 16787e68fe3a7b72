"""Mail servers that are away, or never come to an end: no e-mail waits for them, and no thread."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from smtplib import SMTPServerDisconnected
from socket import AF_INET, SOCK_STREAM, socket

import pytest
from aftercommit import Unavailable
from aftercommit.extensions.smtp.exceptions import AddressUndeliverable
from anyio import create_task_group, fail_after, to_thread
from anyio.lowlevel import checkpoint

from aftercommit_tests.extensions.smtp.hostile import (
    Behaviour,
    HostileServer,
    dripping_tls,
    endless,
    flooding,
    hanging_up,
    misbehaving,
    scripted,
    silent,
    threads_in,
    unreachable,
)
from aftercommit_tests.extensions.smtp.sending import (
    LIMIT_SECONDS,
    SENDER,
    Mailbox,
    Send,
    keeping,
    sending_to,
)
from aftercommit_tests.inside.errors import MailServerUnavailable
from aftercommit_tests.inside.smtp import SmtpServer, SmtpSession, smtp_sender

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool]) -> None:
    with fail_after(LIMIT_SECONDS):
        while not condition():
            await checkpoint()


async def together(*sends: Send) -> list[Exception | None]:
    """Send e-mails at once, and return the error of each, if there is one."""
    errors: dict[int, Exception] = {}

    async def try_to(number: int) -> None:
        try:
            await sends[number]()
        except Exception as error:
            errors[number] = error

    with fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            for number in range(len(sends)):
                group.start_soon(try_to, number)
    return [errors.get(number) for number in range(len(sends))]


OFFERS = "250-localhost\r\n250-STARTTLS\r\n250 AUTH PLAIN"
STAGES = ["banner", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "."]
STUCK = {stage: scripted(stuck_at=stage, EHLO=OFFERS) for stage in STAGES}
STUCK |= {"silence": silent, "lines": endless, "TLS": dripping_tls, "no answer in TLS": silent}
URLS = {
    "STARTTLS": "smtp://127.0.0.1:{}?starttls=1",
    "AUTH": "smtp://ivan:hunter2@127.0.0.1:{}",
    "TLS": "smtps://127.0.0.1:{}",
    "no answer in TLS": "smtps://127.0.0.1:{}",
}


@contextmanager
def stuck_at_every_stage(timeout: float) -> Iterator[tuple[list[HostileServer], list[Send]]]:
    """Run a server that never goes on for each stage, and yield what sends an e-mail to each."""
    with ExitStack() as stack:
        servers = [stack.enter_context(misbehaving(behave)) for behave in STUCK.values()]
        urls = [URLS.get(stage, "smtp://127.0.0.1:{}") for stage in STUCK]
        yield (
            servers,
            [
                sending_to(url.format(server.port), timeout=timeout)
                for url, server in zip(urls, servers, strict=True)
            ],
        )


def nothing_is_left_of(servers: list[HostileServer]) -> bool:
    return not any(server.open for server in servers) and not threads_in(
        "extensions/smtp/session.py"
    )


async def test_no_server_holds_an_email_longer_than_the_limit() -> None:
    """Limiting each read is not enough: a byte a second is a read each. Nothing is left behind."""
    with stuck_at_every_stage(timeout=1) as (servers, sends):
        errors = await together(*sends)

        reasons = {
            stage: "took longer than 1 s" in str(error)
            for stage, error in zip(STUCK, errors, strict=True)
        }
        assert reasons == dict.fromkeys(STUCK, True)
        counted = {
            stage
            for stage, error in zip(STUCK, errors, strict=True)
            if isinstance(error, TimeoutError)
        }
        assert counted == {"RCPT", "DATA", "."}  # it may be about this e-mail
        await until(lambda: nothing_is_left_of(servers))


# the standard library leaves a socket to the garbage if it is cut just when TLS begins
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
async def test_an_email_can_be_cancelled_at_every_stage() -> None:
    """A slow mail server must hold up neither a time limit nor the end of the program."""
    with stuck_at_every_stage(timeout=LIMIT_SECONDS) as (servers, sends):
        with fail_after(LIMIT_SECONDS):
            async with create_task_group() as group:
                group.start_soon(together, *sends)
                await until(lambda: all(server.is_stuck for server in servers))
                group.cancel_scope.cancel()

        await until(lambda: nothing_is_left_of(servers))


async def test_a_reply_without_an_end_takes_no_memory() -> None:
    """A hundred e-mails at a time, and ten seconds each, are enough for gigabytes of it."""
    with misbehaving(flooding) as server:
        [error] = await together(sending_to(server.url))

        assert isinstance(error, MailServerUnavailable)
        assert "replies are longer than 100,000 bytes" in str(error)
        await until(lambda: server.open == 0)


async def test_a_refusal_is_known_though_the_server_says_nothing_more() -> None:
    """A tarpit: it would count as a server that does not answer, again and again."""
    with misbehaving(scripted(stuck_at="RSET", RCPT="550 5.1.1 no such user")) as server:
        [error] = await together(sending_to(server.url))

    assert isinstance(error, AddressUndeliverable)


@pytest.mark.parametrize(
    "behaviour",
    [scripted(QUIT=""), scripted(QUIT="554 what?"), scripted(stuck_at="QUIT")],
    ids=["hangs up", "refuses", "drips"],
)
async def test_what_follows_the_acceptance_is_no_failure(behaviour: Behaviour) -> None:
    """The e-mail is sent: ten attempts would be ten copies."""
    with misbehaving(behaviour) as server:
        assert await together(sending_to(server.url)) == [None]

        assert server.taken == 1


async def test_the_wait_for_a_connection_does_not_count_as_time_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers each e-mail in time; others only have to wait for one another."""
    monkeypatch.setattr(smtp_sender, "MAX_CONNECTIONS", 1)

    def slow(server: HostileServer, client: socket) -> None:
        server.over.wait(2)
        scripted()(server, client)

    with misbehaving(slow) as server:
        assert await together(*[sending_to(server.url, timeout=5)] * 3) == [None] * 3


async def test_a_silent_address_leaves_time_for_the_next(
    free_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many names have an address of IPv6 that leads nowhere, where a firewall drops all packets."""
    mailbox = Mailbox()
    with unreachable() as nowhere, keeping(mailbox, free_tcp_port):
        two = [
            (AF_INET, SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in (nowhere, free_tcp_port)
        ]
        with pytest.raises(MailServerUnavailable, match="not answer"):
            await sending_to(f"smtp://127.0.0.1:{nowhere}", timeout=1)()
        monkeypatch.setattr("socket.getaddrinfo", lambda *_: two)

        await sending_to(f"smtp://127.0.0.1:{free_tcp_port}", timeout=4)()

    assert len(mailbox.emails) == 1


async def test_a_session_that_connects_after_it_was_cut_ends_at_once() -> None:
    """Looking up a name cannot be interrupted; its thread must not then wait for the server."""
    with misbehaving(silent) as server:
        session = SmtpSession(SmtpServer.from_url(server.url), LIMIT_SECONDS)
        session.cut()
        with fail_after(LIMIT_SECONDS / 2), pytest.raises(SMTPServerDisconnected):
            await to_thread.run_sync(session.deliver, EmailMessage(), SENDER, SENDER)


AWAY = [
    scripted(banner="421 too busy"),
    scripted(banner="554 not for you"),
    scripted(banner="hello?"),
    scripted(MAIL="421 closing"),
    scripted(RCPT="421 closing"),
    scripted(end="421 closing"),
    scripted(DATA=""),
    hanging_up,
]


@pytest.mark.parametrize("behaviour", AWAY)
async def test_a_server_that_is_away_is_left_alone_for_a_while(behaviour: Behaviour) -> None:
    """Nobody waits for what is known to fail; the error says why, and counts as no attempt."""
    with misbehaving(behaviour) as server:
        send = sending_to(server.url)
        with pytest.raises(MailServerUnavailable) as first:
            await send()
        with pytest.raises(Unavailable, match="will be tried again soon") as second:
            await send()

        assert server.connections == 1
    assert first.value.reason in str(second.value)
