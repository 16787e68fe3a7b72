"""How gunicorn serves the application: each process has a worker of the outbox in a thread."""

from contextlib import ExitStack
from time import sleep

from aftercommit import Unavailable

workers = 2
running = ExitStack()


def post_worker_init(worker: object) -> None:
    from events import outbox

    try:
        running.enter_context(outbox.running_sync())
    except Unavailable:  # for any other error, gunicorn ends as a whole
        sleep(1)
        raise SystemExit(1) from None


def worker_exit(server: object, worker: object) -> None:
    running.close()
