"""All topics, in the order in which they are measured and shown."""

from benchmarks import (
    dispatch,
    flat_growth,
    growth_postgresql,  # room: postgresql
    http,  # room: web
    import_users,  # room: operations
    latency,  # room: postgresql
    memory,
    registration,
    registration_postgresql,  # room: postgresql
    relay,  # room: brokers, postgresql
    start_up,
    statements,
    two_workers,  # room: postgresql
    worker,  # room: postgresql
    worker_in_transactions,  # room: postgresql
)
from benchmarks.results import Topic

TOPICS: list[Topic] = [
    registration.TOPIC,
    registration_postgresql.TOPIC,  # room: postgresql
    statements.TOPIC,
    worker.TOPIC,  # room: postgresql
    worker_in_transactions.TOPIC,  # room: postgresql
    two_workers.TOPIC,  # room: postgresql
    latency.TOPIC,  # room: postgresql
    relay.TOPIC,  # room: brokers, postgresql
    dispatch.TOPIC,
    memory.TOPIC,
    import_users.TOPIC,  # room: operations
    http.TOPIC,  # room: web
    start_up.TOPIC,
    flat_growth.TOPIC,
    growth_postgresql.TOPIC,  # room: postgresql
]
