"""What follows from an order: a task of Taskiq, which was sent by `kiq()` before."""

import os
from dataclasses import dataclass

from aftercommit import IdempotencyKey, Outbox, on
from database import engine
from taskiq_redis import ListQueueBroker
from taskiq_tasks import TaskiqTasks

broker = ListQueueBroker(
    os.environ["SHOP_QUEUE"], queue_name=os.environ.get("SHOP_QUEUE_NAME", "taskiq")
)


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int


async def send_invoice(
    event: OrderPlaced, tasks: TaskiqTasks, idempotency_key: IdempotencyKey
) -> None:
    await tasks.send("create_invoice", event.order_id, task_id=idempotency_key)


outbox = Outbox(
    "shop", engine, [on(OrderPlaced, send_invoice)], ports={"tasks": TaskiqTasks(broker)}
)
