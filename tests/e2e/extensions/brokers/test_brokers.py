"""Consumer and publisher as real processes, on real brokers, killed and cut off."""

import json
import signal
import socket
import sqlite3
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.builders import a_user_message
from tests.e2e.crashing import CONSUMING, DEAD_LETTERING
from tests.e2e.processes import (
    LIMIT_SECONDS,
    TIMEOUT_SECONDS,
    Application,
    owed,
    stop,
    wait_for_line,
    wait_until,
)
from tests.e2e.smtp.mail_server import MailServer
from tests.integration.extensions.brokers.outside import (
    COMMANDS,
    DEAD,
    KafkaOutside,
    Outside,
    RabbitOutside,
)
from tests.proxy import Proxy

EMAIL = "ivan@example.com"
USERS = 1000
GRACE_SECONDS = 6
REJOIN_SECONDS = 180  # Kafka waits for a dead member of a group before it lets others work
RECEIVED = "aftercommit_commands WHERE message_id IS NOT NULL"
FAILED_TO_PUBLISH = (
    "SELECT * FROM aftercommit_deliveries WHERE last_error LIKE 'BrokerUnavailable%'"
)


@pytest.fixture
def backend() -> str:
    """Brokers need asyncio."""
    return "asyncio"


@pytest.fixture
def application(tmp_path: Path, backend: str) -> Application:
    """The application, without a mail server."""
    application = Application(tmp_path, backend=backend)
    assert application.run("db", "upgrade").returncode == 0
    return application


@contextmanager
def working(
    application: Application, command: str = "consume"
) -> Iterator["subprocess.Popen[str]"]:
    """Run a consumer, and see that it ends in its grace period when it is asked to."""
    with application.running(command) as process:
        yield process
        assert stop(process) == 0  # 70, if something else had to end it


def log_lines(application: Application) -> list[str]:
    return [email for (email,) in application.rows("SELECT email FROM registration_log")]


def test_a_message_five_times_and_poison_in_between(
    application: Application, outside: Outside
) -> None:
    """One effect, each poison among the dead letters with its reason, and the good ones flow on."""
    application.settings = {"broker_urls": outside.url}
    poison = {
        "invalid-payload": [b"{bad", b"\xff\x00\x01", a_user_message(user_id=7)],
        "message-too-large": [b"x" * 5_000_000],
        "unknown-command-type": [a_user_message("fly")],
        "user-not-found": [
            a_user_message("change_email", message_id="m2", new_email="a@b.example")
        ],
    }
    bodies = [body for of_one_kind in poison.values() for body in of_one_kind]
    copy = a_user_message()
    outside.send(copy, *bodies[:3], copy, copy, headers={"trace": "abc", "raw": b"\xff"})
    outside.send(
        *bodies[3:], copy, copy, a_user_message(message_id="last", email="last@example.com")
    )

    with working(application):
        wait_until(lambda: len(log_lines(application)) == 2, limit=REJOIN_SECONDS)
        dead = outside.dead(len(bodies))

    assert sorted(log_lines(application)) == [EMAIL, "last@example.com"]
    assert Counter(message.body for message in dead) == Counter(bodies)
    for error, of_one_kind in poison.items():
        for message in dead:
            if message.body in of_one_kind:
                assert message.headers["allocation-error"] == error
                assert message.headers["allocation-reason"]
                assert message.content_type in ("", "None")  # it had none
    assert {m.headers.get("trace") for m in dead if m.body in bodies[:3]} == {"abc"}


def test_dead_letters_that_are_refused_hold_up_no_good_message(
    application: Application, rabbitmq: RabbitOutside
) -> None:
    """Twice as many as may be in flight; RabbitMQ keeps them until there is room."""
    application.settings = {"broker_urls": rabbitmq.url}
    full: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    rabbitmq.replace_queue(DEAD, **full)
    rabbitmq.send(*[b"{bad"] * 40, a_user_message())

    with working(application):
        wait_until(lambda: log_lines(application) == [EMAIL])


@pytest.mark.parametrize("point", CONSUMING)
def test_a_consumer_survives_a_kill(point: str, application: Application, outside: Outside) -> None:
    """The message comes again, and has one effect."""
    application.settings = {"broker_urls": outside.url}
    outside.send(a_user_message())
    application.crash(point, "consume")

    outside.send(a_user_message(message_id="last", email="last@example.com"))
    application.end_leases()
    with working(application, "run"):  # the worker in it does what was left
        wait_until(lambda: len(log_lines(application)) == 2, limit=REJOIN_SECONDS)
        wait_until(lambda: not owed(application))

    assert sorted(log_lines(application)) == [EMAIL, "last@example.com"]
    assert application.rows(f"SELECT count(*) FROM {RECEIVED}") == [(2,)]


