# extension: brokers, postgresql
"""Two new projects run on one PostgreSQL server and one RabbitMQ: neither disturbs the other."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from uuid import uuid4

import aio_pika
import psycopg
import pytest
from aio_pika.abc import AbstractConnection, AbstractQueue

from tests.builders import a_user_message
from tests.conftest import new_database
from tests.copies.conftest import TIMEOUT_SECONDS, Copy
from tests.copies.test_new import BRIEF, a_project
from tests.integration.extensions.brokers.fixtures import rabbitmq_url

__all__ = ["rabbitmq_url"]  # a fixture
USERS = 5
SQL = "SELECT email, (SELECT count(*) FROM failures) FROM user_view ORDER BY email"

pytestmark = pytest.mark.timeout(1000)


@dataclass(frozen=True)
class Service:
    """A new project, with a database of its own."""

    name: str
    project: Copy
    database_url: str

    @contextmanager
    def running(self, rabbitmq_url: str) -> Iterator[None]:
        """Run its worker and its consumer; at the end, they have to stop when asked to."""
        mail = f"maildir:{self.project.folder / 'mail'}"
        of = {"DATABASE_URL": self.database_url, "BROKER_URLS": rabbitmq_url, "MAIL_URL": mail}
        environment = {f"{self.name.upper()}_{name}": value for name, value in of.items()}
        process = subprocess.Popen(
            [sys.executable, "-m", self.name, "run"],
            cwd=self.project.folder,
            env=self.project.environment | environment,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            returned = process.wait(TIMEOUT_SECONDS)
        assert returned == 0

    def users(self) -> list[tuple[str, int]]:
        """Return the addresses of its users, each with the number of failures there are."""
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(SQL).fetchall()

    @property
    def emails(self) -> list[str]:
        """The addresses of the users that others want it to have."""
        return [f"user{number}@{self.name}.example.com" for number in range(USERS)]


@pytest.fixture
def services(tmp_path: Path, mypy_cache: Path, postgres_server: str) -> Iterator[list[Service]]:
    """Two of them, with names that no other run of this test has."""
    with ExitStack() as databases:
        services = []
        for name in (f"shop{uuid4().hex[:8]}", f"cafe{uuid4().hex[:8]}"):
            project = a_project(tmp_path / name, mypy_cache, extensions="brokers postgresql")
            url = databases.enter_context(new_database(postgres_server))
            services.append(Service(name, project, url))
        yield services


@pytest.mark.skipif(BRIEF, reason="`make test-full` runs two projects")
def test_two_projects_share_servers_and_each_does_its_own_work(
    services: list[Service], rabbitmq_url: str
) -> None:
    """Each executes its own commands, publishes its own events, and waits for no other."""
    with ExitStack() as running:
        for service in services:
            running.enter_context(service.running(rabbitmq_url))
        published = asyncio.run(talk(services, rabbitmq_url))
        until_all_are_listed(services)

    for service in services:
        asyncio.run(clean_up(service.name, rabbitmq_url))
        assert sorted(published[service.name]) == service.emails
        assert service.users() == [(email, 0) for email in service.emails]


async def talk(services: list[Service], rabbitmq_url: str) -> dict[str, list[str]]:
    """Send commands to all at once; return whose registrations each has published."""
    published: dict[str, list[str]] = {}
    async with asyncio.timeout(TIMEOUT_SECONDS), await aio_pika.connect(rabbitmq_url) as connection:
        queues = {each.name: await events_of(each.name, connection) for each in services}
        channel = await connection.channel()
        for number, service in product(range(USERS), services):
            body = a_user_message(message_id=str(number), email=service.emails[number])
            commands = f"{service.name}.commands"
            await channel.default_exchange.publish(aio_pika.Message(body), commands)
        for name, queue in queues.items():
            published[name] = [email async for email in registrations(queue)]
    return published


async def events_of(name: str, connection: AbstractConnection) -> AbstractQueue:
    """Wait until a project listens to commands, and return a queue of all its events."""
    while True:
        try:
            await (await connection.channel()).get_queue(f"{name}.commands")
            break
        except aio_pika.exceptions.ChannelNotFoundEntity:
            await asyncio.sleep(0.2)
    channel = await connection.channel()
    events = await channel.declare_exchange(f"{name}.events", "topic", durable=True)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(events, "#")
    return queue


async def registrations(queue: AbstractQueue) -> AsyncIterator[str]:
    """Yield the addresses of the users that were registered, as many as were sent."""
    count = 0
    async with queue.iterator(no_ack=True) as messages:
        async for message in messages:
            event = json.loads(message.body)
            if event["type"] == "user_registered":
                yield event["data"]["email"]
                if (count := count + 1) == USERS:
                    return


async def clean_up(name: str, rabbitmq_url: str) -> None:
    """Delete what a project has made: nobody will have its name again."""
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        await channel.exchange_delete(f"{name}.events")
        for queue in (f"{name}.commands", f"{name}.commands.dead"):
            await channel.queue_delete(queue)


def until_all_are_listed(services: list[Service]) -> None:
    """Wait until the read models have all users: that is the last to be done."""
    limit = time.monotonic() + TIMEOUT_SECONDS
    while not all(len(service.users()) == USERS for service in services):
        assert time.monotonic() < limit
        time.sleep(0.2)
