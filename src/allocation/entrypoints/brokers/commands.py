"""The commands about message brokers."""

import click

from allocation.adapters.brokers.asyncapi import published_language
from allocation.entrypoints import running
from allocation.entrypoints.brokers.consumer import consuming
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.output import output
from allocation.entrypoints.running import serve
from allocation.entrypoints.worker import working
from allocation.publishing import public_events

PREFETCH = click.option(
    "--prefetch",
    type=click.IntRange(1, 1000),
    help="How many messages of RabbitMQ to have in hand at a time; of Kafka it is one. Default: 20",
)


@click.command()
@PREFETCH
@click.pass_obj
def consume(options: Options, prefetch: int | None) -> None:
    """Take commands from the message brokers.

    SIGTERM or Ctrl-C lets work in hand finish, a second one ends at once; nothing is lost.
    """
    settings = set_up({**options, "prefetch": prefetch}, log_level="info")
    serve(settings, consuming(settings), delivers=settings.dispatch == "inline")


@click.command()
@PREFETCH
@click.pass_obj
def run(options: Options, prefetch: int | None) -> None:
    """Do what worker and consume do, in one process: for small installations."""
    settings = set_up({**options, "prefetch": prefetch}, log_level="info")
    serve(settings, working(settings), consuming(settings))


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of what is published and consumed, as JSON."""

    async def work() -> None:
        click.echo(published_language(public_events()))
        await output().keep_pace(to_the_end=True)

    running.run(work, backend="asyncio")
