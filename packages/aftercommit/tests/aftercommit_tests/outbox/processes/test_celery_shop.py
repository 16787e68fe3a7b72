"""An outbox in front of Celery: killed between the commit and the task, and without a broker."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import pytest
from sqlalchemy import create_engine, make_url, text

from aftercommit_tests.processes import LIMIT_SECONDS, wait_until
from aftercommit_tests.warm import SOURCES

pytestmark = pytest.mark.check

EXAMPLE = Path(__file__).parents[4] / "examples" / "celery_shop"
PLACE = """
import os, signal
from database import Base, Order, engine
from events import OrderPlaced, outbox
from sqlalchemy.orm import Session

Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add(Order(id=7))
    outbox.record_sync(session, OrderPlaced(7), about=7)
    session.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
SEND_AND_DIE = """
import os, signal
from celery_tasks import CeleryTasks
send = CeleryTasks.send

def send_and_die(*arguments, **options):
    send(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

CeleryTasks.send = send_and_die
import sys
from aftercommit.__main__ import main
sys.argv = ["aftercommit", "worker", "--until-idle", "events:outbox"]
main()
"""


class Shop:
    """The example in a folder, with a database and a queue of its own."""

    def __init__(self, folder: Path, url: str, broker: str) -> None:
        shutil.copytree(EXAMPLE, folder)
        kind = make_url(url).get_backend_name()
        driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[kind]
        self.url = make_url(url).set(drivername=driver).render_as_string(hide_password=False)
        self.folder, self.broker, self.queue = folder, broker, f"invoices-{uuid4()}"

    def environment(self, broker: str | None = None) -> dict[str, str]:
        own = {"SHOP_DATABASE": self.url, "PYTHONPATH": f"{SOURCES}:."}
        own |= {"SHOP_MAX_ATTEMPTS": "2"}  # one for a process that dies; another one would park
        own |= {"SHOP_QUEUE": broker or self.broker, "SHOP_QUEUE_NAME": self.queue}
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


@pytest.fixture
def shop(tmp_path: Path, empty_url: str, rabbitmq_url: str) -> Iterator[Shop]:
    shop = Shop(tmp_path / "shop", empty_url, rabbitmq_url)
    assert shop.run("-m", "aftercommit", "db", "upgrade", "events:outbox") == 0
    assert shop.run("-c", PLACE) == -signal.SIGKILL
    yield shop
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        connection.channel().queue_delete(shop.queue)


def ids_in(shop: Shop) -> list[str]:
    """Return the ids of the tasks in the queue, and take them."""
    found = []
    with pika.BlockingConnection(pika.URLParameters(shop.broker)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(shop.queue, auto_ack=True))[0]:
            found.append(str(message[1].headers["id"]))
    return found


def test_a_process_that_dies_after_it_has_sent_sends_the_same_id_again(shop: Shop) -> None:
    """Celery does not notice; the task does, by its id."""
    assert shop.run("-c", SEND_AND_DIE) == -signal.SIGKILL
    shop.deliver()

    first, again = ids_in(shop)
    assert first == again
    assert first.endswith(":send_invoice")


def test_a_broker_that_is_down_parks_nothing(shop: Shop, free_tcp_port: int) -> None:
    """Such attempts are not counted, and the task is sent when the broker is back."""
    nowhere = f"amqp://guest:guest@127.0.0.1:{free_tcp_port}//"
    worker = shop.started("-m", "aftercommit", "worker", "events:outbox", broker=nowhere)
    with worker:
        failed = "SELECT count(*) FROM aftercommit_deliveries WHERE last_error IS NOT NULL"
        wait_until(lambda: shop.value(failed) == 1)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=LIMIT_SECONDS)
    reason = str(shop.value("SELECT last_error FROM aftercommit_deliveries"))
    assert "the broker of Celery cannot be reached" in reason
    shop.deliver()
    assert len(ids_in(shop)) == 1


def test_a_task_that_comes_twice_has_its_effect_once(shop: Shop) -> None:
    """It notes its id in its transaction."""
    assert shop.run("-c", SEND_AND_DIE) == -signal.SIGKILL
    shop.deliver()
    celery = ["-m", "celery", "-A", "tasks", "worker", "--pool", "solo", "--loglevel", "ERROR"]
    with shop.started(*celery) as process:
        wait_until(lambda: _is_empty(shop))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)

    assert shop.value("SELECT count(*) FROM invoices") == 1


def _is_empty(shop: Shop) -> bool:
    with pika.BlockingConnection(pika.URLParameters(shop.broker)) as connection:
        declared = connection.channel().queue_declare(shop.queue, passive=True)
    return bool(declared.method.message_count == 0) and shop.value("SELECT 1 FROM invoices") == 1
