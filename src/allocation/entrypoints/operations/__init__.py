"""The room "operations": for those who look after an installation and fill it with data.

The import of users, the deliveries that need a decision, the end of old events, a log for machines.
"""

from allocation.entrypoints.lazy import LazyCommand
from allocation.entrypoints.rooms import Entrypoint

ENTRYPOINT = Entrypoint(
    commands={
        "deliveries": LazyCommand(
            "allocation.entrypoints.operations.deliveries:deliveries",
            "Look at what handlers still owe, and decide about what is parked.",
        ),
        "events": LazyCommand(
            "allocation.entrypoints.operations.events:events",
            "Look after the history of events.",
        ),
        "import-users": LazyCommand(
            "allocation.entrypoints.operations.import_users:import_users",
            "Register the users of a CSV file with the columns name,email.",
        ),
    },
    beside_worker=("allocation.entrypoints.operations.strangers:watching",),
)
