"""Consumers as real processes, on real brokers: killed, cut off, and fed with poison."""

import json
import os
import signal
import sqlite3
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aftercommit import testing

from aftercommit_tests.builders import a_message
from aftercommit_tests.extensions.brokers.outside import (
    COMMANDS,
    DEAD,
    YEAR_55840,
    Outside,
    RabbitOutside,
)
from aftercommit_tests.processes import (
    LIMIT_SECONDS,
    PATIENCE,
    Installation,
    owed,
    stop,
    wait_for_line,
    wait_until,
)
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import APP

pytestmark = pytest.mark.check

GRACE_SECONDS = 6
REJOIN_SECONDS = 180  # Kafka waits for a dead member of a group before it lets others work
MESSAGES = 30
GOOD = [a_message(message_id=f"m{n}", name=f"lamp {n}") for n in range(MESSAGES)]
LAST = a_message(message_id="last", name="last")


def quickly(point: str) -> Any:
    """With RabbitMQ alone, which does not let the next consumer wait for the dead."""
    return pytest.param(point, marks=pytest.mark.on("rabbitmq"))


@pytest.fixture
def installation(tmp_path: Path, backend: str) -> Installation:
    """The application, whose database has its schema."""
    testing.sqlite_url(APP, tmp_path, "things.db")
    return Installation(tmp_path, backend=backend)


@contextmanager
def working(
    installation: Installation, command: str = "consume"
) -> Iterator["subprocess.Popen[str]"]:
    """Run a consumer, and see that it ends in its grace period when it is asked to."""
    with installation.running(command) as process:
        yield process
        assert stop(process) == 0  # 70, if something else had to end it


def made(installation: Installation) -> list[str]:
    """Return the names of the things that commands have made, sorted."""
    return [name for (name,) in installation.rows("SELECT name FROM things ORDER BY name")]


def test_a_message_five_times_and_poison_in_between(
    installation: Installation, outside: Outside
) -> None:
    """One effect, each poison among the dead letters with its reason, and the good ones flow on.

    A copy is one, too, if a serializer has written it in another way.
    """
    installation.settings = {"broker_urls": outside.url}
    poison = {
        "invalid-payload": [b"{bad", b"\xff\x00\x01", a_message(thing_id=7)],
        "message-too-large": [b"x" * 5_000_000],
        "unknown-command-type": [a_message("fly"), a_message("thing_made")],  # an event is none
        "thing-not-found": [a_message("rename_thing", message_id="m2")],
        "invalid-name": [a_message(message_id="m3", name="")],
    }
    bodies = [body for of_one_kind in poison.values() for body in of_one_kind]
    copy = a_message()
    message = json.loads(copy)
    respelled = {**message, "data": dict(reversed(message["data"].items()))}
    outside.send(copy, *bodies[:3], copy, copy, headers={"trace": "abc", "raw": b"\xff"})
    outside.send(*bodies[3:], copy, json.dumps(respelled, indent=4).encode(), LAST)

    with working(installation):
        wait_until(lambda: len(installation.lines) == 2, limit=REJOIN_SECONDS)
        dead = outside.dead_of(bodies)

    assert installation.lines == ["lamp", "last"]
    assert {message.body for message in dead} == {*bodies}
    for error, of_one_kind in poison.items():
        for message in dead:
            if message.body in of_one_kind:
                assert message.headers["things-error"] == error
                assert message.headers["things-reason"]
                assert message.content_type in ("", "None")  # it had none
    assert {m.headers.get("trace") for m in dead if m.body in bodies[:3]} == {"abc"}


def test_dead_letters_that_are_refused_hold_up_no_good_message(
    installation: Installation, rabbitmq: RabbitOutside
) -> None:
    """Twice as many as may be in flight; RabbitMQ keeps them until there is room."""
    installation.settings = {"broker_urls": rabbitmq.url}
    full: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    rabbitmq.replace_queue(DEAD, **full)
    rabbitmq.send(*[b"{bad"] * 40, LAST)

    with working(installation) as process:
        told = wait_for_line(process.stderr, "RabbitMQ itself dead-letters a message")
        wait_until(lambda: installation.lines == ["last"])

    assert "invalid payload of a command" in told  # the dead letter does not say it


@pytest.mark.parametrize("point", [quickly("in the commit"), "before the acknowledgement"])
def test_a_consumer_survives_a_kill(
    point: str, installation: Installation, outside: Outside
) -> None:
    """The message comes again, and has one effect."""
    installation.settings = {"broker_urls": outside.url}
    outside.send(a_message())
    installation.crash(point, "consume")

    outside.send(LAST)
    installation.end_leases()
    with working(installation, "run"):  # the worker in it does what was left
        wait_until(lambda: len(installation.lines) == 2, limit=REJOIN_SECONDS)
        wait_until(lambda: not owed(installation))

    assert installation.lines == made(installation) == ["lamp", "last"]


def test_dead_lettering_survives_a_kill(installation: Installation, outside: Outside) -> None:
    """A message is acknowledged when it is a dead letter, and not before."""
    installation.settings = {"broker_urls": outside.url}
    outside.send(b"{bad")
    installation.crash("before dead-lettering", "consume")

    outside.send(LAST)
    with working(installation):
        wait_until(lambda: made(installation) == ["last"], limit=REJOIN_SECONDS)

    assert {message.body for message in outside.dead(1)} == {b"{bad"}


