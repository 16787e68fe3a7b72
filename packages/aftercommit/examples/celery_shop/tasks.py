"""The tasks: `celery -A tasks worker`."""

from typing import Any

from database import Invoice, engine
from events import outbox, queue
from sqlalchemy.orm import Session


@queue.task(name="create_invoice", bind=True, acks_late=True)
def create_invoice(task: Any, order_id: int) -> None:
    with Session(engine) as session, session.begin():
        if outbox.once_sync(session, "celery", task.request.id):  # it may come twice
            session.add(Invoice(order_id=order_id))


app = queue