@pytest.mark.parametrize("point", DEAD_LETTERING)
def test_dead_lettering_survives_a_kill(
    point: str, application: Application, outside: Outside
) -> None:
    """A dead letter may be there twice, but never not at all."""
    application.settings = {"broker_urls": outside.url}
    outside.send(b"{bad")
    application.crash(point, "consume")

    outside.send(a_user_message())
    with working(application):
        wait_until(lambda: log_lines(application) == [EMAIL], limit=REJOIN_SECONDS)

    assert {message.body for message in outside.dead(1)} == {b"{bad"}


def test_a_database_that_is_away_is_waited_for(application: Application, rabbitmq: Outside) -> None:
    """It is neither acknowledged nor dead-lettered; each try waits longer than the last."""
    application.settings = {
        "broker_urls": rabbitmq.url,
        "database_url": "sqlite:///allocation.db?timeout=0.05",
    }
    with (
        working(application) as process,
        closing(sqlite3.connect(application.database)) as other,
    ):
        wait_for_line(process.stderr, "consuming")
        other.execute("BEGIN EXCLUSIVE")
        rabbitmq.send(a_user_message())
        started = time.monotonic()
        waits = [wait_for_line(process.stderr, "") for _ in range(3)]
        assert time.monotonic() - started > 1.2
        other.rollback()
        wait_until(lambda: log_lines(application) == [EMAIL])

    assert all("a message has to wait: the database is not available" in line for line in waits)


def test_sigterm_lets_a_message_in_hand_finish(
    application: Application, rabbitmq: Outside, mail: MailServer
) -> None:
    """With all that its command has caused."""
    mail.hold = True
    application.mail = mail
    application.settings = {"broker_urls": rabbitmq.url}
    with working(application) as process:
        rabbitmq.send(a_user_message())
        assert mail.holding.wait(LIMIT_SECONDS)
        process.send_signal(signal.SIGTERM)
        wait_for_line(process.stderr, "stopping")
        rabbitmq.send(a_user_message(message_id="later", email="later@example.com"))
        mail.release.set()
        assert process.wait(LIMIT_SECONDS) == 0

    assert owed(application) == []
    assert log_lines(application) == [EMAIL]


