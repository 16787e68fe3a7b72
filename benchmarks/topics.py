"""All topics, in the order in which they are measured."""

from benchmarks import (
    dispatch,
    flat_growth,
    http,
    import_users,
    latency,
    ordered,
    registration,
    relay,
    start_up,
    worker,
)
from benchmarks.measuring import Topic

TOPICS: dict[str, Topic] = {
    "registration": registration.on_sqlite,
    "registration_postgresql": registration.on_postgresql,
    "worker": worker.beside_others,
    "worker_in_transactions": worker.in_transactions,
    "latency": latency.contests,
    "relay": relay.contests,
    "dispatch": dispatch.contests,
    "import_users": import_users.contests,
    "http": http.contests,
    "start_up": start_up.contests,
    "growth": flat_growth.on_sqlite,
    "growth_postgresql": flat_growth.on_postgresql,
    "ordered": ordered.on_sqlite,
    "ordered_postgresql": ordered.on_postgresql,
}
