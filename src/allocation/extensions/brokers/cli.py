"""The commands about message brokers."""

import click

from allocation.entrypoints import runtime
from allocation.entrypoints.cli.common import Options, load_settings
from allocation.entrypoints.nonblocking_output import drain
from allocation.entrypoints.runtime import run_services
from allocation.entrypoints.worker import WORKER_SETTINGS, worker_service
from allocation.extensions.brokers.asyncapi import published_language
from allocation.extensions.brokers.consumer import consumer_service
from allocation.publish_handlers import public_events

PREFETCH = click.option(
    "--prefetch",
    type=click.IntRange(1, 1000),
    help="How many messages of RabbitMQ to work on at a time; of Kafka, it is one. Default: 20",
)


@click.command()
@PREFETCH
@click.pass_obj
def consume(options: Options, prefetch: int | None) -> None:
    """Execute commands that come from message brokers.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    settings = load_settings({**options, "prefetch": prefetch}, log_level="info")
    run_services(settings, consumer_service(settings), delivers=settings.dispatch == "inline")


@click.command()
@PREFETCH
@click.pass_obj
def run(options: Options, prefetch: int | None) -> None:
    """Do what worker and consume do, in one process.

    For small installations.
    """
    settings = load_settings({**options, "prefetch": prefetch, **WORKER_SETTINGS}, log_level="info")
    run_services(settings, worker_service(settings), consumer_service(settings))


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of all public messages.

    It is JSON, and describes what is published and what is consumed.
    """
    click.echo(published_language(public_events()))
    runtime.run(drain, event_loop="asyncio")