@pytest.mark.parametrize("proxied", ["rabbitmq", "kafka"], indirect=True)
def test_a_thousand_events_are_published_though_the_broker_goes_away(
    application: Application, proxied: tuple[str, Proxy, Outside]
) -> None:
    """At least once each, with ids by which the doubles can be dropped."""
    url, proxy, outside = proxied
    application.settings = {
        "broker_urls": url,
        "retry_initial_seconds": "0.5",
        "retry_factor": "1",
        "max_attempts": "1000",
        "max_dispatches": "50",
    }
    rows = "".join(f"Иван,user{n}@example.com\n" for n in range(USERS))
    (application.folder / "users.csv").write_text("name,email\n" + rows)

    importing = application.start("import-users", "--dispatch", "inline", "users.csv")
    outside.events(lambda seen: len(seen) >= USERS // 4)
    proxy.cut()
    wait_until(lambda: application.rows(FAILED_TO_PUBLISH))
    proxy.open()
    _, errors = importing.communicate(timeout=TIMEOUT_SECONDS)
    assert importing.returncode == 0, errors
    assert "will be retried: publish_event_to_" in errors
    assert application.run("worker", "--until-idle").returncode == 0

    seen = outside.events(lambda seen: len({message.body for message in seen}) >= 2 * USERS)
    published = {json.loads(message.body)["id"].replace("-", "") for message in seen}
    public = "SELECT id FROM aftercommit_events WHERE type <> 'users_imported'"
    assert {event_id for (event_id,) in application.rows(public)} == published
    assert len(log_lines(application)) == USERS


@pytest.mark.parametrize("proxied", ["rabbitmq"], indirect=True)
def test_a_consumer_comes_back_after_an_outage(
    application: Application, proxied: tuple[str, Proxy, Outside]
) -> None:
    """Without anybody who restarts it."""
    url, proxy, outside = proxied
    application.settings = {"broker_urls": url, "dispatch": "worker"}
    with working(application):
        outside.send(a_user_message())
        wait_until(lambda: application.rows(f"SELECT id FROM {RECEIVED}"))
        proxy.cut()
        outside.send(a_user_message(message_id="m2", email="later@example.com"))
        proxy.open()
        wait_until(lambda: len(application.rows(f"SELECT id FROM {RECEIVED}")) == 2)


def nested(depth: int) -> bytes:
    """Return a table of AMQP in a table, and so on."""
    table = struct.pack(">I", 0)
    for _ in range(depth):
        field = b"\x01tF" + table
        table = struct.pack(">I", len(field)) + field
    return b"F" + table


UNDECODABLE: dict[str, Callable[[RabbitOutside], None]] = {
    "a timestamp": RabbitOutside.send_undecodable,
    "nested headers": lambda rabbitmq: rabbitmq.send_with_header(nested(3000)),
}


@pytest.mark.parametrize("send", UNDECODABLE.values(), ids=UNDECODABLE)
def test_what_cannot_be_decoded_ends_among_the_dead_and_takes_nothing_with_it(
    application: Application, rabbitmq: RabbitOutside, send: Callable[[RabbitOutside], None]
) -> None:
    """It ends the connection each time it comes, and all that was underway with it counts, too."""
    application.settings = {"broker_urls": rabbitmq.url, "dispatch": "worker"}
    good = [a_user_message(message_id=f"m{n}", email=f"user{n}@example.com") for n in range(30)]
    rabbitmq.send(*good[:10])
    send(rabbitmq)
    rabbitmq.send(*good[10:])

    with application.running("consume") as process:
        wait_until(lambda: rabbitmq.count(DEAD) == 1, limit=60)
        wait_until(lambda: application.rows(f"SELECT count(*) FROM {RECEIVED}") == [(len(good),)])
        assert stop(process) == 0
        assert process.stderr is not None
        told = process.stderr.read()

    assert rabbitmq.count(DEAD) == 1
    assert rabbitmq.count(COMMANDS) == 0
    assert "cannot be decoded" in told
    assert "RabbitMQ moves it to allocation.commands.dead after 20 deliveries" in told


def test_what_the_library_of_kafka_cannot_decode_is_skipped_and_known(
    application: Application, kafka: KafkaOutside
) -> None:
    """It would be fetched again, for ever; what it says stays in the topic."""
    application.settings = {"broker_urls": kafka.url, "dispatch": "worker"}
    for number in (1, 2):
        kafka.send(a_user_message(message_id=f"m{number}", email=f"user{number}@example.com"))
        kafka.send_undecodable()
    kafka.send(a_user_message(message_id="m3", email="user3@example.com"))

    with working(application):
        wait_until(lambda: application.rows(f"SELECT count(*) FROM {RECEIVED}") == [(3,)])
        dead = kafka.dead(2)

    assert all("partition 0, offset " in message.headers["undecodable"] for message in dead)


def test_what_cannot_be_encoded_again_is_among_the_dead_without_its_headers(
    application: Application, rabbitmq: RabbitOutside
) -> None:
    """The library reads doubles, and writes floats only; and more of them than are in flight."""
    application.settings = {"broker_urls": rabbitmq.url, "dispatch": "worker"}
    rabbitmq.send_with_header(b"d" + struct.pack(">d", 1e300), count=25)
    rabbitmq.send(a_user_message())

    with working(application):
        wait_until(lambda: application.rows(f"SELECT count(*) FROM {RECEIVED}") == [(1,)])
        wait_until(lambda: rabbitmq.count(DEAD) == 25)


def test_a_consumer_makes_the_queues_it_needs(
    application: Application, rabbitmq: RabbitOutside
) -> None:
    """As they are described, so that others may make them first."""
    rabbitmq.delete_queue(COMMANDS)
    rabbitmq.delete_queue(DEAD)
    application.settings = {"broker_urls": rabbitmq.url}

    with working(application) as process:
        wait_for_line(process.stderr, "consuming from RabbitMQ")
        rabbitmq.declare_as_described()
        rabbitmq.send(a_user_message())
        wait_until(lambda: log_lines(application) == [EMAIL])


def test_a_silent_mail_server_does_not_hold_up_commands(
    application: Application, rabbitmq: Outside, silent_server: socket.socket
) -> None:
    """Their e-mails are owed; nobody who sends commands waits for them."""
    application.settings = {
        "broker_urls": rabbitmq.url,
        "mail_url": f"smtp://127.0.0.1:{silent_server.getsockname()[1]}",
        "shutdown_grace_seconds": str(GRACE_SECONDS),
    }
    rabbitmq.send(
        *[a_user_message(message_id=f"m{n}", email=f"user{n}@example.com") for n in range(200)]
    )

    with working(application):
        wait_until(lambda: application.rows(f"SELECT count(*) FROM {RECEIVED}") == [(200,)])


@pytest.mark.parametrize(
    ("command", "proxied"), [("consume", "rabbitmq"), ("run", "kafka")], indirect=["proxied"]
)
def test_sigterm_ends_a_consumer_whose_broker_has_frozen(
    command: str, application: Application, proxied: tuple[str, Proxy, Outside]
) -> None:
    """Its host is gone, and nobody has closed the connection."""
    url, proxy, _ = proxied
    application.settings = {"broker_urls": url, "shutdown_grace_seconds": str(GRACE_SECONDS)}
    with working(application, command) as process:
        wait_for_line(process.stderr, "consuming from")
        proxy.freeze()


@pytest.mark.parametrize(("command", "scheme"), [("run", "amqp"), ("consume", "kafka")])
def test_sigterm_ends_a_consumer_whose_broker_never_answers(
    command: str, scheme: str, application: Application, silent_server: socket.socket
) -> None:
    """It takes the connection, and then says nothing."""
    url = f"{scheme}://127.0.0.1:{silent_server.getsockname()[1]}"
    application.settings = {"broker_urls": url, "shutdown_grace_seconds": str(GRACE_SECONDS)}
    with application.running(command) as process:
        connection, _ = silent_server.accept()
        with connection:
            assert stop(process) == 0


@pytest.fixture
def silent_server() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        server.settimeout(LIMIT_SECONDS)
        yield server
