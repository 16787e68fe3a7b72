"""How gunicorn serves the application: each process has a worker of the outbox in a thread."""

from contextlib import ExitStack

workers = 2
running = ExitStack()


def post_worker_init(worker: object) -> None:
    from events import outbox

    running.enter_context(outbox.running_sync())


def worker_exit(server: object, worker: object) -> None:
    running.close()
