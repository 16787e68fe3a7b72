"""The group of all commands: what there is, and the options that all of them have."""

from typing import TypeVar

import click

from allocation.entrypoints.cli.exit_codes import ExitCodes
from allocation.entrypoints.lazy import LazyCommand
from allocation.entrypoints.output import unhurried_output
from allocation.entrypoints.rooms import entrypoints
from allocation.rooms import EVENT_LOOPS, LOG_FORMATS

F = TypeVar("F")

COMMANDS = {
    "add-coupon-batch": LazyCommand(
        "allocation.entrypoints.cli.users:add_coupon_batch",
        "Make QUANTITY more welcome coupons available.",
    ),
    "change-email": LazyCommand(
        "allocation.entrypoints.cli.users:change_email",
        "Give a user another e-mail address; the old one gets a notice.",
    ),
    "db": LazyCommand(
        "allocation.entrypoints.cli.database:db",
        "Look after the database.",
    ),
    "demo": LazyCommand(
        "allocation.entrypoints.cli.demo:demo",
        "Register two users in a temporary database, and show what happened.",
    ),
    "register-user": LazyCommand(
        "allocation.entrypoints.cli.users:register_user",
        "Register a user: welcome e-mail, log entry and coupon follow at once.",
    ),
    "users": LazyCommand(
        "allocation.entrypoints.cli.users:users",
        "List all users with their coupons.",
    ),
    "worker": LazyCommand(
        "allocation.entrypoints.cli.worker:worker",
        "Do what others left undone: retries, and the work of processes that died.",
    ),
}
OF_ROOMS = {name: command for room in entrypoints() for name, command in room.commands.items()}


def options_of_rooms(function: F) -> F:
    """Add the options that rooms have for all commands."""
    for option in (option for room in entrypoints() for option in room.options):
        function = option(function)
    return function


@click.group(
    cls=ExitCodes,
    commands=COMMANDS | OF_ROOMS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--database-url", metavar="URL", help="Default: sqlite:///allocation.db")
@click.option("--backend", type=click.Choice(EVENT_LOOPS), help="Default: asyncio")
@click.option(
    "--mail-url",
    "--smtp-url",
    "mail_url",
    metavar="URL",
    help="smtp://user:password@host:port, smtps://…, or with ?starttls=1; or maildir:FOLDER, to "
    "keep e-mails there. Default: a folder beside the SQLite file, allocation-mail",
)
@options_of_rooms
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Default: error; of worker, consume and run: info",
)
@click.option("--log-format", type=click.Choice(list(LOG_FORMATS)), help="Default: text")
@click.version_option(package_name="allocation")
@click.pass_context
def cli(ctx: click.Context, /, **options: str | None) -> None:
    """Register users, and give each of them a welcome e-mail and a coupon.

    Each option is also an environment variable: --database-url is ALLOCATION_DATABASE_URL.

    Exit codes: 0 done, 1 refused, 2 malformed input, 3 a resource is not available,
    70 a bug in this program, 130 interrupted.
    """
    ctx.with_resource(unhurried_output())
    ctx.obj = options
