"""Hands tasks to Taskiq: a port of an outbox that stands in front of the queue."""

from aftercommit import Unavailable
from anyio import fail_after
from redis.exceptions import ConnectionError as RedisIsDown
from redis.exceptions import TimeoutError as RedisIsSilent
from taskiq import AsyncBroker, SendTaskError
from taskiq.kicker import AsyncKicker

SECONDS = 4.0  # with all retries of the client: less than the time limit of a handler


class TaskiqTasks:
    """Sends tasks to the broker of Taskiq. The same `task_id` each time says that it is the same.

    No retry of the broker's client goes on beyond SECONDS: the outbox tries again, for as long as
    it takes.
    """

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker

    async def send(self, task: str, *arguments: object, task_id: str) -> None:
        """Send a task.

        :raises Unavailable: if the broker is down or does not answer
        """
        kicker: AsyncKicker[..., None] = AsyncKicker(task, self._broker, {})
        try:
            with fail_after(SECONDS):
                await kicker.with_task_id(task_id).kiq(*arguments)
        except (SendTaskError, TimeoutError) as error:
            cause = error.__cause__ if isinstance(error, SendTaskError) else error
            if isinstance(cause, (OSError, RedisIsDown, RedisIsSilent)):
                raise Unavailable("the broker of Taskiq cannot be reached") from error
            raise  # such as an argument that cannot be sent: no outage, so the attempt counts
