"""An outbox in front of Celery or Taskiq: killed after the commit, and without a broker."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import pytest
from redis import Redis
from sqlalchemy import create_engine, make_url, text

from aftercommit_tests.processes import LIMIT_SECONDS, wait_until
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

EXAMPLES = Path(__file__).parents[4] / "examples"
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
WORK = """
import sys
from aftercommit.__main__ import main
sys.argv = ["aftercommit", "worker", "--until-idle", "events:outbox"]
main()
"""


class Queue(ABC):
    """A task queue, with the example that stands in front of it."""

    example: ClassVar[str]
    drivers: ClassVar[dict[str, str]]
    place_and_die: ClassVar[str]
    send_and_die: ClassVar[str]
    worker: ClassVar[list[str]]
    down: ClassVar[str]  # what an attempt says while there is no broker
    nowhere: ClassVar[str]

    def __init__(self, url: str) -> None:
        self.url, self.name = url, f"invoices-{uuid4()}"

    @abstractmethod
    def take_ids(self) -> list[str]:
        """Return the ids of the tasks, and take them."""

    @abstractmethod
    def is_empty(self) -> bool: ...

    @abstractmethod
    def delete(self) -> None: ...


class OfCelery(Queue):
    """On RabbitMQ, with synchronous code."""

    example, worker = "celery_shop", ["celery", "-A", "tasks", "worker", "--pool", "solo"]
    drivers: ClassVar = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
    down = "the broker of Celery cannot be reached"
    nowhere = "amqp://guest:guest@127.0.0.1:{}//"
    place_and_die = f"""
import os, signal
from database import Base, Order, engine
from events import OrderPlaced, outbox
from sqlalchemy.orm import Session

Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Order(id=7))
    outbox.record_sync(session, OrderPlaced(7), about=7)
    session.commit()
{DIE}
"""
    send_and_die = f"""
import os, signal
from celery_tasks import CeleryTasks
send = CeleryTasks.send

def send_and_die(*arguments, **options):
    send(*arguments, **options)
    {DIE}

CeleryTasks.send = send_and_die
{WORK}"""

    def take_ids(self) -> list[str]:
        found = []
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            while (message := channel.basic_get(self.name, auto_ack=True))[0]:
                found.append(str(message[1].headers["id"]))
        return found

    def is_empty(self) -> bool:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            declared = connection.channel().queue_declare(self.name, passive=True)
        return bool(declared.method.message_count == 0)

    def delete(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            connection.channel().queue_delete(self.name)


class OfTaskiq(Queue):
    """On Redis, with asynchronous code."""

    example, worker = "taskiq_shop", ["taskiq", "worker", "--workers", "1", "tasks:broker"]
    drivers: ClassVar = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    down = "the broker of Taskiq cannot be reached"
    nowhere = "redis://127.0.0.1:{}"
    place_and_die = f"""
import asyncio, os, signal
from database import Base, Order, engine
from events import OrderPlaced, outbox
from sqlalchemy.ext.asyncio import AsyncSession

async def place():
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        session.add(Order(id=7))
        await outbox.record(session, OrderPlaced(7), about=7)

asyncio.run(place())
{DIE}
"""
    send_and_die = f"""
import os, signal
from taskiq_tasks import TaskiqTasks
send = TaskiqTasks.send

async def send_and_die(*arguments, **options):
    await send(*arguments, **options)
    {DIE}

