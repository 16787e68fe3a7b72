"""The first thing to run: some commands, in a temporary database."""

from tempfile import TemporaryDirectory
from uuid import uuid4

import click
from aftercommit import Application, CommandLine

from allocation.config import Settings
from allocation.domain.commands import AddCouponBatch, Command, RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.commands import list_users


@click.command()
@click.pass_obj
def demo(cli: CommandLine[Settings]) -> None:
    """Execute some commands in a temporary database.

    Show what happens, and remove the database.
    """
    with TemporaryDirectory(prefix="allocation-demo-") as folder:
        own = {
            "database_url": f"sqlite:///{folder}/demo.db",
            "mail_url": f"maildir:{folder}/demo-mail",
        }
        cli.run(cli.load_settings(**own), _run_demo, delivers=True)


async def _run_demo(application: Application) -> None:
    commands: list[Command] = [  # add your own commands here
        AddCouponBatch(reference="WELCOME", quantity=10),
        RegisterUser(user_id=UserId(uuid4()), name="Иван", email="ivan@example.com"),
        RegisterUser(user_id=UserId(uuid4()), name="Мария", email="maria@example.com"),
    ]
    for command in commands:
        await application.bus.handle(command)
    click.echo("")
    await list_users(application)
