"""The room "brokers": takes commands from message brokers, and describes what is exchanged."""

from allocation.entrypoints.lazy import LazyCommand
from allocation.entrypoints.rooms import Room

ROOM = Room(
    commands={
        "asyncapi": LazyCommand(
            "allocation.entrypoints.brokers.commands:asyncapi",
            "Print the AsyncAPI document of what is published and consumed, as JSON.",
        ),
        "consume": LazyCommand(
            "allocation.entrypoints.brokers.commands:consume",
            "Take commands from the message brokers.",
        ),
        "run": LazyCommand(
            "allocation.entrypoints.brokers.commands:run",
            "Do what worker and consume do, in one process: for small installations.",
        ),
    },
    chatty_libraries=("aio_pika", "aiokafka", "aiormq"),
)
