"""All topics, in the order in which they are measured."""

from benchmarks import (
    dispatch,
    flat_growth,
    http,  # extension: web
    import_users,  # extension: operations
    latency,  # extension: postgresql
    registration,
    relay,  # extension: brokers, postgresql
    start_up,
    worker,  # extension: postgresql
)
from benchmarks.measuring import Topic

TOPICS: dict[str, Topic] = {
    "registration": registration.on_sqlite,
    "registration_postgresql": registration.on_postgresql,  # extension: postgresql
    "worker": worker.beside_others,  # extension: postgresql
    "worker_in_transactions": worker.in_transactions,  # extension: postgresql
    "latency": latency.contests,  # extension: postgresql
    "relay": relay.contests,  # extension: brokers, postgresql
    "dispatch": dispatch.contests,
    "import_users": import_users.contests,  # extension: operations
    "http": http.contests,  # extension: web
    "start_up": start_up.contests,
    "growth": flat_growth.on_sqlite,
    "growth_postgresql": flat_growth.on_postgresql,  # extension: postgresql
}
