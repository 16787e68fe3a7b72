"""The demo: the whole story, on a database that is gone afterwards."""

from dataclasses import replace
from tempfile import TemporaryDirectory
from uuid import uuid4

import click

from allocation.bootstrap import Application
from allocation.domain.commands import AddCouponBatch, RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.cli.application import Options, set_up, with_application
from allocation.entrypoints.cli.users import list_users
from allocation.entrypoints.output import say

USERS = (("Иван", "ivan@example.com"), ("Мария", "maria@example.com"))


@click.command()
@click.pass_obj
def demo(options: Options) -> None:
    """Register two users in a temporary database, and show what happened."""
    with TemporaryDirectory(prefix="allocation-demo-") as folder:
        url = f"sqlite:///{folder}/demo.db"
        settings = replace(set_up(options), database_url=url, mail_url=None)
        with_application(settings, _tell, delivers=True)


async def _tell(application: Application) -> None:
    await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=10))
    for name, email in USERS:
        command = RegisterUser(user_id=UserId(uuid4()), name=name, email=email)
        await application.bus.handle(command)
    say("")
    await list_users(application)
