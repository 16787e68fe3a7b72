"""What follows from an order: a task of Celery, which was sent by `delay()` before."""

import os
from dataclasses import dataclass

from aftercommit import IdempotencyKey, Outbox, on
from celery import Celery
from celery_tasks import CeleryTasks
from database import engine

queue = Celery("shop", broker=os.environ["SHOP_QUEUE"])
queue.conf.task_default_queue = os.environ.get("SHOP_QUEUE_NAME", "celery")


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int


def send_invoice(event: OrderPlaced, tasks: CeleryTasks, idempotency_key: IdempotencyKey) -> None:
    tasks.send("create_invoice", event.order_id, task_id=idempotency_key)


outbox = Outbox(
    "shop", engine, [on(OrderPlaced, send_invoice)], ports={"tasks": CeleryTasks(queue)}
)
