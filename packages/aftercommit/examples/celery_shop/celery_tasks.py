"""Hands tasks to Celery: a port of an outbox that stands in front of the queue."""

from aftercommit import Unavailable
from celery import Celery
from kombu.exceptions import OperationalError


class CeleryTasks:
    """Sends tasks to the broker of Celery. The same `task_id` each time says that it is the same.

    Celery's own retries are off, since the outbox tries again, for as long as it takes.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        app.conf.broker_transport_options = {"confirm_publish": True}  # or RabbitMQ may lose it
        app.conf.broker_connection_timeout = 4  # seconds: less than the time limit of a handler

    def send(self, task: str, *arguments: object, task_id: str) -> None:
        """Send a task.

        :raises Unavailable: if the broker is down or does not answer
        """
        try:
            self._app.send_task(task, arguments, task_id=task_id, retry=False)
        except (OperationalError, OSError) as error:
            raise Unavailable("the broker of Celery cannot be reached") from error