def test_a_database_that_is_away_is_waited_for(
    installation: Installation, rabbitmq: Outside
) -> None:
    """It is neither acknowledged nor dead-lettered; each try waits longer than the last."""
    installation.settings = {
        "broker_urls": rabbitmq.url,
        "database_url": "sqlite:///things.db?timeout=0.05",
    }
    with (
        working(installation) as process,
        closing(sqlite3.connect(installation.database)) as other,
    ):
        wait_for_line(process.stderr, "consuming")
        other.execute("BEGIN EXCLUSIVE")
        rabbitmq.send(LAST)
        started = time.monotonic()
        for _ in range(3):
            wait_for_line(process.stderr, "a message has to wait: the database is not available")
        assert time.monotonic() - started > 1.2
        other.rollback()
        wait_until(lambda: installation.lines == ["last"])


@pytest.fixture
def hanging_bell(installation: Installation) -> Path:
    """A bell that hangs until somebody reads from this pipe, and whose handlers have the time."""
    pipe = installation.folder / "bell.fifo"
    os.mkfifo(pipe)
    installation.settings = {"bell_file": pipe.name, **PATIENCE}
    return pipe


def test_sigterm_lets_a_message_in_hand_finish(
    installation: Installation, rabbitmq: Outside, hanging_bell: Path
) -> None:
    """With all that its command has caused."""
    installation.settings["broker_urls"] = rabbitmq.url
    with working(installation) as process:
        rabbitmq.send(a_message())
        wait_until(lambda: owed(installation) == [("announce", 1), ("praise", 1)])
        process.send_signal(signal.SIGTERM)
        wait_for_line(process.stderr, "stopping")
        rabbitmq.send(LAST)
        with hanging_bell.open("r+b", buffering=0) as rung:  # also for who rings later
            assert len([rung.readline() for _ in range(2)]) == 2
            assert process.wait(LIMIT_SECONDS) == 0

    assert owed(installation) == []
    assert made(installation) == ["lamp"]


def test_a_silent_bell_does_not_hold_up_commands(
    installation: Installation, rabbitmq: Outside, hanging_bell: Path
) -> None:
    """Their effects are outstanding; nobody waits for them, and too many are left to workers.

    So it is for a mail server that does not answer.
    """
    installation.settings |= {"broker_urls": rabbitmq.url, "max_dispatches": "3"}
    rabbitmq.send(*GOOD)
    left = "SELECT count(*) FROM aftercommit_deliveries WHERE handler = 'announce' AND {}"

    with working(installation) as process:
        wait_for_line(process.stderr, "the rest is left to workers")
        wait_until(lambda: len(made(installation)) == MESSAGES)
        released = left.format("attempts = 0 AND owner IS NULL")
        wait_until(lambda: installation.rows(released) == [(MESSAGES - 3,)])
        assert installation.rows(left.format("attempts = 1")) == [(3,)]
        reader = os.open(hanging_bell, os.O_RDONLY | os.O_NONBLOCK)
    os.close(reader)


@pytest.mark.parametrize("proxied", ["rabbitmq"], indirect=True)
def test_a_consumer_comes_back_after_an_outage(
    installation: Installation, proxied: tuple[str, Proxy, Outside]
) -> None:
    """Without anybody who restarts it."""
    url, proxy, outside = proxied
    installation.settings = {"broker_urls": url, "dispatch": "worker"}
    with working(installation):
        outside.send(a_message())
        wait_until(lambda: made(installation))
        proxy.cut()
        outside.send(LAST)
        proxy.open()
        wait_until(lambda: made(installation) == ["lamp", "last"])


def nested(depth: int) -> bytes:
    """Return a table of AMQP in a table, and so on."""
    table = struct.pack(">I", 0)
    for _ in range(depth):
        field = b"\x01tF" + table
        table = struct.pack(">I", len(field)) + field
    return b"F" + table


@pytest.mark.parametrize("header", [YEAR_55840, nested(3000)], ids=["a timestamp", "nested"])
def test_what_cannot_be_decoded_ends_among_the_dead_and_takes_nothing_with_it(
    installation: Installation, rabbitmq: RabbitOutside, header: bytes
) -> None:
    """It ends the connection each time it comes, and all that was underway with it counts, too."""
    installation.settings = {"broker_urls": rabbitmq.url, "dispatch": "worker"}
    rabbitmq.send(*GOOD[:10])
    rabbitmq.send_with_header(header)
    rabbitmq.send(*GOOD[10:])

    with installation.running("consume") as process:
        wait_until(lambda: rabbitmq.count(DEAD) == 1)
        wait_until(lambda: len(made(installation)) == MESSAGES)
        assert stop(process) == 0
        assert process.stderr is not None
        told = process.stderr.read()

    assert (rabbitmq.count(DEAD), rabbitmq.count(COMMANDS)) == (1, 0)
    assert "cannot be decoded" in told
    assert "RabbitMQ moves it to things.commands.dead after 20 deliveries" in told


@pytest.mark.parametrize(
    ("command", "proxied", "is_known"),
    [
        ("consume", "rabbitmq", True),
        ("run", "kafka", True),
        ("run", "rabbitmq", False),
        ("consume", "kafka", False),
    ],
    indirect=["proxied"],
)
def test_sigterm_ends_a_consumer_whose_broker_says_nothing(
    command: str, is_known: bool, installation: Installation, proxied: tuple[str, Proxy, Outside]
) -> None:
    """Its host is gone, and nobody has closed the connection; or it takes one, and is silent."""
    url, proxy, _ = proxied
    installation.settings = {"broker_urls": url, "shutdown_grace_seconds": str(GRACE_SECONDS)}
    if not is_known:
        proxy.hang()
    before = proxy.accepted
    with working(installation, command) as process:
        if is_known:
            wait_for_line(process.stderr, "consuming from")
            proxy.freeze()
        wait_until(lambda: proxy.accepted > before)
