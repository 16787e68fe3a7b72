"""The commands about message brokers."""

import click

from aftercommit.cli.command_context import Cli
from aftercommit.cli.commands import worker_service
from aftercommit.extensions.brokers import BrokersExtension
from aftercommit.extensions.brokers.asyncapi import published_language
from aftercommit.extensions.brokers.command_consumer import consumer_service
from aftercommit.process import running_services
from aftercommit.process.running_services import Service
from aftercommit.process.worker import WORKER_SETTINGS
from aftercommit.settings import EngineSettings
from aftercommit.terminal.nonblocking_output import drain

PREFETCH = click.option(
    "--prefetch",
    type=click.IntRange(1, 1000),
    help="How many messages of RabbitMQ to work on at once; of Kafka, always one. Default: 20",
)


@click.command()
@PREFETCH
@click.pass_obj
def consume(cli: Cli, prefetch: int | None) -> None:
    """Execute commands that come from message brokers.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    settings = cli.load_settings(log_level="info", prefetch=prefetch)
    cli.run_services(
        settings,
        _consuming(cli, settings),
        delivers=settings.dispatch == "inline",
    )


@click.command()
@PREFETCH
@click.pass_obj
def run(cli: Cli, prefetch: int | None) -> None:
    """Run worker and consume in one process.

    For small installations.
    """
    settings = cli.load_settings(log_level="info", prefetch=prefetch, **WORKER_SETTINGS)
    beside = cli.app.parts.services(settings)
    consuming = _consuming(cli, settings)
    cli.run_services(settings, worker_service(settings), consuming, *beside)


@click.command()
@click.pass_obj
def asyncapi(cli: Cli) -> None:
    """Print the AsyncAPI document of all public messages.

    It is JSON, and describes the published and the consumed messages.
    """
    click.echo(published_language(cli.app))
    running_services.run(drain, event_loop="asyncio")


def _consuming(cli: Cli, settings: EngineSettings) -> Service:
    brokers = cli.app.extension(BrokersExtension)
    return consumer_service(settings, brokers.accepted, brokers.subscriptions)