TaskiqTasks.send = send_and_die
{WORK}"""

    def take_ids(self) -> list[str]:
        with Redis.from_url(self.url) as redis:
            found = redis.rpop(self.name, 100) or []
        return [json.loads(each)["task_id"] for each in found]

    def is_empty(self) -> bool:
        with Redis.from_url(self.url) as redis:
            return bool(redis.llen(self.name) == 0)

    def delete(self) -> None:
        with Redis.from_url(self.url) as redis:
            redis.delete(self.name)


class Shop:
    """The example of a queue in a folder, with a database of its own."""

    def __init__(self, folder: Path, url: str, queue: Queue) -> None:
        shutil.copytree(EXAMPLES / queue.example, folder)
        kind = make_url(url).get_backend_name()
        own, ours = queue.drivers[kind], OfCelery.drivers[kind]
        self.url = make_url(url).set(drivername=ours).render_as_string(hide_password=False)
        self.own_url = make_url(url).set(drivername=own).render_as_string(hide_password=False)
        self.folder, self.queue = folder, queue

    def environment(self, broker: str | None = None) -> dict[str, str]:
        own = {"SHOP_DATABASE": self.own_url, "PYTHONPATH": f"{SOURCES}:."}
        own |= {"SHOP_MAX_ATTEMPTS": "2"}  # one for a process that dies; another one would park
        own |= {"SHOP_QUEUE": broker or self.queue.url, "SHOP_QUEUE_NAME": self.queue.name}
        return os.environ | own | {"SHOP_LEASE_SECONDS": "10", "SHOP_HANDLER_TIMEOUT_SECONDS": "8"}

    def started(self, *arguments: str, broker: str | None = None) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(broker),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> int:
        """Run Python to its end; return its exit code."""
        with self.started(*arguments) as process:
            process.communicate(timeout=LIMIT_SECONDS)
        return process.returncode

    def deliver(self) -> None:
        """Run a worker until nothing is left to do."""
        left = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"
        with self.started("-m", "aftercommit", "worker", "events:outbox") as worker:
            wait_until(lambda: self.value(left) == 0)
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=LIMIT_SECONDS)

    def value(self, query: str) -> object:
        engine = create_engine(self.url)
        with engine.connect() as connection:
            found = connection.scalar(text(query))
        engine.dispose()
        return found


def listens(url: str) -> bool:
    at = make_url(url)
    try:
        socket.create_connection((at.host, at.port or 6379), timeout=LIMIT_SECONDS).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def redis_url(free_tcp_port_factory: Callable[[], int]) -> Iterator[str]:
    """The URL of the Redis that listens here, of the one you name, or of one for this run."""
    url = os.environ.get("ALLOCATION_TEST_REDIS_URL", "redis://127.0.0.1:6379")
    if listens(url):
        yield url
        return
    if not (program := shutil.which("redis-server")):
        without = pytest.fail if os.environ.get("CI") else pytest.skip
        without("no Redis listens; start one, or set ALLOCATION_TEST_REDIS_URL")
    port = free_tcp_port_factory()
    order = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(order, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}"
        wait_until(lambda: listens(url))
        yield url
        server.terminate()


@pytest.fixture(params=["celery", "taskiq"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    """An empty queue at its broker."""
    of, broker = {"celery": (OfCelery, "rabbitmq_url"), "taskiq": (OfTaskiq, "redis_url")}[
        request.param
    ]
    queue = of(request.getfixturevalue(broker))
    yield queue
    queue.delete()


@pytest.fixture
def shop(tmp_path: Path, queue: Queue, request: pytest.FixtureRequest) -> Shop:
    """One whose process has died right after the commit of an order; each queue on one database."""
    on_sqlite = isinstance(queue, OfCelery)
    url = f"sqlite:///{tmp_path}/shop.db"
    if not on_sqlite:
        url = request.getfixturevalue("empty_postgres_url")
    shop = Shop(tmp_path / "shop", url, queue)
    assert shop.run("-m", "aftercommit", "db", "upgrade", "events:outbox") == 0
    assert shop.run("-c", queue.place_and_die) == -signal.SIGKILL
    return shop


def test_a_process_that_dies_after_it_has_sent_sends_the_same_id_again(shop: Shop) -> None:
    """The queue does not notice; the task does, by its id."""
    assert shop.run("-c", shop.queue.send_and_die) == -signal.SIGKILL
    shop.deliver()

    first, again = shop.queue.take_ids()
    assert first == again
    assert first.endswith(":send_invoice")


def test_a_broker_that_is_down_parks_nothing(shop: Shop, free_tcp_port: int) -> None:
    """Such attempts are not counted, and the task is sent when the broker is back."""
    nowhere = shop.queue.nowhere.format(free_tcp_port)
    worker = shop.started("-m", "aftercommit", "worker", "events:outbox", broker=nowhere)
    with worker:
        failed = "SELECT count(*) FROM aftercommit_deliveries WHERE last_error IS NOT NULL"
        wait_until(lambda: shop.value(failed) == 1)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=LIMIT_SECONDS)
    reason = str(shop.value("SELECT last_error FROM aftercommit_deliveries"))
    assert shop.queue.down in reason
    shop.deliver()
    assert len(shop.queue.take_ids()) == 1


def test_a_broker_that_is_silent_parks_nothing_either(shop: Shop, free_tcp_port: int) -> None:
    """No retry of the broker's client goes on until the handler's time is over."""
    nowhere = shop.queue.nowhere.format(free_tcp_port)
    with socket.create_server(("127.0.0.1", free_tcp_port)):
        worker = shop.started("-m", "aftercommit", "worker", "events:outbox", broker=nowhere)
        with worker:
            failed = "SELECT count(*) FROM aftercommit_deliveries WHERE last_error IS NOT NULL"
            wait_until(lambda: shop.value(failed) == 1)
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=LIMIT_SECONDS)

    assert shop.queue.down in str(shop.value("SELECT last_error FROM aftercommit_deliveries"))


def test_a_task_that_comes_twice_has_its_effect_once(shop: Shop) -> None:
    """It notes its id in its transaction."""
    assert shop.run("-c", shop.queue.send_and_die) == -signal.SIGKILL
    shop.deliver()
    with shop.started("-m", *shop.queue.worker) as process:
        wait_until(lambda: shop.queue.is_empty() and shop.value("SELECT 1 FROM invoices") == 1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)

    assert shop.value("SELECT count(*) FROM invoices") == 1
