"""The room "brokers": takes commands from message brokers, and describes what is exchanged."""

import click

from allocation.entrypoints.lazy import LazyCommand
from allocation.entrypoints.rooms import Entrypoint

ENTRYPOINT = Entrypoint(
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
    options=(
        click.option(
            "--broker-url",
            metavar="URL",
            help="amqp://user:password@host or kafka://host:port,host:port; several, separated by "
            "spaces, are allowed. Public events go to each of them.",
        ),
    ),
    chatty_libraries=("aio_pika", "aiokafka", "aiormq"),
)
