"""The commands about users and their coupons: what the application is for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import click

from allocation import views
from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost
from allocation.bootstrap import Application
from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import UserId
from allocation.domain.values import BatchReference, EmailAddress, PersonName, Quantity
from allocation.entrypoints.cli.application import Options, Owed, json_line, print_all, set_up
from allocation.entrypoints.output import printable, say
from allocation.entrypoints.running import with_application
from allocation.service_layer.envelopes import ReceivedMessage

CLI = ReceivedMessage(source="cli")
SOME_USERS = (("Иван", "ivan@example.com"), ("Мария", "maria@example.com"))


@click.command()
@click.argument("name")
@click.argument("email")
@click.option("--user-id", type=click.UUID, help="Makes the command repeatable. Default: a new id")
@click.pass_obj
def register_user(options: Options, name: str, email: str, user_id: UUID | None) -> None:
    """Register a user: welcome e-mail, log entry and coupon follow at once."""
    command = RegisterUser(
        user_id=UserId(user_id or uuid4()),
        name=PersonName(name).value,
        email=EmailAddress(email).value,
    )
    with _repeatable(f"--user-id {command.user_id}"):
        _handle(options, command)


@click.command()
@click.argument("user_id", type=click.UUID)
@click.argument("new_email")
@click.pass_obj
def change_email(options: Options, user_id: UUID, new_email: str) -> None:
    """Give a user another e-mail address; the old one gets a notice."""
    email = EmailAddress(new_email).value
    _handle(options, ChangeEmail(user_id=UserId(user_id), new_email=email))


@click.command()
@click.argument("reference")
@click.argument("quantity", type=int)
@click.pass_obj
def add_coupon_batch(options: Options, reference: str, quantity: int) -> None:
    """Make QUANTITY more welcome coupons available."""
    batch, number = BatchReference(reference).value, Quantity(quantity).value
    _handle(options, AddCouponBatch(reference=batch, quantity=number))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def users(options: Options, as_json: bool) -> None:
    """List all users with their coupons."""
    with_application(set_up(options), partial(_list_users, as_json=as_json))


@click.command()
@click.pass_obj
def demo(options: Options) -> None:
    """Register two users in a temporary database, and show what happened."""
    with TemporaryDirectory(prefix="allocation-demo-") as folder:
        url = f"sqlite:///{folder}/demo.db"
        settings = replace(set_up(options), database_url=url, mail_url=None)
        with_application(settings, _register_some, delivers=True)


async def _register_some(application: Application) -> None:
    await application.bus.handle(AddCouponBatch(reference="WELCOME", quantity=10))
    for name, email in SOME_USERS:
        command = RegisterUser(user_id=UserId(uuid4()), name=name, email=email)
        await application.bus.handle(command)
    say("")
    await _list_users(application)


async def _list_users(application: Application, *, as_json: bool = False) -> None:
    if not as_json:
        click.echo(f"{'USER_ID':36}  {'COUPON':24}  USER")
    async with views.users(application.database) as rows:
        await print_all(json_line(row) if as_json else _user_line(row) async for row in rows)


def _user_line(row: views.UserRow) -> str:
    return printable(f"{row.user_id}  {row.coupon or '-':24}  {row.name} <{row.email}>")


def _handle(options: Options, command: Command) -> None:
    settings = set_up(options)
    report = with_application(
        settings,
        lambda application: application.bus.handle(command, CLI),
        delivers=settings.dispatch == "inline",
    )
    owed = Owed()
    owed.add(report.failures)
    owed.show()


@contextmanager
def _repeatable(option: str) -> Iterator[None]:
    """Let an error after which nobody knows what was stored say how to ask again."""
    try:
        yield
    except (CommitOutcomeUnknown, ConnectionLost, KeyboardInterrupt) as error:
        error.add_note(f"repeat it with {option}")
        raise
